//! `--engine mlx` computes the same vectors as candle, or without the feature `mlx` prints how to build it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[cfg(feature = "mlx")]
#[path = "support/qwen_vl.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod qwen_vl;

use std::path::Path;
use std::process::{Command, Output};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/colqwen2.5-tiny");

fn embed(home: &Path, engine: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ingest"))
        .args([
            "embed", "--engine", engine, "--device", "cpu", "--model", MODEL,
        ])
        .args(args)
        .current_dir(home)
        .env("HOME", home)
        .output()
        .unwrap()
}

#[test]
fn engine_mlx_works_or_prints_how_to_build_it() {
    let home = tempfile::tempdir().unwrap();
    let out = embed(
        home.path(),
        "mlx",
        &["--query", "oil", "--out", "oil.safetensors"],
    );
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.success(), cfg!(feature = "mlx"), "{stderr}");
    if cfg!(not(feature = "mlx")) {
        assert!(
            stderr.contains("this `ingest` was built without MLX"),
            "{stderr}"
        );
        assert!(
            stderr.contains("cargo install --path . --features mlx"),
            "{stderr}"
        );
    }
}

#[cfg(feature = "mlx")]
#[test]
fn both_engines_compute_the_same_vectors() {
    let home = tempfile::tempdir().unwrap();
    let manual = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/manuals/heat-pump-service-manual.pdf"
    );
    let made = ["candle", "mlx"].map(|engine| {
        let out = embed(
            home.path(),
            engine,
            &[manual, "--pages", "1-4", "--out", engine],
        );
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        candle_core::safetensors::load(home.path().join(engine), &candle_core::Device::Cpu).unwrap()
    });
    let [candle, mlx] = &made;
    // Of each page its image and its text.
    assert_eq!((candle.len(), mlx.len()), (8, 8));
    let texts = candle.keys().filter(|name| name.ends_with("/meaning"));
    assert_eq!(texts.count(), 4);
    let floats = |tensor: &candle_core::Tensor| -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    };
    for (page, ours) in candle {
        let (ours, theirs) = (floats(ours), floats(&mlx[page]));
        assert_eq!(ours.len(), theirs.len());
        // The files hold f16. Before rounding the numbers agree within 1e-5, so rounded ones are at most one step apart,
        // and few of them are.
        let pairs = || ours.iter().zip(&theirs);
        let steps = pairs().filter(|(a, b)| (*a - *b).abs() > 1e-5 + a.abs() / 1024.0);
        let differ = pairs().filter(|(a, b)| (*a - *b).abs() > 1e-5).count();
        assert_eq!(steps.count(), 0, "{page}");
        assert!(
            differ * 50 <= ours.len(),
            "{page}: {differ} of {}",
            ours.len()
        );
    }
}

/// The only test of this process that computes on MLX, since its memory is counted for the whole process.
#[cfg(feature = "mlx")]
#[test]
fn memory_is_freed_and_the_estimate_of_a_request_suffices() {
    use ingest::embed::{self, Config, Device, Engine};
    let config = Config {
        model: MODEL.to_owned(),
        engine: Engine::Mlx,
        device: Device::Cpu,
        max_visual_tokens: None,
        pool_factor: 1,
        width: None,
        meaning: None,
    };
    let mut model = embed::open(&config).unwrap();
    model
        .embed_query("How often must the oil filter be changed?")
        .unwrap();
    let used = ingest::qwen::mlx::memory();
    // 1.4 MB of weights.
    assert!(
        used.active > 1_000_000 && used.peak > used.active,
        "{used:?}"
    );
    assert_eq!(used.cache, 0, "{used:?}");
    drop(model);
    let left = ingest::qwen::mlx::memory();
    assert!(left.active * 20 <= left.peak, "{left:?}");
    for model in ["qwen2.5", "qwen3", "qwen2.5-4bit"] {
        memory_estimate_suffices(model);
    }
}

/// The smallest memory limit that admits a request is enough to answer it: on a CPU only the estimate enforces the limit.
#[cfg(feature = "mlx")]
fn memory_estimate_suffices(model: &str) {
    use std::time::{Duration, Instant};

    use ingest::qwen::mlx::{self, GenerationRequest, Generator, GeneratorConfig, TokenEvent};

    let request = GenerationRequest {
        segments: qwen_vl::expected(model).prompt,
        max_tokens: 300,
        temperature: 0.0,
        seed: 0,
    };
    let limited = |memory_limit| GeneratorConfig {
        memory_limit,
        ..qwen_vl::generator_config(model)
    };
    let open = |memory_limit| Generator::open(limited(memory_limit));
    // Submitted and cancelled at once.
    let fits = |limit: u64| open(limit).is_ok_and(|one| one.submit(request.clone()).is_ok());
    let (mut too_small, mut enough) = (0, 1 << 30);
    while enough - too_small > 1000 {
        let middle = u64::midpoint(too_small, enough);
        match fits(middle) {
            true => enough = middle,
            false => too_small = middle,
        }
    }
    let generator = open(enough).unwrap();
    mlx::reset_peak_memory();
    let stream = generator.submit(request.clone()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !matches!(
        stream.recv_deadline(deadline).unwrap(),
        TokenEvent::Finished(_)
    ) {}
    let peak = mlx::memory().peak;
    assert!(
        peak <= enough && enough <= 2 * peak,
        "{model}: {peak}, {enough}"
    );
    drop((stream, generator));
    let left = mlx::memory();
    assert!(left.active * 20 <= left.peak, "{left:?}");
}
