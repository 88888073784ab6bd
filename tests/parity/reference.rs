//! The values of the reference, and how ours are compared with them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device as Candle, Tensor};
use ingest::embed::{self, Config, Device, Engine};
use ingest::page::{PageImage, Size};
use ingest::patch::{Patches, Prepare, Prepared};
use ingest::vectors::MultiVector;

/// Tolerance of f32 embeddings.
pub(crate) const EXACT: f32 = 1e-5;
/// Tolerance of activations, relative to the largest of their kind.
pub(crate) const ACTIVATIONS: f32 = 5e-6;
/// Queries of `make_tiny_colqwen.py`.
pub(crate) const QUERIES: [&str; 3] = [
    "How often must the oil filter be changed?",
    "torque of the M8 bolt",
    "Größe — 寸法は?",
];

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

pub(crate) fn config(model: &str, engine: Engine) -> Config {
    Config {
        model: golden(model).display().to_string(),
        engine,
        device: Device::Cpu,
        max_visual_tokens: None,
        pool_factor: 1,
        width: None,
        meaning: None,
    }
}

/// The values of the reference.
pub(crate) struct Reference(pub(crate) HashMap<String, Tensor>);

impl Reference {
    pub(crate) fn open(name: &str) -> Self {
        let file = golden(&format!("{name}.safetensors"));
        Self(candle_core::safetensors::load(file, &Candle::Cpu).unwrap())
    }

    pub(crate) fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no `{name}`"))
    }

    pub(crate) fn rows(&self, name: &str) -> Vec<Vec<f32>> {
        rows(self.get(name))
    }

    /// The rows of one sequence of a batch, without its padding.
    pub(crate) fn sequence(&self, batch: &str, values: &str, number: usize) -> Vec<Vec<f32>> {
        let mask = self.get(&format!("{batch}.in.attention_mask"));
        let mask: Vec<i64> = mask.get(number).unwrap().to_vec1().unwrap();
        let all = rows(&self.get(values).get(number).unwrap());
        let kept = all.into_iter().zip(mask).filter(|&(_, mask)| mask == 1);
        kept.map(|(row, _)| row).collect()
    }

    /// The rows of all sequences of a batch, packed.
    pub(crate) fn packed(&self, batch: &str, values: &str) -> Vec<Vec<f32>> {
        let count = self.get(values).dim(0).unwrap();
        (0..count)
            .flat_map(|number| self.sequence(batch, values, number))
            .collect()
    }
}

pub(crate) fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    let tensor = tensor.to_dtype(DType::F32).unwrap();
    tensor.to_vec2().unwrap()
}

