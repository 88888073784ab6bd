//! ColQwen equals colpali-engine: every number it computes on its way, for the tiny models of `tests/golden/`.
//!
//! `cargo test --test parity -- --nocapture` prints the largest difference of each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
#![expect(
    clippy::print_stderr,
    reason = "the table of differences is what one runs this for"
)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device as Candle, Tensor};
use ingest::embed::{self, Config, Device, Embedder, qwen};
use ingest::page::{PageImage, Size};
use ingest::patch::{Patches, Prepare, Prepared};
use ingest::vectors::{MultiVector, PatchMap, max_sim};

/// What f32 embeddings may differ by.
const EXACT: f32 = 1e-5;
/// What values inside the model may differ by, as a part of the largest of their kind.
const INSIDE: f32 = 5e-6;
/// Questions of `make_tiny_colqwen.py`.
const QUERIES: [&str; 3] = [
    "How often must the oil filter be changed?",
    "torque of the M8 bolt",
    "Größe — 寸法は?",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn config(model: &str) -> Config {
    Config {
        model: golden(model).display().to_string(),
        device: Device::Cpu,
        max_visual_tokens: None,
        pool_factor: 1,
    }
}

/// What the reference computed.
struct Reference(HashMap<String, Tensor>);

impl Reference {
    fn open(name: &str) -> Self {
        let file = golden(&format!("{name}.safetensors"));
        Self(candle_core::safetensors::load(file, &Candle::Cpu).unwrap())
    }

    fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("no `{name}`"))
    }

    fn rows(&self, name: &str) -> Vec<Vec<f32>> {
        rows(self.get(name))
    }

    /// The rows of one sequence of a batch, without its padding.
    fn sequence(&self, batch: &str, values: &str, number: usize) -> Vec<Vec<f32>> {
        let mask = self.get(&format!("{batch}.in.attention_mask"));
        let mask: Vec<i64> = mask.get(number).unwrap().to_vec1().unwrap();
        let all = rows(&self.get(values).get(number).unwrap());
        let kept = all.into_iter().zip(mask).filter(|&(_, mask)| mask == 1);
        kept.map(|(row, _)| row).collect()
    }

    /// The rows of all sequences of a batch, one behind the other.
    fn packed(&self, batch: &str, values: &str) -> Vec<Vec<f32>> {
        let count = self.get(values).dim(0).unwrap();
        (0..count)
            .flat_map(|number| self.sequence(batch, values, number))
            .collect()
    }
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    let tensor = tensor.to_dtype(DType::F32).unwrap();
    tensor.to_vec2().unwrap()
}

