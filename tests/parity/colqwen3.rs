//! Parity of ColQwen3: the families on the hub have one backbone, with other names, projections, prompts and attention.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device as Candle, Tensor, safetensors};
use ingest::embed::{self, Config, Engine};
use ingest::vectors::MultiVector;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::engines;
use super::reference::{
    EXACT, QUERIES, Reference, config, golden, max_difference, patches, prepared,
};

/// A family, as its checkpoints differ from colpali-engine's own ColQwen3.
struct Family {
    /// Its name in the reference.
    name: &'static str,
    /// Fields of `config.json`.
    config: Value,
    /// Name of a tensor.
    rename: fn(&str) -> String,
    /// What its own card says that is not in its files.
    card: &'static str,
    /// Width of a vector.
    dim: u32,
}

fn plain(name: &str) -> String {
    name.to_owned()
}

fn families() -> [Family; 5] {
    [
        Family {
            name: "engine",
            config: json!({}),
            rename: plain,
            card: "",
            dim: 24,
        },
        Family {
            name: "sauerkraut",
            config: json!({"dim": 24}),
            rename: |name| match name.starts_with("custom_text_proj.") {
                true => name.to_owned(),
                false => format!("model.{name}"),
            },
            card: "query_prefix = \"Query: \"",
            dim: 24,
        },
        Family {
            name: "tomoro",
            config: json!({"model_type": "colqwen3", "embed_dim": 20}),
            rename: |name| match name.strip_prefix("custom_text_proj.") {
                Some(rest) => format!("embedding_proj_layer.{rest}"),
                None => format!("vlm.model.{name}"),
            },
            // Its own cap is far above the pages of this test.
            card: "max_visual_tokens = 24",
            dim: 20,
        },
        Family {
            name: "ops",
            config: json!({"model_type": "ops_colqwen3", "dims": 20}),
            rename: plain,
            card: "",
            dim: 20,
        },
        Family {
            name: "nemotron",
            config: json!({"model_type": "qwen3_vl_nemotron_embed"}),
            rename: |name| format!("model.{name}"),
            card: "max_visual_tokens = 24",
            dim: 32,
        },
    ]
}

impl Family {
    /// Writes its checkpoint into an empty folder.
    fn write(&self, folder: &Path) {
        let tiny = golden("colqwen3-tiny");
        for file in fs::read_dir(&tiny).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
        let path = folder.join("config.json");
        let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let fields = self.config.as_object().unwrap().clone();
        json.as_object_mut().unwrap().extend(fields);
        fs::write(path, json.to_string()).unwrap();
        fs::write(folder.join("ingest-card.toml"), self.card).unwrap();
        let weights = folder.join("model.safetensors");
        let tensors = safetensors::load(&weights, &Candle::Cpu).unwrap();
        let bare = |name: String| name.strip_prefix("model.").unwrap().to_owned();
        let mut tensors: HashMap<String, Tensor> = tensors
            .into_iter()
            .map(|(name, tensor)| (bare(name), tensor))
            .collect();
        let reference = Reference::open("colqwen3");
        for part in ["weight", "bias"] {
            let name = format!("custom_text_proj.{part}");
            if self.name == "nemotron" {
                tensors.remove(&name);
            } else if let Some(own) = reference.0.get(&format!("{}.{part}", self.name)) {
                tensors.insert(name, own.clone());
            }
        }
        let tensors: HashMap<String, Tensor> = tensors
            .into_iter()
            .map(|(name, tensor)| ((self.rename)(&name), tensor))
            .collect();
        safetensors::save(&tensors, weights).unwrap();
    }
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
        let folder = tempfile::tempdir().unwrap();
        family.write(folder.path());
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
    let folders = families().map(|family| {
        let folder = tempfile::tempdir().unwrap();
        family.write(folder.path());
        (family.name, folder)
    });
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
    let folder = tempfile::tempdir().unwrap();
    families()[0].write(folder.path());
    let weights = folder.path().join("model.safetensors");
    let mut tensors = safetensors::load(&weights, &Candle::Cpu).unwrap();
    for tensor in tensors.values_mut() {
        *tensor = tensor.to_dtype(DType::BF16).unwrap();
    }
    safetensors::save(&tensors, weights).unwrap();
    for &engine in engines() {
        let [docs, _] = embedded(&of_folder(folder.path(), engine));
        let mut least = 1f32;
        for (number, page) in docs.iter().enumerate() {
            let theirs = reference.rows(&format!("bf16.docs.{number}"));
            for (ours, theirs) in page.as_slice().chunks_exact(page.dim()).zip(theirs) {
                let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
                let lengths = dot(ours, ours) * dot(&theirs, &theirs);
                least = least.min(dot(ours, &theirs) / lengths.sqrt());
            }
        }
        eprintln!("colqwen3 on {engine:?}: bf16 reference, least cosine {least:.5}");
        assert!(least >= 0.998, "{least}");
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
