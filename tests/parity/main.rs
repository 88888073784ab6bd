//! Parity of ColQwen with colpali-engine: activations and embeddings of the tiny models of `tests/golden/`, on candle and, with
//! the feature `mlx`, on MLX.
//!
//! `cargo test --test parity -- --nocapture` prints the largest difference of each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
#![expect(
    clippy::print_stderr,
    reason = "the table of differences is the output of this test"
)]

mod colqwen3;
#[path = "../support/colqwen3.rs"]
mod families;
#[cfg(feature = "mlx")]
mod mlx;
#[cfg(feature = "mlx")]
#[path = "../support/qwen_vl.rs"]
mod models;
#[cfg(feature = "mlx")]
mod qwen_vl;
mod reference;

use std::collections::BTreeMap;

use candle_core::Tensor;
use ingest::embed::{self, Embedder, Engine, colqwen};
use ingest::vectors::{MultiVector, PatchMap, max_sim};

use reference::{
    Activations, EXACT, Reference, compare_activations, config, cut, difference, embedded, inverse,
    key, max_difference, patches, prepared, rows,
};

/// The engines that are built in.
fn engines() -> &'static [Engine] {
    match cfg!(feature = "mlx") {
        true => &[Engine::Candle, Engine::Mlx],
        false => &[Engine::Candle],
    }
}

/// Each of two models on each engine.
fn each(names: [&str; 2]) -> impl Iterator<Item = (&str, Engine)> {
    let on = |name| engines().iter().map(move |engine| (name, *engine));
    names.into_iter().flat_map(on)
}

/// Compares the model on both pages of the golden folder, in one batch.
fn compare_on_candle(name: &str) {
    let config = config(&format!("{name}-tiny"), Engine::Candle);
    let mut model = colqwen::open(&config).unwrap();
    model.set_chunk_size(usize::MAX);
    let pages = prepared(&embed::card(&config).unwrap().prepare);
    let mut tensors = BTreeMap::new();
    let mut hook = |name: &str, index: usize, tensor: &Tensor| {
        tensors.insert(key(name, index), tensor.clone());
    };
    let vectors = model.encode_with_hook(&patches(&pages), &mut hook).unwrap();
    let order: Vec<u32> = tensors.remove("vit.order").unwrap().to_vec1().unwrap();
    let activations = Activations {
        order: inverse(&order),
        values: tensors
            .iter()
            .map(|(key, tensor)| (key.clone(), rows(tensor)))
            .collect(),
    };
    compare_activations(name, &activations);
    let theirs = Reference::open(name).packed("docs", "docs.embeddings");
    let dim = theirs[0].len();
    let ours: Vec<Vec<f32>> = vectors.iter().flat_map(|page| cut(page, dim)).collect();
    assert!(difference(&ours, &theirs).0 <= EXACT);
}

#[test]
fn activations_of_colqwen2_5_equal_the_reference() {
    compare_on_candle("colqwen2.5");
}

#[test]
fn activations_of_colqwen2_equal_the_reference() {
    compare_on_candle("colqwen2");
}

#[test]
fn activations_of_colqwen3_equal_the_reference() {
    compare_on_candle("colqwen3");
}