/// The largest difference, and the largest value.
fn difference(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> (f32, f32) {
    assert_eq!((ours.len(), ours[0].len()), (theirs.len(), theirs[0].len()));
    let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
    pairs.fold((0.0, 0.0), |(most, largest), (a, b)| {
        ((a - b).abs().max(most), b.abs().max(largest))
    })
}

fn cut(flat: &[f32], width: usize) -> Vec<Vec<f32>> {
    flat.chunks_exact(width).map(<[f32]>::to_vec).collect()
}

fn page(number: usize) -> PageImage {
    let picture = image::open(golden(&format!("pages/page_{number}.png")))
        .unwrap()
        .to_rgb8();
    let size = Size::new(picture.width(), picture.height());
    PageImage::new(size, picture.into_raw()).unwrap()
}

fn prepared(prepare: &Prepare) -> Vec<Prepared> {
    (0..2)
        .map(|number| prepare.prepare(&page(number)).unwrap())
        .collect()
}

fn patches(pages: &[Prepared]) -> Vec<&Patches> {
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
fn reading_order(rows: &[Vec<f32>], tokens: &[usize]) -> Vec<Vec<f32>> {
    let unit = rows.len() / tokens.len();
    let mut sorted = vec![Vec::new(); rows.len()];
    for (group, &token) in tokens.iter().enumerate() {
        for i in 0..unit {
            sorted[token * unit + i] = rows[group * unit + i].clone();
        }
    }
    sorted
}

/// Our order: for each token its row, turned round.
fn our_order(back: &Tensor) -> Vec<usize> {
    let back: Vec<u32> = back.to_vec1().unwrap();
    let mut tokens = vec![0; back.len()];
    for (token, &row) in back.iter().enumerate() {
        tokens[row as usize] = token;
    }
    tokens
}

/// Every value of a family inside the model, on a batch of both pages.
fn compare_inside(name: &str) {
    let reference = Reference::open(name);
    let mut model = qwen::open(&config(&format!("{name}-tiny"))).unwrap();
    model.set_chunk(usize::MAX);
    let prepare = embed::card(&config(&format!("{name}-tiny")))
        .unwrap()
        .prepare;
    let pages = prepared(&prepare);
    let mut taps = BTreeMap::new();
    let mut keep = |tap: &str, number: usize, tensor: &Tensor| {
        let numbered = ["vit.block", "lm.layer"].contains(&tap);
        let key = if numbered {
            format!("{tap}.{number}")
        } else {
            tap.to_owned()
        };
        taps.insert(key, tensor.clone());
    };
    let vectors = model.pages(&patches(&pages), &mut keep).unwrap();
    let ours = our_order(&taps.remove("vit.order").unwrap());
    let theirs: Option<Vec<i64>> = reference
        .0
        .get("docs.vit.window_index")
        .map(|index| index.to_vec1().unwrap());
    let theirs: Vec<usize> = match theirs {
        Some(index) => index.into_iter().map(|token| token as usize).collect(),
        None => (0..ours.len()).collect(),
    };
    let in_order: Vec<usize> = (0..ours.len()).collect();
    eprintln!("{name}: largest difference, largest value");
    for (tap, tensor) in &taps {
        let key = format!("docs.{tap}");
        let (mut a, mut b) = match tap.split('.').next() {
            Some("vit") => (rows(tensor), reference.rows(&key)),
            _ => (rows(tensor), reference.packed("docs", &key)),
        };
        if tap.starts_with("vit.") && tap != "vit.out" {
            a = reading_order(&a, &ours);
            b = reading_order(
                &b,
                if tap == "vit.patch_embed" {
                    &in_order
                } else {
                    &theirs
                },
            );
        }
        if ["lm.cos", "lm.sin"].contains(&tap.as_str()) {
            b.iter_mut().for_each(|row| row.truncate(a[0].len()));
        }
        let (most, largest) = difference(&a, &b);
        eprintln!("  {tap:<16} {most:.1e}  {largest:.2}");
        assert!(most <= INSIDE * largest.max(1.0), "{tap}: {most:e}");
    }
    assert_eq!(taps.len(), 13, "every tap is compared");
    let ours: Vec<Vec<f32>> = vectors.iter().flat_map(|page| cut(page, 128)).collect();
    let (most, _) = difference(&ours, &reference.packed("docs", "docs.embeddings"));
    eprintln!("  {:<16} {most:.1e}", "embeddings");
    assert!(most <= EXACT, "{most:e}");
}

#[test]
fn colqwen2_5_equals_the_reference_inside() {
    compare_inside("colqwen2.5");
}

#[test]
fn colqwen2_equals_the_reference_inside() {
    compare_inside("colqwen2");
}

#[test]
fn pixels_equal_the_reference_bit_for_bit() {
    let reference = Reference::open("colqwen2.5");
    let prepare = embed::card(&config("colqwen2.5-tiny")).unwrap().prepare;
    let pages = prepared(&prepare);
    for (number, page) in patches(&pages).into_iter().enumerate() {
        let theirs = reference.get("docs.in.pixel_values").get(number).unwrap();
        let theirs = theirs.narrow(0, 0, page.grid.patches()).unwrap();
        let theirs: Vec<f32> = theirs.flatten_all().unwrap().to_vec1().unwrap();
        let differ = page
            .rows
            .iter()
            .zip(&theirs)
            .filter(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!(
            (page.rows.len(), differ.count()),
            (theirs.len(), 0),
            "page {number}"
        );
    }
}

/// Pages and questions through the seam that the pipeline uses.
fn embedded(model: &str) -> (Vec<MultiVector>, Vec<MultiVector>) {
    let config = config(model);
    let mut embedder = embed::open(&config).unwrap();
    let pages = prepared(&embed::card(&config).unwrap().prepare);
    let docs = embedder.embed_pages(&pages).unwrap();
    let docs = docs.into_iter().map(|page| page.unwrap().vectors).collect();
    let queries = QUERIES.map(|text| embedder.embed_query(text).unwrap());
    (docs, queries.to_vec())
}

fn differ(ours: &MultiVector, theirs: &[Vec<f32>]) -> f32 {
    difference(&cut(ours.as_slice(), ours.dim()), theirs).0
}

#[test]
fn embeddings_and_scores_equal_the_reference() {
    for name in ["colqwen2.5", "colqwen2"] {
        let reference = Reference::open(name);
        let (docs, queries) = embedded(&format!("{name}-tiny"));
        for (number, page) in docs.iter().enumerate() {
            assert!(differ(page, &reference.sequence("docs", "docs.embeddings", number)) <= EXACT);
            let alone = rows(&reference.get(&format!("alone.{number}")).get(0).unwrap());
            assert!(differ(page, &alone) <= EXACT);
        }
        for (number, query) in queries.iter().enumerate() {
            let most = differ(
                query,
                &reference.sequence("queries", "queries.embeddings", number),
            );
            eprintln!("{name}: question {number} differs by {most:.1e}");
            assert!(most <= EXACT);
        }
        let scores = reference.rows("maxsim");
        for (query, scores) in queries.iter().zip(scores) {
            for (page, score) in docs.iter().zip(scores) {
                assert!((max_sim(query, page) - score).abs() < 1e-3);
            }
        }
    }
}

#[test]
fn a_merged_adapter_equals_the_reference() {
    for name in ["colqwen2.5", "colqwen2"] {
        let reference = Reference::open(name);
        let (docs, queries) = embedded(&format!("{name}-lora"));
        let docs = docs
            .iter()
            .enumerate()
            .map(|(i, page)| differ(page, &reference.sequence("docs", "lora.docs", i)));
        let queries = queries
            .iter()
            .enumerate()
            .map(|(i, query)| differ(query, &reference.sequence("queries", "lora.queries", i)));
        let most = docs.chain(queries).fold(0.0, f32::max);
        eprintln!("{name}: with adapter, differs by {most:.1e}");
        assert!(most <= EXACT, "{name}: {most:e}");
    }
}

#[test]
fn a_bf16_reference_is_close() {
    let reference = Reference::open("colqwen2.5-bf16");
    let (docs, queries) = embedded("colqwen2.5-bf16-tiny");
    let mut worst = 1f32;
    let sequences = |batch: &'static str, ours: Vec<MultiVector>| {
        let reference = &reference;
        ours.into_iter()
            .enumerate()
            .flat_map(move |(number, ours)| {
                let theirs = reference.sequence(batch, &format!("{batch}.embeddings"), number);
                cut(ours.as_slice(), ours.dim()).into_iter().zip(theirs)
            })
    };
    for (a, b) in sequences("docs", docs.clone()).chain(sequences("queries", queries.clone())) {
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
        worst = worst.min(dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt());
    }
    eprintln!("bf16 reference: least cosine {worst:.5}");
    assert!(worst >= 0.998, "{worst}");
    for (query, scores) in queries.iter().zip(reference.rows("maxsim")) {
        let ours = max_sim(query, &docs[0]) > max_sim(query, &docs[1]);
        assert!((scores[0] - scores[1]).abs() < 0.1 || ours == (scores[0] > scores[1]));
    }
}

#[test]
fn a_page_in_a_batch_equals_the_page_alone() {
    for name in ["colqwen2.5-tiny", "colqwen2-tiny"] {
        let config = config(name);
        let mut model = qwen::open(&config).unwrap();
        let pages = prepared(&embed::card(&config).unwrap().prepare);
        let mut all = patches(&pages);
        all.extend([all[0], all[0], all[1]]);
        let mut skip = |_: &str, _: usize, _: &Tensor| ();
        model.set_chunk(usize::MAX);
        let together = model.pages(&all, &mut skip).unwrap();
        for (page, together) in all.iter().zip(together) {
            let alone = model.pages(&[page], &mut skip).unwrap().concat();
            assert!(difference(&[together], &[alone]).0 <= EXACT);
        }
    }
}

#[test]
fn rows_know_where_they_look() {
    let config = config("colqwen2.5-tiny");
    let card = embed::card(&config).unwrap();
    let pages = prepared(&card.prepare);
    let mut model = qwen::open(&config).unwrap();
    let embedded = model.embed_pages(&pages).unwrap();
    let first = embedded[0].as_ref().unwrap();
    let places = &first.places;
    assert_eq!((places.columns, places.rows), (5, 8));
    assert_eq!(places.cells.len(), first.vectors.len());
    let cells: Vec<u16> = places
        .cells
        .iter()
        .copied()
        .filter(|&cell| cell != PatchMap::NOWHERE)
        .collect();
    assert_eq!(cells, (0..40).collect::<Vec<u16>>());
    // The tiny tokenizer spells the prompt in more tokens than the real one, which needs 11.
    assert_eq!(first.vectors.len(), 40 + 16);
}
