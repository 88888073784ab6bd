//! Synthetic pages and queries for benchmarks, clustered like the vectors of real pages.
//!
//! There are 512 topics; a page has 12 of them, and each of its vectors is near one of those. A query consists of some
//! vectors of a page, perturbed. Pages and queries are deterministic by number.

#![allow(
    dead_code,
    reason = "each benchmark compiles its own copy and uses a part of it"
)]

use std::error::Error;
use std::num::NonZeroUsize;

use fastrand::Rng;
use ingest::page::{ManualId, PageId};
use ingest::store::{
    CollectionSelector, Config, ManualCard, Mode, Store, StoredPage, TextUpdate, VectorUpdate,
    WriteOutcome, open,
};
use ingest::vectors::{MultiVector, PageVectors, PatchMap, Profile, ShapeError};

/// The width of a vector.
pub(crate) const DIM: NonZeroUsize = NonZeroUsize::new(128).unwrap();
/// Vectors of a query.
pub(crate) const QUERY_ROWS: usize = 20;
/// Number of results.
pub(crate) const K: usize = 10;
/// Number of topics.
const TOPICS: usize = 512;
/// Number of topics of a page.
const TOPICS_OF_A_PAGE: usize = 12;
/// Distance of a vector from its topic, which has length 1.
const SPREAD: f32 = 0.9;
/// Distance of a query vector from the page vector that it is derived from.
const BLUR: f32 = 0.6;

type Row = [f32; DIM.get()];

/// Generator of pages and queries.
pub(crate) struct SyntheticPages {
    topics: Vec<Row>,
    /// Number of vectors of a page.
    rows: usize,
}

impl SyntheticPages {
    /// Pages with `rows` vectors each.
    pub(crate) fn new(rows: usize) -> Self {
        let mut rng = Rng::with_seed(7);
        let topics = (0..TOPICS).map(|_| unit(noise(&mut rng))).collect();
        Self { topics, rows }
    }

    /// The vectors of a page.
    pub(crate) fn vectors(&self, number: u32) -> Result<MultiVector, ShapeError> {
        let rng = &mut Rng::with_seed(u64::from(number) << 8);
        let page_topics = rng.choose_multiple(&self.topics, TOPICS_OF_A_PAGE);
        let mut all = Vec::with_capacity(self.rows * DIM.get());
        for _ in 0..self.rows {
            all.extend(perturbed(
                page_topics[rng.usize(..page_topics.len())],
                SPREAD,
                rng,
            ));
        }
        Ok(MultiVector::new(all, DIM)?.rounded_to_f16())
    }

    /// A query for one of the first `pages` pages.
    pub(crate) fn query(&self, number: u32, pages: u32) -> Result<MultiVector, ShapeError> {
        let rng = &mut Rng::with_seed(u64::from(number) << 8 | 1);
        let page = self.vectors(rng.u32(1..=pages))?;
        let rows: Vec<&[f32]> = page.rows().collect();
        let blurred = rng.choose_multiple(&rows, QUERY_ROWS).into_iter();
        let blurred: Vec<Row> = blurred
            .map(|row| perturbed(&std::array::from_fn(|i| row[i]), BLUR, rng))
            .collect();
        MultiVector::new(blurred.concat(), DIM)
    }

    /// A page with text and thumbnail of realistic size.
    pub(crate) fn page(&self, number: u32) -> Result<StoredPage, ShapeError> {
        let vectors = self.vectors(number)?;
        let (rows, mut rng) = (vectors.len() as u16, Rng::with_seed(u64::from(number)));
        let cells = (0..rows).collect();
        let patches = PatchMap::new(25, rows.div_ceil(25), cells, vectors.len())?;
        Ok(StoredPage {
            id: PageId::new(&manual(), number),
            origin: "origin".to_owned(),
            content: format!("content {number}"),
            label: Some(number.to_string()),
            section: Some(format!("Section {}", number / 8)),
            text: format!("page {number} says that the pump is blocked; ").repeat(40),
            description: None,
            blank: false,
            thumbnail: std::iter::repeat_with(|| rng.u8(..)).take(20_000).collect(),
            text_vectors: TextUpdate::Keep,
            vectors: VectorUpdate::Replace(PageVectors { vectors, patches }),
        })
    }
}

/// Opens a store prepared for `pages` synthetic pages.
pub(crate) fn open_store(config: &Config, pages: u32) -> Result<Box<dyn Store>, Box<dyn Error>> {
    let store = open(config, CollectionSelector::Last, Mode::Write)?.store;
    store.prepare(&Profile {
        id: "bench".to_owned(),
        model: "bench".to_owned(),
        dim: DIM.get() as u32,
        pool_factor: 1,
    })?;
    store.upsert_manual(&ManualCard {
        id: manual(),
        path: "bench.pdf".into(),
        file: String::new(),
        render: String::new(),
        pages,
    })?;
    Ok(store)
}

/// Stores pages; panics if one is not stored.
pub(crate) fn put(store: &dyn Store, pages: &[StoredPage]) -> Result<(), ingest::store::Error> {
    for (id, outcome) in store.upsert(pages)? {
        if outcome.as_ref() != Ok(&WriteOutcome::Stored) {
            panic!("{id} was not stored: {outcome:?}");
        }
    }
    Ok(())
}

/// Decodes queries from raw little-endian f32 values.
pub(crate) fn read_queries(bytes: &[u8]) -> Result<Vec<MultiVector>, ShapeError> {
    let (values, _) = bytes.as_chunks();
    let values: Vec<f32> = values.iter().map(|&v| f32::from_le_bytes(v)).collect();
    values
        .chunks_exact(QUERY_ROWS * DIM.get())
        .map(|rows| MultiVector::new(rows.to_vec(), DIM))
        .collect()
}

fn manual() -> ManualId {
    ManualId::new("bench.pdf")
}

/// A unit row at a random offset from another one.
fn perturbed(row: &Row, distance: f32, rng: &mut Rng) -> Row {
    let noise = noise(rng);
    unit(std::array::from_fn(|i| row[i] + distance * noise[i]))
}

/// Uniform noise of expected length 1.
fn noise(rng: &mut Rng) -> Row {
    let scale = (3.0 / DIM.get() as f32).sqrt();
    std::array::from_fn(|_| (rng.f32() * 2.0 - 1.0) * scale)
}

fn unit(row: Row) -> Row {
    let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
    row.map(|v| v / length)
}

/// Quantile of the values; `share` is in 0..=1.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
