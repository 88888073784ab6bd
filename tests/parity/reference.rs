//! What the reference computed, and how ours is compared with it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device as Candle, Tensor};
use ingest::embed::{self, Config, Device, Engine};
use ingest::page::{PageImage, Size};
use ingest::patch::{Patches, Prepare, Prepared};
use ingest::vectors::MultiVector;

/// What f32 embeddings may differ by.
pub(crate) const EXACT: f32 = 1e-5;
/// What values inside the model may differ by, as a part of the largest of their kind.
pub(crate) const INSIDE: f32 = 5e-6;
/// Questions of `make_tiny_colqwen.py`.
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
    }
}

/// What the reference computed.
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

    /// The rows of all sequences of a batch, one behind the other.
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
    let picture = image::open(golden(&format!("pages/page_{number}.png")))
        .unwrap()
        .to_rgb8();
    let size = Size::new(picture.width(), picture.height());
    PageImage::new(size, picture.into_raw()).unwrap()
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

/// Rows of the vision tower, put into reading order: `tokens[i]` is the token that row group `i` belongs to.
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

/// Pages and questions through the seam that the pipeline uses.
pub(crate) fn embedded(model: &str, engine: Engine) -> (Vec<MultiVector>, Vec<MultiVector>) {
    let config = config(model, engine);
    let mut embedder = embed::open(&config).unwrap();
    let pages = prepared(&embed::card(&config).unwrap().prepare);
    let docs = embedder.embed_pages(&pages).unwrap();
    let docs = docs.into_iter().map(|page| page.unwrap().vectors).collect();
    let queries = QUERIES.map(|text| embedder.embed_query(text).unwrap());
    (docs, queries.to_vec())
}

pub(crate) fn differ(ours: &MultiVector, theirs: &[Vec<f32>]) -> f32 {
    difference(&cut(ours.as_slice(), ours.dim()), theirs).0
}

/// Rows of what a model computed on its way, by name and number; `order[i]` is the token that the tower reads `i`th.
pub(crate) struct Inside {
    pub(crate) taps: BTreeMap<String, Vec<Vec<f32>>>,
    pub(crate) order: Vec<usize>,
}

/// The name of a value inside a model, as the reference has it.
pub(crate) fn key(hook: &str, number: usize) -> String {
    match ["vit.block", "lm.layer"].contains(&hook) {
        true => format!("{hook}.{number}"),
        false => hook.to_owned(),
    }
}

/// The token that the tower reads first, second, …: `back` names for each token its row.
pub(crate) fn turned(back: &[u32]) -> Vec<usize> {
    let mut tokens = vec![0; back.len()];
    for (token, &row) in back.iter().enumerate() {
        tokens[row as usize] = token;
    }
    tokens
}

/// Every value of a family inside the model, on a batch of both pages.
pub(crate) fn compare_inside(name: &str, inside: &Inside) {
    let reference = Reference::open(name);
    let theirs: Option<Vec<i64>> = reference
        .0
        .get("docs.vit.window_index")
        .map(|index| index.to_vec1().unwrap());
    let in_order: Vec<usize> = (0..inside.order.len()).collect();
    let theirs: Vec<usize> = match theirs {
        Some(index) => index.into_iter().map(|token| token as usize).collect(),
        None => in_order.clone(),
    };
    eprintln!("{name}: largest difference, largest value");
    for (hook, ours) in &inside.taps {
        let key = format!("docs.{hook}");
        let (mut a, mut b) = match hook.split('.').next() {
            Some("vit") => (ours.clone(), reference.rows(&key)),
            _ => (ours.clone(), reference.packed("docs", &key)),
        };
        if hook.starts_with("vit.") && hook != "vit.out" {
            let patch = hook == "vit.patch_embed";
            a = reading_order(&a, &inside.order);
            b = reading_order(&b, if patch { &in_order } else { &theirs });
        }
        if ["lm.cos", "lm.sin"].contains(&hook.as_str()) {
            b.iter_mut().for_each(|row| row.truncate(a[0].len()));
        }
        let (most, largest) = difference(&a, &b);
        eprintln!("  {hook:<16} {most:.1e}  {largest:.2}");
        assert!(most <= INSIDE * largest.max(1.0), "{hook}: {most:e}");
    }
    assert_eq!(inside.taps.len(), 13, "every tap is compared");
}