/// The largest difference, and the largest value.
pub(crate) fn difference(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> (f32, f32) {
    assert_eq!((ours.len(), ours[0].len()), (theirs.len(), theirs[0].len()));
    let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
    pairs.fold((0.0, 0.0), |(most, largest), (a, b)| {
        ((a - b).abs().max(most), b.abs().max(largest))
    })
}

pub(crate) fn cut(flat: &[f32], width: usize) -> Vec<Vec<f32>> {
    flat.chunks_exact(width).map(<[f32]>::to_vec).collect()
}

pub(crate) fn page(number: usize) -> PageImage {
    let image = image::open(golden(&format!("pages/page_{number}.png")))
        .unwrap()
        .to_rgb8();
    let size = Size::new(image.width(), image.height());
    PageImage::new(size, image.into_raw()).unwrap()
}

pub(crate) fn prepared(prepare: &Prepare) -> Vec<Prepared> {
    (0..2)
        .map(|number| prepare.prepare(&page(number)).unwrap())
        .collect()
}

pub(crate) fn patches(pages: &[Prepared]) -> Vec<&Patches> {
    let mut all = Vec::new();
    for page in pages {
        match page {
            Prepared::Qwen(patches) => all.push(patches),
            Prepared::Gray(_) => panic!("a gray page"),
        }
    }
    all
}

/// Rows of the vision tower in reading order; `tokens[i]` is the token of row group `i`.
pub(crate) fn reading_order(rows: &[Vec<f32>], tokens: &[usize]) -> Vec<Vec<f32>> {
    let unit = rows.len() / tokens.len();
    let mut sorted = vec![Vec::new(); rows.len()];
    for (group, &token) in tokens.iter().enumerate() {
        for i in 0..unit {
            sorted[token * unit + i] = rows[group * unit + i].clone();
        }
    }
    sorted
}

/// Embeddings of the pages and queries, by the trait that the pipeline uses.
pub(crate) fn embedded(model: &str, engine: Engine) -> (Vec<MultiVector>, Vec<MultiVector>) {
    let config = config(model, engine);
    let mut embedder = embed::open(&config).unwrap();
    let pages = prepared(&embed::card(&config).unwrap().prepare);
    let docs = embedder.embed_pages(&pages).unwrap();
    let docs = docs.into_iter().map(|page| page.unwrap().vectors).collect();
    let queries = QUERIES.map(|text| embedder.embed_query(text).unwrap());
    (docs, queries.to_vec())
}

/// The largest difference of an embedding.
pub(crate) fn max_difference(ours: &MultiVector, theirs: &[Vec<f32>]) -> f32 {
    difference(&cut(ours.as_slice(), ours.dim()), theirs).0
}

/// Activations of a model, by name and index; `order[i]` is the token of row `i` of the vision tower.
pub(crate) struct Activations {
    pub(crate) values: BTreeMap<String, Vec<Vec<f32>>>,
    pub(crate) order: Vec<usize>,
}

/// The name of an activation in the reference.
pub(crate) fn key(name: &str, index: usize) -> String {
    match ["vit.block", "vit.deepstack", "lm.layer"].contains(&name) {
        true => format!("{name}.{index}"),
        false => name.to_owned(),
    }
}

/// The token of each row of the vision tower, from the row of each token.
pub(crate) fn inverse(rows: &[u32]) -> Vec<usize> {
    let mut tokens = vec![0; rows.len()];
    for (token, &row) in rows.iter().enumerate() {
        tokens[row as usize] = token;
    }
    tokens
}

/// Compares all activations of a model, on a batch of both pages.
pub(crate) fn compare_activations(name: &str, activations: &Activations) {
    let reference = Reference::open(name);
    let theirs: Option<Vec<i64>> = reference
        .0
        .get("docs.vit.window_index")
        .map(|index| index.to_vec1().unwrap());
    let in_order: Vec<usize> = (0..activations.order.len()).collect();
    let theirs: Vec<usize> = match theirs {
        Some(index) => index.into_iter().map(|token| token as usize).collect(),
        None => in_order.clone(),
    };
    eprintln!("{name}: largest difference, largest value");
    for (name, ours) in &activations.values {
        let key = format!("docs.{name}");
        let (mut a, mut b) = match name.split('.').next() {
            Some("vit") => (ours.clone(), reference.rows(&key)),
            _ => (ours.clone(), reference.packed("docs", &key)),
        };
        if name.starts_with("vit.") && name != "vit.out" {
            let patch = name == "vit.patch_embed";
            a = reading_order(&a, &activations.order);
            b = reading_order(&b, if patch { &in_order } else { &theirs });
        }
        if ["lm.cos", "lm.sin"].contains(&name.as_str()) {
            b.iter_mut().for_each(|row| row.truncate(a[0].len()));
        }
        let (most, largest) = difference(&a, &b);
        eprintln!("  {name:<16} {most:.1e}  {largest:.2}");
        assert!(most <= ACTIVATIONS * largest.max(1.0), "{name}: {most:e}");
    }
    let has_no_activation = |name: &str| name.starts_with("in.") || name == "embeddings";
    let names = reference
        .0
        .keys()
        .filter_map(|name| name.strip_prefix("docs."));
    let names = names.filter(|name| !has_no_activation(name) && *name != "vit.window_index");
    assert_eq!(activations.values.len(), names.count());
}
