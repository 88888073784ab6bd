//! Search cost against collection size for each store: a Markdown table and a plot. `scale.sh` runs it.
//!
//! `scale FOLDER PLOT.svg [URL PID DATA]` fills stores in an empty folder and, if named, a Weaviate server, given its
//! process id and data folder. It calls itself as `scale ask STORE PAGES`: searches run in a separate process, whose memory
//! can be measured.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the program prints its figures"
)]

mod plot;
mod queue;
mod simulate;
#[path = "../synthetic/mod.rs"]
mod synthetic;

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ingest::store::{
    Address, CollectionSelector, Config, Index, Mode, Precision, Scope, Store, TopK, discard, open,
};
use ingest::vectors::MultiVector;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use synthetic::{K, SyntheticPages, open_store, put, quantile};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Vectors of a page.
const ROWS: usize = 750;
/// Number of queries; each runs once to warm up and once for the figures.
const QUERIES: u32 = 100;
/// Pages generated per batch, outside the measured time.
const PAGES_PER_BATCH: usize = 384;

/// A store to measure.
struct Series {
    name: &'static str,
    config: Config,
    /// Folder of its files.
    folder: PathBuf,
    /// Process id of the server, if any.
    server: Option<u32>,
}

/// Figures at one collection size.
struct Point {
    pages: u32,
    /// Insert rate in pages/s since the previous point.
    rate: f64,
    stats: SearchStats,
    /// Anonymous memory of the server in bytes.
    server: Option<u64>,
    disk: u64,
}

/// Output of the searching process.
#[derive(Serialize, Deserialize)]
struct SearchStats {
    /// Milliseconds of the first, cold search.
    first: f64,
    /// Milliseconds of each query.
    times: Vec<f64>,
    /// Page numbers found by each query.
    found: Vec<Vec<u32>>,
    /// Peak resident memory in bytes.
    peak: Option<u64>,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["ask", config, pages] => {
            let stats = measure_searches(&serde_json::from_str(config)?, pages.parse()?)?;
            println!("{}", serde_json::to_string(&stats)?);
            Ok(())
        }
        ["queue", url, pid] => queue::load(url, pid.parse()?),
        ["drain", url] => queue::drain(url),
        ["simulate", plot] => simulate::run(plot.as_ref()),
        [folder, plot] => run_all(&files(folder.as_ref()), plot.as_ref()),
        [folder, plot, url, pid, data] => {
            let mut all = files(folder.as_ref());
            all.push(server(url, pid, data)?);
            run_all(&all, plot.as_ref())
        }
        _ => Err("FOLDER PLOT.svg [URL PID DATA], or: simulate PLOT.svg, or: queue URL PID".into()),
    }
}

/// The file stores. The first one is exact: the ground truth for all others.
fn files(folder: &Path) -> Vec<Series> {
    let file = |name: &'static str, change: fn(&mut Config)| {
        let folder = folder.join(name);
        let mut config = Config::new(Address::File(folder.join("library.db")));
        change(&mut config);
        Series {
            name,
            config,
            folder,
            server: None,
        }
    };
    vec![
        file("SQLite", |_| {}),
        file("SQLite, int8", |config| {
            config.precision = Some(Precision::Int8)
        }),
        file("SQLite, int8, first stage", |config| {
            config.precision = Some(Precision::Int8);
            config.first_stage = Some(8);
        }),
    ]
}

fn server(url: &str, pid: &str, data: &str) -> Result<Series> {
    Ok(Series {
        name: "Weaviate, MUVERA",
        config: Config {
            index: Some(Index::Muvera),
            ..Config::new(url.parse()?)
        },
        folder: data.into(),
        server: Some(pid.parse()?),
    })
}

fn run_all(all: &[Series], plot: &Path) -> Result<()> {
    let sizes = std::env::var("PAGES").unwrap_or_else(|_| "100 1000 10000".to_owned());
    let sizes: std::result::Result<Vec<u32>, _> = sizes.split(' ').map(str::parse).collect();
    let (sizes, mut curves) = (sizes?, Vec::<Vec<Point>>::new());
    println!(
        "| store | pages | p50, ms | p95, ms | first, cold, ms | recall@{K} | memory of the search, MB \
         | of the server, MB | on disk, MB | stored, pages/s |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    for series in all {
        let (mut curve, mut existing) = (Vec::new(), 0);
        for &pages in &sizes {
            eprintln!("{}: {pages} pages", series.name);
            let point = measure(series, existing, pages)?;
            existing = pages;
            let truth = curves.first().unwrap_or(&curve).get(curve.len());
            println!(
                "{}",
                table_row(series.name, &point, truth.unwrap_or(&point))
            );
            curve.push(point);
        }
        discard(&series.config)?;
        curves.push(curve);
    }
    plot::draw(plot, all, &curves)
}

fn table_row(name: &str, point: &Point, truth: &Point) -> String {
    let megabytes =
        |bytes: Option<u64>| bytes.map_or("-".to_owned(), |b| (b / 1_000_000).to_string());
    let pairs = point.stats.found.iter().zip(&truth.stats.found);
    let recall = |(found, expected): (&Vec<u32>, &Vec<u32>)| {
        let expected: HashSet<_> = expected.iter().collect();
        found.iter().filter(|page| expected.contains(page)).count() as f64 / expected.len() as f64
    };
    format!(
        "| {name} | {} | {:.1} | {:.1} | {} | {:.2} | {} | {} | {} | {:.0} |",
        point.pages,
        point.p50(),
        quantile(&point.stats.times, 0.95),
        if point.server.is_none() {
            format!("{:.0}", point.stats.first)
        } else {
            "-".to_owned()
        },
        pairs.map(recall).sum::<f64>() / f64::from(QUERIES),
        megabytes(point.stats.peak),
        megabytes(point.server),
        megabytes(Some(point.disk)),
        point.rate,
    )
}

