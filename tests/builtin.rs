//! The built-in model equals torch with the same weights (`src/embed/builtin/train/golden.py`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use ingest::embed::{Embedder, builtin};
use ingest::page::Size;
use ingest::patch::{GrayPage, Prepared};
use safetensors::SafeTensors;

const GOLDEN: &[u8] = include_bytes!("golden/builtin/crop.safetensors");
const DIM: usize = 128;

struct Golden {
    page: GrayPage,
    /// Expected rows of the page.
    rows: Vec<f32>,
    /// Expected cell of each row.
    cells: Vec<u16>,
    /// Words of the crop, each with the cells that contain it.
    words: Vec<(String, Vec<usize>)>,
    /// Expected vectors of the words.
    word_vectors: Vec<f32>,
}

fn golden() -> Golden {
    let file = SafeTensors::deserialize(GOLDEN).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        let (four, _) = file.tensor(name).unwrap().data().as_chunks::<4>();
        four.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let pixels = file.tensor("pixels").unwrap();
    let size = Size::new(pixels.shape()[1] as u32, pixels.shape()[0] as u32);
    let (_, header) = SafeTensors::read_metadata(GOLDEN).unwrap();
    let words = &header.metadata().as_ref().unwrap()["words"];
    Golden {
        page: GrayPage {
            size,
            pixels: pixels.data().to_vec(),
        },
        rows: floats("rows"),
        cells: {
            let (pairs, _) = file.tensor("places").unwrap().data().as_chunks::<2>();
            pairs.iter().map(|b| u16::from_le_bytes(*b)).collect()
        },
        words: serde_json::from_str(words).unwrap(),
        word_vectors: floats("words"),
    }
}

fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(x, y)| (x - y).abs())
        .fold(0.0, f32::max)
}

#[test]
fn pages_equal_torch() {
    let golden = golden();
    let mut model = builtin::open().unwrap();
    let embedded = model
        .embed_pages(&[Prepared::Gray(golden.page)])
        .unwrap()
        .remove(0)
        .unwrap();
    assert_eq!(
        (embedded.patches.columns(), embedded.patches.rows()),
        (9, 13)
    );
    assert_eq!(embedded.patches.cells(), golden.cells);
    let error = max_difference(embedded.vectors.as_slice(), &golden.rows);
    assert!(error < 1e-3, "off by {error}");
}

#[test]
fn words_equal_torch() {
    let golden = golden();
    let mut model = builtin::open().unwrap();
    for ((word, _), expected) in golden
        .words
        .iter()
        .zip(golden.word_vectors.chunks_exact(DIM))
    {
        let embedded = model.embed_query(word).unwrap();
        let error = max_difference(&embedded.as_slice()[..DIM], expected);
        assert!(error < 1e-3, "`{word}` is off by {error}");
    }
}

#[test]
fn printed_words_are_found_in_their_cells() {
    let golden = golden();
    let mut model = builtin::open().unwrap();
    let embedded = model
        .embed_pages(&[Prepared::Gray(golden.page)])
        .unwrap()
        .remove(0)
        .unwrap();
    let mut found = 0;
    for (word, cells) in &golden.words {
        let query = model.embed_query(word).unwrap();
        let score = |row: &[f32]| {
            row.iter()
                .zip(query.as_slice())
                .map(|(a, b)| a * b)
                .sum::<f32>()
        };
        let best = embedded
            .vectors
            .rows()
            .zip(embedded.patches.cells())
            .max_by(|a, b| score(a.0).total_cmp(&score(b.0)));
        found += usize::from(best.is_some_and(|(_, cell)| cells.contains(&usize::from(*cell))));
    }
    assert!(
        found * 10 >= golden.words.len() * 6,
        "{found} of {}",
        golden.words.len()
    );
}

#[test]
fn blank_and_tiny_pages_have_one_row() {
    let mut model = builtin::open().unwrap();
    let blank = |w: u32, h: u32| {
        Prepared::Gray(GrayPage {
            size: Size::new(w, h),
            pixels: vec![255; (w * h) as usize],
        })
    };
    for page in model.embed_pages(&[blank(881, 1247), blank(1, 1)]).unwrap() {
        assert_eq!(page.unwrap().vectors.len(), 1);
    }
}