#[test]
fn pixels_equal_the_reference_bit_for_bit() {
    let reference = Reference::open("colqwen2.5");
    let prepare = embed::card(&config("colqwen2.5-tiny", Engine::Candle))
        .unwrap()
        .prepare;
    let pages = prepared(&prepare);
    for (number, page) in patches(&pages).into_iter().enumerate() {
        let theirs = reference.get("docs.in.pixel_values").get(number).unwrap();
        let theirs = theirs.narrow(0, 0, page.grid.patches()).unwrap();
        let theirs: Vec<f32> = theirs.flatten_all().unwrap().to_vec1().unwrap();
        let differing = page
            .rows
            .iter()
            .zip(&theirs)
            .filter(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!(
            (page.rows.len(), differing.count()),
            (theirs.len(), 0),
            "page {number}"
        );
    }
}

#[test]
fn embeddings_and_scores_equal_the_reference() {
    for (name, engine) in each(["colqwen2.5", "colqwen2"]) {
        let reference = Reference::open(name);
        let (docs, queries) = embedded(&format!("{name}-tiny"), engine);
        for (number, page) in docs.iter().enumerate() {
            assert!(
                max_difference(page, &reference.sequence("docs", "docs.embeddings", number))
                    <= EXACT
            );
            let alone = rows(&reference.get(&format!("alone.{number}")).get(0).unwrap());
            assert!(max_difference(page, &alone) <= EXACT);
        }
        for (number, query) in queries.iter().enumerate() {
            let most = max_difference(
                query,
                &reference.sequence("queries", "queries.embeddings", number),
            );
            eprintln!("{name} on {engine:?}: query {number} differs by {most:.1e}");
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
fn merged_adapter_equals_the_reference() {
    for (name, engine) in each(["colqwen2.5", "colqwen2"]) {
        let reference = Reference::open(name);
        let (docs, queries) = embedded(&format!("{name}-lora"), engine);
        let docs = docs
            .iter()
            .enumerate()
            .map(|(i, page)| max_difference(page, &reference.sequence("docs", "lora.docs", i)));
        let queries = queries.iter().enumerate().map(|(i, query)| {
            max_difference(query, &reference.sequence("queries", "lora.queries", i))
        });
        let most = docs.chain(queries).fold(0.0, f32::max);
        eprintln!("{name} on {engine:?}: with adapter, differs by {most:.1e}");
        assert!(most <= EXACT, "{name}: {most:e}");
    }
}

#[test]
fn bf16_reference_is_close() {
    for engine in engines() {
        close_to_bf16(*engine);
    }
}

fn close_to_bf16(engine: Engine) {
    let reference = Reference::open("colqwen2.5-bf16");
    let (docs, queries) = embedded("colqwen2.5-bf16-tiny", engine);
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
fn page_in_a_batch_equals_the_page_alone() {
    for name in ["colqwen2.5-tiny", "colqwen2-tiny", "colqwen3-tiny"] {
        let config = config(name, Engine::Candle);
        let mut model = colqwen::open(&config).unwrap();
        let pages = prepared(&embed::card(&config).unwrap().prepare);
        let mut all = patches(&pages);
        all.extend([all[0], all[0], all[1]]);
        let mut skip = |_: &str, _: usize, _: &Tensor| ();
        model.set_chunk_size(usize::MAX);
        let together = model.encode_with_hook(&all, &mut skip).unwrap();
        for (page, together) in all.iter().zip(together) {
            let alone = model.encode_with_hook(&[page], &mut skip).unwrap().concat();
            assert!(difference(&[together], &[alone]).0 <= EXACT);
        }
    }
}

#[test]
fn patch_map_covers_all_visual_tokens_in_order() {
    let config = config("colqwen2.5-tiny", Engine::Candle);
    let card = embed::card(&config).unwrap();
    let pages = prepared(&card.prepare);
    let mut model = colqwen::open(&config).unwrap();
    let embedded = model.embed_pages(&pages).unwrap();
    let first = embedded[0].as_ref().unwrap();
    let patch_map = &first.patches;
    assert_eq!((patch_map.columns(), patch_map.rows()), (5, 8));
    assert_eq!(patch_map.cells().len(), first.vectors.len());
    let cells: Vec<u16> = patch_map
        .cells()
        .iter()
        .copied()
        .filter(|&cell| cell != PatchMap::NO_CELL)
        .collect();
    assert_eq!(cells, (0..40).collect::<Vec<u16>>());
    // The tiny tokenizer spells the prompt in more tokens than the real one, which needs 11.
    assert_eq!(first.vectors.len(), 40 + 16);
}