impl Point {
    fn p50(&self) -> f64 {
        quantile(&self.stats.times, 0.5)
    }

    /// Memory of a search in MB, including the server.
    fn memory(&self) -> f64 {
        (self.stats.peak.unwrap_or(0) + self.server.unwrap_or(0)) as f64 / 1e6
    }
}

/// Adds pages up to `pages` and measures searches.
fn measure(series: &Series, existing: u32, pages: u32) -> Result<Point> {
    let numbers: Vec<u32> = (existing + 1..=pages).collect();
    let seconds = insert_pages(&*open_store(&series.config, pages)?, &numbers)?;
    match series.server {
        None => drop_page_cache(&series.folder)?,
        Some(pid) => wait_until_idle(pid),
    }
    let output = Command::new(std::env::current_exe()?)
        .args(["ask", &serde_json::to_string(&series.config)?])
        .arg(pages.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    Ok(Point {
        pages,
        rate: numbers.len() as f64 / seconds,
        stats: serde_json::from_slice(&output.stdout)?,
        server: series
            .server
            .and_then(|pid| memory(&pid.to_string(), "RssAnon:")),
        disk: disk_usage(&series.folder)?,
    })
}

/// Stores pages by the store's batch policy; returns the seconds.
fn insert_pages(store: &dyn Store, numbers: &[u32]) -> Result<f64> {
    let (source, policy, mut seconds) = (SyntheticPages::new(ROWS), store.batch_policy(), 0.0);
    for numbers in numbers.chunks(PAGES_PER_BATCH) {
        let pages = numbers.par_iter().map(|&number| source.page(number));
        let pages: Vec<_> = pages.collect::<std::result::Result<_, _>>()?;
        let pages_per_call = (policy.target_bytes / pages[0].bytes()).max(1);
        let start = Instant::now();
        thread::scope(|scope| {
            let worker = |worker| move || write_pages(store, worker, pages_per_call);
            let share = pages.len().div_ceil(policy.concurrency);
            let workers: Vec<_> = pages
                .chunks(share)
                .map(|chunk| scope.spawn(worker(chunk)))
                .collect();
            let done = workers
                .into_iter()
                .map(|worker| worker.join().expect("worker panicked"));
            done.collect::<std::result::Result<Vec<_>, _>>()
        })?;
        seconds += start.elapsed().as_secs_f64();
    }
    Ok(seconds)
}

fn write_pages(
    store: &dyn Store,
    pages: &[ingest::store::StoredPage],
    pages_per_call: usize,
) -> std::result::Result<(), ingest::store::Error> {
    pages
        .chunks(pages_per_call)
        .try_for_each(|chunk| put(store, chunk))
}

/// Drops the files from the page cache, so that the next reader waits for the disk; where `dd` cannot, they stay cached.
fn drop_page_cache(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        Command::new("dd")
            .arg(format!("of={}", entry?.path().display()))
            .args(["oflag=nocache", "conv=notrunc,fdatasync", "count=0"])
            .stderr(Stdio::null())
            .status()?;
    }
    Ok(())
}

/// Waits until the background work of a server is done: it uses less than a tenth of a core. Without `/proc`, returns at
/// once.
fn wait_until_idle(pid: u32) {
    let ticks = || -> Option<u64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let args: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(args.get(11)?.parse::<u64>().ok()? + args.get(12)?.parse::<u64>().ok()?)
    };
    while let Some(before) = ticks() {
        thread::sleep(Duration::from_secs(3));
        // A tick is a hundredth of a second.
        if ticks().is_none_or(|now| now < before + 30) {
            return;
        }
    }
}

/// Disk usage of a path in bytes.
fn disk_usage(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.blocks() * 512);
    }
    fs::read_dir(path)?
        .map(|entry| disk_usage(&entry?.path()))
        .sum()
}

/// A memory value of a process from `/proc`, in bytes; `None` without `/proc`.
fn memory(process: &str, what: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(what))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn measure_searches(config: &Config, pages: u32) -> Result<SearchStats> {
    let source = SyntheticPages::new(ROWS);
    let queries = (0..QUERIES).map(|number| source.query(number, pages));
    let queries = queries.collect::<std::result::Result<Vec<_>, _>>()?;
    let store = open(config, CollectionSelector::Last, Mode::Read)?.store;
    let search = |query: &MultiVector| -> Result<(f64, Vec<u32>)> {
        let start = Instant::now();
        let hits = store.visual(query, &Scope::default(), TopK::new(K))?;
        let time = start.elapsed().as_secs_f64() * 1e3;
        Ok((time, hits.iter().map(|hit| hit.id.number).collect()))
    };
    let cold = queries.iter().map(search).collect::<Result<Vec<_>>>()?;
    let warm = queries.iter().map(search).collect::<Result<Vec<_>>>()?;
    let (times, found) = warm.into_iter().unzip();
    Ok(SearchStats {
        first: cold[0].0,
        times,
        found,
        peak: memory("self", "VmHWM:"),
    })
}
