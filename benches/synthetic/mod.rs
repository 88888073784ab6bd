//! Pages and questions made up for benchmarks: clustered as the vectors of real pages are, not plain noise.
//!
//! There are 512 topics; a page is about 12 of them, and each of its vectors lies around one of those. A question holds
//! some vectors of a page, blurred. The same number always gives the same page and the same question.

#![allow(
    dead_code,
    reason = "no benchmark needs all of it, and each has a copy of its own"
)]

use std::error::Error;
use std::num::NonZeroUsize;

use fastrand::Rng;
use ingest::page::{ManualId, PageId};
use ingest::store::{
    CollectionSelector, Config, ManualCard, Mode, Store, StoredPage, VectorUpdate, WriteOutcome,
    open,
};
use ingest::vectors::{MultiVector, PageVectors, PatchMap, Profile, ShapeError};

/// The width of a vector.
pub(crate) const DIM: NonZeroUsize = NonZeroUsize::new(128).unwrap();
/// Vectors of a question.
pub(crate) const QUERY_ROWS: usize = 20;
/// Pages looked for.
pub(crate) const K: usize = 10;
/// Topics that there are.
const TOPICS: usize = 512;
/// Topics of a page.
const TOPICS_OF_A_PAGE: usize = 12;
/// How far a vector lies from its topic, which has length 1.
const SPREAD: f32 = 0.9;
/// How far a vector of a question lies from the one of a page that it was made of.
const BLUR: f32 = 0.6;

type Row = [f32; DIM.get()];

/// The pages and questions that there are.
pub(crate) struct SyntheticPages {
    topics: Vec<Row>,
    /// Vectors of a page.
    rows: usize,
}

impl SyntheticPages {
    /// Pages of so many vectors.
    pub(crate) fn new(rows: usize) -> Self {
        let mut rng = Rng::with_seed(7);
        let topics = (0..TOPICS).map(|_| unit(noise(&mut rng))).collect();
        Self { topics, rows }
    }

    /// The vectors of a page.
    pub(crate) fn vectors(&self, number: u32) -> Result<MultiVector, ShapeError> {
        let rng = &mut Rng::with_seed(u64::from(number) << 8);
        let own = rng.choose_multiple(&self.topics, TOPICS_OF_A_PAGE);
        let mut all = Vec::with_capacity(self.rows * DIM.get());
        for _ in 0..self.rows {
            all.extend(near(own[rng.usize(..own.len())], SPREAD, rng));
        }
        Ok(MultiVector::new(all, DIM)?.rounded_to_f16())
    }

    /// A question about one of the first so many pages.
    pub(crate) fn query(&self, number: u32, pages: u32) -> Result<MultiVector, ShapeError> {
        let rng = &mut Rng::with_seed(u64::from(number) << 8 | 1);
        let page = self.vectors(rng.u32(1..=pages))?;
        let rows: Vec<&[f32]> = page.rows().collect();
        let blurred = rng.choose_multiple(&rows, QUERY_ROWS).into_iter();
        let blurred: Vec<Row> = blurred
            .map(|row| near(&std::array::from_fn(|i| row[i]), BLUR, rng))
            .collect();
        MultiVector::new(blurred.concat(), DIM)
    }

    /// A page with as much text and as large a thumbnail as pages have.
    pub(crate) fn page(&self, number: u32) -> Result<StoredPage, ShapeError> {
        let vectors = self.vectors(number)?;
        let (rows, mut rng) = (vectors.len() as u16, Rng::with_seed(u64::from(number)));
        let cells = (0..rows).collect();
        let places = PatchMap::new(25, rows.div_ceil(25), cells, vectors.len())?;
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
            vectors: VectorUpdate::Replace(PageVectors { vectors, places }),
        })
    }
}

/// A store that awaits pages of the shelf, so many.
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

/// Stores pages, and sees that every one of them arrives.
pub(crate) fn put(store: &dyn Store, pages: &[StoredPage]) -> Result<(), ingest::store::Error> {
    for (id, outcome) in store.upsert(pages)? {
        if outcome.as_ref() != Ok(&WriteOutcome::Stored) {
            panic!("{id} was not stored: {outcome:?}");
        }
    }
    Ok(())
}

/// Questions from a file of bare numbers.
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

/// A row around another one.
fn near(row: &Row, far: f32, rng: &mut Rng) -> Row {
    let noise = noise(rng);
    unit(std::array::from_fn(|i| row[i] + far * noise[i]))
}

/// Length 1 in the mean.
fn noise(rng: &mut Rng) -> Row {
    let scale = (3.0 / DIM.get() as f32).sqrt();
    std::array::from_fn(|_| (rng.f32() * 2.0 - 1.0) * scale)
}

fn unit(row: Row) -> Row {
    let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
    row.map(|v| v / length)
}

/// The value that a share of all values does not exceed.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
