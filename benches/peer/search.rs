//! Exact search in synthetic pages, from memory and from a SQLite file: our side of `search.py`.
//!
//! `peer-search make FOLDER PAGES QUESTIONS` writes the library, its vectors as raw f16, and the queries.
//! `peer-search ask FOLDER` runs the queries: prints milliseconds of each as JSON, and writes all scores, of f16 rows and as
//! estimated from int8 rows, as raw f32.

#![expect(clippy::print_stdout, reason = "the program prints its figures")]

#[path = "../synthetic/mod.rs"]
mod synthetic;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use half::f16;
use ingest::store::maxsim::PreparedQuery;
use ingest::store::{Address, CollectionSelector, Config, Mode, Precision, Scope, TopK, open};
use ingest::vectors::MultiVector;
use rayon::prelude::*;
use serde_json::json;
use synthetic::{DIM, K, SyntheticPages, open_store, put, read_queries};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Vectors of a page.
const ROWS: usize = 768;
/// Pages generated and stored per batch.
const PAGES_PER_BATCH: usize = 64;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["make", folder, pages, queries] => {
            create_library(folder.as_ref(), pages.parse()?, queries.parse()?)
        }
        ["ask", folder] => measure_searches(folder.as_ref()),
        _ => Err("make FOLDER PAGES QUESTIONS, or ask FOLDER".into()),
    }
}

fn library(folder: &Path) -> Config {
    Config::new(Address::File(folder.join("library.db")))
}

fn create_library(folder: &Path, pages: u32, queries: u32) -> Result<()> {
    let source = SyntheticPages::new(ROWS);
    let store = open_store(&library(folder), pages)?;
    let numbers: Vec<u32> = (1..=pages).collect();
    let mut raw = Vec::new();
    for numbers in numbers.chunks(PAGES_PER_BATCH) {
        let pages = numbers.par_iter().map(|&number| source.page(number));
        put(&*store, &pages.collect::<std::result::Result<Vec<_>, _>>()?)?;
        let vectors = numbers.par_iter().map(|&number| source.vectors(number));
        for vectors in vectors.collect::<std::result::Result<Vec<_>, _>>()? {
            let half = |&value: &f32| f16::from_f32(value).to_le_bytes();
            raw.extend(vectors.as_slice().iter().flat_map(half));
        }
    }
    fs::write(folder.join("pages.f16"), raw)?;
    let mut values = Vec::new();
    for number in 0..queries {
        values.extend_from_slice(source.query(number, pages)?.as_slice());
    }
    Ok(write_floats(&folder.join("questions.f32"), &values)?)
}

fn write_floats(file: &Path, values: &[f32]) -> std::io::Result<()> {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    fs::write(file, bytes)
}

fn measure_searches(folder: &Path) -> Result<()> {
    let pages = fs::read(folder.join("pages.f16"))?;
    let store = open(&library(folder), CollectionSelector::Last, Mode::Read)?.store;
    let queries = read_queries(&fs::read(folder.join("questions.f32"))?)?;
    let int8 = quantized(&pages)?;
    let from_memory = |query: &MultiVector, precision: Precision| {
        let query = PreparedQuery::new(query);
        let pages = match precision {
            Precision::Int8 => &int8,
            _ => &pages,
        };
        let scores = pages.par_chunks(ROWS * precision.row_bytes(DIM.get()));
        scores
            .map(|page| query.estimate(page, precision))
            .collect::<std::result::Result<Vec<f32>, _>>()
    };
    let from_file = |query: &MultiVector| store.visual(query, &Scope::default(), TopK::new(K));
    // Not timed: starts the threads and warms the page cache.
    from_memory(&queries[0], Precision::F16)?;
    from_memory(&queries[0], Precision::Int8)?;
    from_file(&queries[0])?;
    let (mut memory, mut integers, mut file) = (Vec::new(), Vec::new(), Vec::new());
    let (mut all, mut estimates) = (Vec::new(), Vec::new());
    for query in &queries {
        let start = Instant::now();
        let scores = from_memory(query, Precision::F16)?;
        memory.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        estimates.extend(from_memory(query, Precision::Int8)?);
        integers.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        let hits = from_file(query)?;
        file.push(start.elapsed().as_secs_f64() * 1e3);
        for hit in hits {
            let difference = (hit.score - scores[hit.id.number as usize - 1]).abs();
            assert!(
                difference < 1e-3,
                "{} has another score from the file",
                hit.id
            );
        }
        all.extend(scores);
    }
    write_floats(&folder.join("scores.f32"), &all)?;
    write_floats(&folder.join("estimates.f32"), &estimates)?;
    println!(
        "{}",
        json!({ "memory": memory, "int8": integers, "file": file })
    );
    Ok(())
}

/// The f16 rows of all pages as int8.
fn quantized(pages: &[u8]) -> Result<Vec<u8>> {
    let chunks = pages.par_chunks(ROWS * Precision::F16.row_bytes(DIM.get()));
    let encoded = chunks.map(|page| {
        let rows = MultiVector::new(Precision::F16.decode(page, DIM.get()), DIM)?;
        Ok(Precision::Int8.encode(&rows))
    });
    let encoded: std::result::Result<Vec<_>, ingest::vectors::ShapeError> = encoded.collect();
    Ok(encoded?.concat())
}
