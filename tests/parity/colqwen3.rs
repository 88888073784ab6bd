//! Parity of ColQwen3: the families on the hub have one backbone, with other names, projections, prompts and attention.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device as Candle, safetensors};
use ingest::embed::{self, Config, Embedder, Engine, colqwen};
use ingest::qwen::candle::{CandleDevice, DeviceKind};
use ingest::vectors::MultiVector;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::engines;
use super::families::{Family, families};
use super::reference::{EXACT, QUERIES, Reference, config, max_difference, patches, prepared};

/// Writes the checkpoint of a family with its card.
fn written(family: &Family) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    family.write(folder.path());
    let card = match family.name {
        // Pages of the reference are smaller than what these allow.
        "sauerkraut" | "tomoro" | "nemotron" => "max_visual_tokens = 24",
        _ => "",
    };
    fs::write(folder.path().join("ingest-card.toml"), card).unwrap();
    folder
}

fn of_folder(folder: &Path, engine: Engine) -> Config {
    Config {
        model: folder.display().to_string(),
        ..config("", engine)
    }
}

/// The vectors of both pages and of the queries, which have a blank at each end.
fn embedded(config: &Config) -> [Vec<MultiVector>; 2] {
    let mut embedder = embed::open(config).unwrap();
    let pages = prepared(&embed::card(config).unwrap().prepare);
    let docs = embedder.embed_pages(&pages).unwrap();
    let docs = docs.into_iter().map(|page| page.unwrap().vectors).collect();
    let query = |text: &str| embedder.embed_query(&format!(" {text} ")).unwrap();
    [docs, QUERIES.map(query).to_vec()]
}

/// The largest difference to `docs` and `queries` of the reference.
fn differs(reference: &Reference, docs: &str, queries: &str, ours: &[Vec<MultiVector>; 2]) -> f32 {
    let names = [docs, queries].into_iter().zip(["docs", "queries"]);
    let all = names.zip(ours).flat_map(|((name, kind), ours)| {
        let numbered = ours.iter().enumerate();
        numbered.map(move |(number, ours)| {
            max_difference(ours, &reference.rows(&format!("{name}.{kind}.{number}")))
        })
    });
    all.fold(0.0, f32::max)
}

#[test]
fn families_of_colqwen3_equal_the_reference() {
    let reference = Reference::open("colqwen3");
    for family in families() {
        let folder = written(&family);
        for &engine in engines() {
            let config = of_folder(folder.path(), engine);
            let card = embed::card(&config).unwrap();
            assert_eq!(card.profile.dim, family.dim, "{}", family.name);
            let docs = match family.name {
                "sauerkraut" => "engine",
                name => name,
            };
            let most = differs(&reference, docs, family.name, &embedded(&config));
            eprintln!("{} on {engine:?}: differs by {most:.1e}", family.name);
            assert!(most <= EXACT, "{}: {most:e}", family.name);
        }
    }
}

/// The first numbers of a vector, of length 1.
fn cut_to(width: usize, rows: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let cut = |row: Vec<f32>| {
        let row = &row[..width];
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter().map(|x| x / length).collect()
    };
    rows.into_iter().map(cut).collect()
}

#[test]
fn nested_vectors_are_cut_to_their_first_numbers() {
    let reference = Reference::open("colqwen3");
    let folders = families().map(|family| (family.name, written(&family)));
    let of = |name: &str, engine, width| {
        let (_, folder) = folders.iter().find(|(found, _)| *found == name).unwrap();
        Config {
            width: Some(width),
            ..of_folder(folder.path(), engine)
        }
    };
    for &engine in engines() {
        let config = of("ops", engine, 8);
        let [docs, _] = embedded(&config);
        for (number, page) in docs.iter().enumerate() {
            let whole = reference.rows(&format!("ops.docs.{number}"));
            assert!(max_difference(page, &cut_to(8, whole)) <= EXACT);
        }
        let id = |width| {
            let card = embed::card(&of("ops", engine, width)).unwrap();
            card.profile.id
        };
        assert_ne!(id(8), id(20));
    }
    for (name, width, widths) in [("ops", 33, "up to 32 wide"), ("engine", 8, "24 wide")] {
        let error = embed::card(&of(name, Engine::Candle, width)).unwrap_err();
        let error = error.to_string();
        assert!(
            error.ends_with(&format!("has vectors {widths}, not {width}")),
            "{error}"
        );
    }
}

#[test]
fn adapter_of_colqwen3_equals_the_reference() {
    let reference = Reference::open("colqwen3");
    for &engine in engines() {
        let [docs, _] = embedded(&config("colqwen3-lora", engine));
        let most = differs(&reference, "lora", "", &[docs, Vec::new()]);
        eprintln!("colqwen3 on {engine:?}: with adapter, differs by {most:.1e}");
        assert!(most <= EXACT, "{most:e}");
    }
}

#[test]
fn bf16_reference_of_colqwen3_is_close() {
    let reference = Reference::open("colqwen3");
    let folder = written(&families()[0]);
    let weights = folder.path().join("model.safetensors");
    let mut tensors = safetensors::load(&weights, &Candle::Cpu).unwrap();
    for tensor in tensors.values_mut() {
        *tensor = tensor.to_dtype(DType::BF16).unwrap();
    }
    safetensors::save(&tensors, weights).unwrap();
    let on_candle = of_folder(folder.path(), Engine::Candle);
    // As a GPU computes it.
    let device = CandleDevice::open(Some(DeviceKind::CpuBf16)).unwrap();
    let in_bf16 = colqwen::open_on(&on_candle, device).unwrap();
    let mut models: Vec<(String, Box<dyn Embedder>)> =
        vec![("Candle in bf16".to_owned(), Box::new(in_bf16))];
    models.extend(engines().iter().map(|&engine| {
        let model = embed::open(&of_folder(folder.path(), engine)).unwrap();
        (format!("{engine:?}"), model)
    }));
    let pages = prepared(&embed::card(&on_candle).unwrap().prepare);
    for (name, mut model) in models {
        let mut least = 1f32;
        for (number, page) in model.embed_pages(&pages).unwrap().into_iter().enumerate() {
            let page = page.unwrap().vectors;
            let theirs = reference.rows(&format!("bf16.docs.{number}"));
            for (ours, theirs) in page.as_slice().chunks_exact(page.dim()).zip(theirs) {
                let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
                let lengths = dot(ours, ours) * dot(&theirs, &theirs);
                least = least.min(dot(ours, &theirs) / lengths.sqrt());
            }
        }
        eprintln!("colqwen3 on {name}: bf16 reference, least cosine {least:.5}");
        assert!(least >= 0.998, "{name}: {least}");
    }
}

#[test]
fn pixels_of_colqwen3_equal_the_reference_bit_for_bit() {
    let card = embed::card(&config("colqwen3-tiny", Engine::Candle)).unwrap();
    let pages = prepared(&card.prepare);
    let digests = Reference::open("colqwen3").rows("pixels.sha256");
    for (page, theirs) in patches(&pages).into_iter().zip(digests) {
        let bytes: Vec<u8> = page.rows.iter().flat_map(|x| x.to_le_bytes()).collect();
        let ours: Vec<f32> = Sha256::digest(bytes)
            .iter()
            .map(|&b| f32::from(b))
            .collect();
        assert_eq!(ours, theirs, "{:?}", page.grid);
    }
}
