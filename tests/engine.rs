//! `--engine mlx` makes the vectors that candle makes where MLX is built in, and says how to get it where it is not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[cfg(feature = "mlx")]
#[path = "support/speaker.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod speaker;

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
fn mlx_is_there_or_says_how_to_get_it() {
    let home = tempfile::tempdir().unwrap();
    let out = embed(
        home.path(),
        "mlx",
        &["--query", "oil", "--out", "oil.safetensors"],
    );
    let told = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.success(), cfg!(feature = "mlx"), "{told}");
    if cfg!(not(feature = "mlx")) {
        assert!(
            told.contains("this `ingest` was built without MLX"),
            "{told}"
        );
        assert!(
            told.contains("cargo install --path . --features mlx"),
            "{told}"
        );
    }
}

#[cfg(feature = "mlx")]
#[test]
fn a_manual_becomes_the_same_vectors_on_both_engines() {
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
    assert_eq!((candle.len(), mlx.len()), (4, 4));
    let floats = |tensor: &candle_core::Tensor| -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    };
    for (page, ours) in candle {
        let (ours, theirs) = (floats(ours), floats(&mlx[page]));
        assert_eq!(ours.len(), theirs.len());
        // What is written is rounded to f16. Before that the numbers agree to 1e-5, so neighbours of 1e-5 and more are
        // one step apart at most, and few of them are.
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

/// The only test of this process that computes on MLX: what it holds is counted for the whole process.
#[cfg(feature = "mlx")]
#[test]
fn memory_is_given_back() {
    use ingest::embed::{self, Config, Device, Engine};
    let config = Config {
        model: MODEL.to_owned(),
        engine: Engine::Mlx,
        device: Device::Cpu,
        max_visual_tokens: None,
        pool_factor: 1,
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
        the_plan_of_a_question_holds(model);
    }
}

/// The least memory with which a question is taken is enough to answer it: on a CPU nothing but the plan sees to that.
#[cfg(feature = "mlx")]
fn the_plan_of_a_question_holds(model: &str) {
    use std::time::{Duration, Instant};

    use ingest::qwen::mlx::{self, GenerationRequest, Generator, GeneratorConfig, TokenEvent};

    let question = GenerationRequest {
        segments: speaker::theirs(model).question,
        max_tokens: 300,
        temperature: 0.0,
        seed: 0,
    };
    let limited = |memory| GeneratorConfig {
        memory,
        ..speaker::recipe(model)
    };
    let open = |memory| Generator::open(limited(memory));
    // Asked, and let go at once.
    let taken = |memory: u64| open(memory).is_ok_and(|one| one.submit(question.clone()).is_ok());
    let (mut little, mut enough) = (0, 1 << 30);
    while enough - little > 1000 {
        let middle = u64::midpoint(little, enough);
        *(if taken(middle) {
            &mut enough
        } else {
            &mut little
        }) = middle;
    }
    let speaker = open(enough).unwrap();
    mlx::reset_peak_memory();
    let answer = speaker.submit(question.clone()).unwrap();
    let by = Instant::now() + Duration::from_secs(120);
    while !matches!(answer.recv_deadline(by).unwrap(), TokenEvent::Finished(_)) {}
    let peak = mlx::memory().peak;
    assert!(
        peak <= enough && enough <= 2 * peak,
        "{model}: {peak}, {enough}"
    );
    drop((answer, speaker));
    let left = mlx::memory();
    assert!(left.active * 20 <= left.peak, "{left:?}");
}
