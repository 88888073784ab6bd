//! Creates a library of synthetic pages and searches them on a Weaviate server: our side of `weaviate.py`.
//!
//! `peer-weaviate make LIBRARY.db PAGES.f32 PAGES ROWS` writes the library, and its vectors as raw f32.
//! `peer-weaviate ask URL COLLECTION LIBRARY.db QUERIES.f32` prints times and recall as JSON; the library is the ground truth.

#![expect(clippy::print_stdout, reason = "the program prints its figures")]

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
use synthetic::{K, SyntheticPages, open_store, put, quantile, read_queries};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Pages per transaction.
const PAGES_PER_BATCH: usize = 32;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["make", library, vectors, pages, rows] => {
            create_library(library, vectors, pages.parse()?, rows.parse()?)
        }
        ["ask", url, collection, library, queries] => {
            measure_searches(url, collection, library, queries)
        }
        _ => Err(
            "make LIBRARY.db PAGES.f32 PAGES ROWS, or ask URL COLLECTION LIBRARY.db QUERIES.f32"
                .into(),
        ),
    }
}

fn create_library(library: &str, vectors: &str, pages: u32, rows: usize) -> Result<()> {
    let store = open_store(&Config::new(library.parse()?), pages)?;
    let source = SyntheticPages::new(rows);
    let mut raw = BufWriter::new(File::create(vectors)?);
    let numbers: Vec<u32> = (1..=pages).collect();
    for numbers in numbers.chunks(PAGES_PER_BATCH) {
        let pages = numbers.iter().map(|&number| source.page(number));
        let pages = pages.collect::<std::result::Result<Vec<_>, _>>()?;
        for page in &pages {
            let VectorUpdate::Replace(new) = &page.vectors else {
                continue;
            };
            for value in new.vectors.as_slice() {
                raw.write_all(&value.to_le_bytes())?;
            }
        }
        put(&*store, &pages)?;
    }
    Ok(raw.flush()?)
}

fn measure_searches(url: &str, collection: &str, library: &str, queries: &str) -> Result<()> {
    let server = Config {
        collection: collection.to_owned(),
        ..Config::new(url.parse::<Address>()?)
    };
    let read = |config: &Config| {
        Ok::<_, Box<dyn Error>>(open(config, CollectionSelector::Last, Mode::Read)?.store)
    };
    let (server, library) = (read(&server)?, read(&Config::new(library.parse()?))?);
    let queries = read_queries(&fs::read(queries)?)?;
    let first = queries.first().ok_or("no query")?;
    let exact = TopK {
        exact: true,
        ..TopK::new(K)
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
    Ok(store.visual(query, &Scope::default(), TopK::new(K))?)
}

fn found(hits: &[Hit]) -> HashSet<u32> {
    hits.iter().map(|hit| hit.id.number).collect()
}
