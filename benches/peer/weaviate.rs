//! Makes a library of random pages, and asks a Weaviate server for them: the part of `weaviate.py` that is ours.
//!
//! `peer-weaviate make LIBRARY.db PAGES.f32 PAGES ROWS` writes the library, and its vectors once more as bare numbers.
//! `peer-weaviate ask URL COLLECTION LIBRARY.db QUERIES.f32` prints times and recall as JSON; the library is the truth.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]

use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::time::Instant;

use fastrand::Rng;
use ingest::page::{ManualId, PageId};
use ingest::store::{
    Address, Config, Hit, ManualCard, Mode, Opened, Scope, Store, StoredPage, Vectors, Want, Which,
    open,
};
use ingest::vectors::{MultiVector, PageVectors, PatchMap, Profile};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The width of a vector.
const DIM: NonZeroUsize = NonZeroUsize::new(128).unwrap();
/// Vectors of a question.
const QUERY_ROWS: usize = 20;
/// Topics that there are; each page is about some of them, and its vectors lie around theirs.
const TOPICS: usize = 512;
/// Topics of a page.
const TOPICS_OF_A_PAGE: usize = 12;
/// How far a vector lies from its topic, which has length 1.
const SPREAD: f32 = 0.9;
/// Pages in one transaction.
const AT_ONCE: usize = 32;
/// Pages looked for.
const BEST: usize = 10;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["make", library, vectors, pages, rows] => {
            make(library, vectors, pages.parse()?, rows.parse()?)
        }
        ["ask", url, collection, library, queries] => ask(url, collection, library, queries),
        _ => Err(
            "make LIBRARY.db PAGES.f32 PAGES ROWS, or ask URL COLLECTION LIBRARY.db QUERIES.f32"
                .into(),
        ),
    }
}

fn make(library: &str, vectors: &str, pages: u32, rows: usize) -> Result<()> {
    let config = Config::at(library.parse()?);
    let Opened { store, .. } = open(&config, Which::Last, Mode::Write)?;
    store.prepare(&Profile {
        id: "bench".to_owned(),
        model: "bench".to_owned(),
        dim: DIM.get() as u32,
        pool_factor: 1,
    })?;
    let manual = ManualId::new("bench.pdf");
    store.enter(&ManualCard {
        id: manual.clone(),
        path: "bench.pdf".into(),
        file: String::new(),
        render: String::new(),
        pages,
    })?;
    let mut rng = Rng::with_seed(7);
    let topics: Vec<_> = (0..TOPICS).map(|_| unit(noise(&mut rng))).collect();
    let mut bare = BufWriter::new(File::create(vectors)?);
    let numbers: Vec<u32> = (1..=pages).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let mut batch = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let rows = around(&topics, rows, &mut rng)?;
            for value in rows.as_slice() {
                bare.write_all(&value.to_le_bytes())?;
            }
            batch.push(page(PageId::new(&manual, number), rows, &mut rng));
        }
        for (_, verdict) in store.upsert(&batch)? {
            verdict?;
        }
    }
    Ok(bare.flush()?)
}

type Row = [f32; DIM.get()];

/// Length 1 in the mean.
fn noise(rng: &mut Rng) -> Row {
    let scale = (3.0 / DIM.get() as f32).sqrt();
    std::array::from_fn(|_| (rng.f32() * 2.0 - 1.0) * scale)
}

fn unit(row: Row) -> Row {
    let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
    row.map(|v| v / length)
}

/// The vectors of a page: each near one of a few topics.
fn around(topics: &[Row], rows: usize, rng: &mut Rng) -> Result<MultiVector> {
    let own = rng.choose_multiple(topics, TOPICS_OF_A_PAGE);
    let mut all = Vec::with_capacity(rows * DIM.get());
    for _ in 0..rows {
        let (topic, noise) = (own[rng.usize(..own.len())], noise(rng));
        all.extend(unit(std::array::from_fn(|i| topic[i] + SPREAD * noise[i])));
    }
    Ok(MultiVector::new(all, DIM)?.rounded_to_f16())
}

/// A page with as much text and as large a thumbnail as pages have.
fn page(id: PageId, vectors: MultiVector, rng: &mut Rng) -> StoredPage {
    let (rows, number) = (vectors.len() as u16, id.number);
    StoredPage {
        id,
        origin: "origin".to_owned(),
        content: format!("content {number}"),
        label: Some(number.to_string()),
        section: Some(format!("Section {}", number / 8)),
        text: format!("page {number} says that the pump is blocked; ").repeat(40),
        description: None,
        blank: false,
        thumbnail: std::iter::repeat_with(|| rng.u8(..)).take(20_000).collect(),
        vectors: Vectors::New(PageVectors {
            vectors,
            places: PatchMap {
                columns: 25,
                rows: rows.div_ceil(25),
                cells: (0..rows).collect(),
            },
        }),
    }
}

fn ask(url: &str, collection: &str, library: &str, queries: &str) -> Result<()> {
    let server = Config {
        collection: collection.to_owned(),
        ..Config::at(url.parse::<Address>()?)
    };
    let read =
        |config: &Config| Ok::<_, Box<dyn Error>>(open(config, Which::Last, Mode::Read)?.store);
    let (server, library) = (read(&server)?, read(&Config::at(library.parse()?))?);
    let queries = questions(&fs::read(queries)?)?;
    let first = queries.first().ok_or("no question")?;
    let exact = Want {
        exact: true,
        ..Want::best(BEST)
    };
    let same =
        found(&server.visual(first, &Scope::default(), exact)?) == found(&best(&*library, first)?);
    let (mut times, mut right, mut wanted) = (Vec::new(), 0, 0);
    for query in &queries {
        let truth = found(&best(&*library, query)?);
        let start = Instant::now();
        let hits = best(&*server, query)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        right += found(&hits).intersection(&truth).count();
        wanted += truth.len();
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    println!(
        "{}",
        json!({
            "p50": at(0.5),
            "p95": at(0.95),
            "recall": right as f64 / wanted as f64,
            "exact_agrees": same,
        })
    );
    Ok(())
}

fn questions(bytes: &[u8]) -> Result<Vec<MultiVector>> {
    let (values, _) = bytes.as_chunks();
    let values: Vec<f32> = values.iter().map(|&v| f32::from_le_bytes(v)).collect();
    values
        .chunks_exact(QUERY_ROWS * DIM.get())
        .map(|rows| Ok(MultiVector::new(rows.to_vec(), DIM)?))
        .collect()
}

fn best(store: &dyn Store, query: &MultiVector) -> Result<Vec<Hit>> {
    Ok(store.visual(query, &Scope::default(), Want::best(BEST))?)
}

fn found(hits: &[Hit]) -> HashSet<u32> {
    hits.iter().map(|hit| hit.id.number).collect()
}
