//! Makes a library of synthetic pages, and asks a Weaviate server for them: the part of `weaviate.py` that is ours.
//!
//! `peer-weaviate make LIBRARY.db PAGES.f32 PAGES ROWS` writes the library, and its vectors once more as bare numbers.
//! `peer-weaviate ask URL COLLECTION LIBRARY.db QUERIES.f32` prints times and recall as JSON; the library is the truth.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]

#[path = "../synthetic/mod.rs"]
mod synthetic;

use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::time::Instant;

use ingest::store::{
    Address, CollectionSelector, Config, Hit, Mode, Scope, Store, TopK, VectorUpdate, open,
};
use ingest::vectors::MultiVector;
use serde_json::json;
use synthetic::{BEST, Shelf, opened, put, quantile, read_questions};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pages in one transaction.
const AT_ONCE: usize = 32;

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
    let store = opened(&Config::at(library.parse()?), pages)?;
    let shelf = Shelf::of(rows);
    let mut bare = BufWriter::new(File::create(vectors)?);
    let numbers: Vec<u32> = (1..=pages).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let pages = numbers.iter().map(|&number| shelf.page(number));
        let pages = pages.collect::<std::result::Result<Vec<_>, _>>()?;
        for page in &pages {
            let VectorUpdate::Replace(new) = &page.vectors else {
                continue;
            };
            for value in new.vectors.as_slice() {
                bare.write_all(&value.to_le_bytes())?;
            }
        }
        put(&*store, &pages)?;
    }
    Ok(bare.flush()?)
}

fn ask(url: &str, collection: &str, library: &str, queries: &str) -> Result<()> {
    let server = Config {
        collection: collection.to_owned(),
        ..Config::at(url.parse::<Address>()?)
    };
    let read = |config: &Config| {
        Ok::<_, Box<dyn Error>>(open(config, CollectionSelector::Last, Mode::Read)?.store)
    };
    let (server, library) = (read(&server)?, read(&Config::at(library.parse()?))?);
    let queries = read_questions(&fs::read(queries)?)?;
    let first = queries.first().ok_or("no question")?;
    let exact = TopK {
        exact: true,
        ..TopK::new(BEST)
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
    println!(
        "{}",
        json!({
            "p50": quantile(&times, 0.5),
            "p95": quantile(&times, 0.95),
            "recall": right as f64 / wanted as f64,
            "exact_agrees": same,
        })
    );
    Ok(())
}

fn best(store: &dyn Store, query: &MultiVector) -> Result<Vec<Hit>> {
    Ok(store.visual(query, &Scope::default(), TopK::new(BEST))?)
}

fn found(hits: &[Hit]) -> HashSet<u32> {
    hits.iter().map(|hit| hit.id.number).collect()
}
