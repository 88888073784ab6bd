//! What a search costs among ever more pages, store by store: a Markdown table and a plot. `scale.sh` runs it.
//!
//! `scale FOLDER PLOT.svg [URL PID DATA]` fills stores in a folder that is empty and, where named, a Weaviate server with
//! a process and a data folder. `scale ask STORE PAGES` is how it calls itself: a search has a process of its own, whose
//! memory can be told.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the figures are what the program is for"
)]

mod plot;
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
/// Questions asked, once to warm up and once for the figures.
const QUERIES: u32 = 100;
/// Pages made at once, before the clock runs.
const PAGES_PER_BATCH: usize = 384;

/// A store that pages are looked for in.
struct Series {
    name: &'static str,
    config: Config,
    /// What it writes lies here.
    folder: PathBuf,
    /// The process that keeps it, where that is not the one that searches.
    server: Option<u32>,
}

/// What it costs among so many pages.
struct Point {
    pages: u32,
    /// Pages a second that were put in, since the point before.
    rate: f64,
    stats: SearchStats,
    /// Bytes of the server's own memory.
    server: Option<u64>,
    disk: u64,
}

/// What the searching process tells.
#[derive(Serialize, Deserialize)]
struct SearchStats {
    /// Milliseconds of the very first search.
    first: f64,
    /// Of each question.
    times: Vec<f64>,
    /// The pages found.
    found: Vec<Vec<u32>>,
    /// The most bytes that were resident.
    peak: Option<u64>,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["ask", config, pages] => {
            let stats = ask(&serde_json::from_str(config)?, pages.parse()?)?;
            println!("{}", serde_json::to_string(&stats)?);
            Ok(())
        }
        [folder, plot] => compare(&files(folder.as_ref()), plot.as_ref()),
        [folder, plot, url, pid, data] => {
            let mut all = files(folder.as_ref());
            all.push(server(url, pid, data)?);
            compare(&all, plot.as_ref())
        }
        _ => Err("FOLDER PLOT.svg [URL PID DATA]".into()),
    }
}

/// The stores that are files. The first one is exact, and the truth for all others.
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

fn compare(all: &[Series], plot: &Path) -> Result<()> {
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
            let point = point(series, existing, pages)?;
            existing = pages;
            let truth = curves.first().unwrap_or(&curve).get(curve.len());
            println!("{}", row(series.name, &point, truth.unwrap_or(&point)));
            curve.push(point);
        }
        discard(&series.config)?;
        curves.push(curve);
    }
    plot::draw(plot, all, &curves)
}

fn row(name: &str, point: &Point, truth: &Point) -> String {
    let megabytes =
        |bytes: Option<u64>| bytes.map_or("-".to_owned(), |b| (b / 1_000_000).to_string());
    let pairs = point.stats.found.iter().zip(&truth.stats.found);
    let right = |(found, best): (&Vec<u32>, &Vec<u32>)| {
        let best: HashSet<_> = best.iter().collect();
        found.iter().filter(|page| best.contains(page)).count() as f64 / best.len() as f64
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
        pairs.map(right).sum::<f64>() / f64::from(QUERIES),
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

    /// Megabytes that a search needs, those of the server included.
    fn memory(&self) -> f64 {
        (self.stats.peak.unwrap_or(0) + self.server.unwrap_or(0)) as f64 / 1e6
    }
}

/// Adds pages until there are so many, and asks.
fn point(series: &Series, existing: u32, pages: u32) -> Result<Point> {
    let numbers: Vec<u32> = (existing + 1..=pages).collect();
    let seconds = fill(&*open_store(&series.config, pages)?, &numbers)?;
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

/// Stores pages as the store likes it; tells the seconds.
fn fill(store: &dyn Store, numbers: &[u32]) -> Result<f64> {
    let (source, policy, mut seconds) = (SyntheticPages::new(ROWS), store.batch_policy(), 0.0);
    for numbers in numbers.chunks(PAGES_PER_BATCH) {
        let pages = numbers.par_iter().map(|&number| source.page(number));
        let pages: Vec<_> = pages.collect::<std::result::Result<_, _>>()?;
        let pages_per_call = (policy.target_bytes / pages[0].bytes()).max(1);
        let start = Instant::now();
        thread::scope(|scope| {
            let lane = |lane| move || write_pages(store, lane, pages_per_call);
            let share = pages.len().div_ceil(policy.concurrency);
            let lanes: Vec<_> = pages
                .chunks(share)
                .map(|some| scope.spawn(lane(some)))
                .collect();
            let done = lanes.into_iter().map(|lane| lane.join().expect("a lane"));
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
        .try_for_each(|some| put(store, some))
}

/// Makes the system forget the files, so that the next to read them waits for the disk; where `dd` cannot, they stay.
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

/// Waits until a server has done what it does in the background after pages came: less than a tenth of a core, or where
/// there is no `/proc`, at once.
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

/// Bytes that a folder takes.
fn disk_usage(path: &Path) -> Result<u64> {
    let known = fs::metadata(path)?;
    if !known.is_dir() {
        return Ok(known.blocks() * 512);
    }
    fs::read_dir(path)?
        .map(|entry| disk_usage(&entry?.path()))
        .sum()
}

/// What `/proc` says of the memory of a process; none where there is no `/proc`.
fn memory(process: &str, what: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(what))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn ask(config: &Config, pages: u32) -> Result<SearchStats> {
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
