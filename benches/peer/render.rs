//! Renders PDFs as `ingest` does, without their text, and prints pages per second: the counterpart of `render.py`.
//!
//! `peer-render [--digest] [--workers N] [--limit PAGES] FILE…`

#![expect(clippy::print_stdout, reason = "the program prints its result")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ingest::page::{ManualId, PageSet};
use ingest::render::{Config, Options, Renderer, Source, open_with, worker};
use ingest::units::ByteSize;
use sha2::{Digest, Sha256};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Args {
    digest: bool,
    workers: usize,
    limit: u32,
    files: Vec<PathBuf>,
}

fn main() -> Result<ExitCode> {
    if std::env::args()
        .nth(1)
        .is_some_and(|a| a == "render-worker")
    {
        return Ok(worker::serve());
    }
    let args = parse(std::env::args().skip(1))?;
    let config = Config {
        dpi: 150,
        max_megapixels: 16,
        workers: args.workers,
        deadline_s: 60,
        worker_memory: ByteSize(4 << 30),
    };
    let options = Options {
        text: false,
        pixels: None,
        upright: false,
        ..Options::default()
    };
    let mut renderer = open_with(&config, &options)?;
    run(renderer.as_mut(), &args.files[..1], 4, false)?;
    let (pages, time) = run(renderer.as_mut(), &args.files, args.limit, args.digest)?;
    if !args.digest {
        println!("{:.2}", f64::from(pages) / time.as_secs_f64());
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Args> {
    let mut args = Args {
        digest: false,
        workers: 2,
        limit: 60,
        files: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--digest" => args.digest = true,
            "--workers" => args.workers = arguments.next().ok_or("--workers N")?.parse()?,
            "--limit" => args.limit = arguments.next().ok_or("--limit PAGES")?.parse()?,
            _ => args.files.push(argument.into()),
        }
    }
    if args.files.is_empty() {
        return Err("name a PDF".into());
    }
    Ok(args)
}

/// Renders the first `limit` pages of every file; returns the number of pages and the time.
fn run(
    renderer: &mut dyn Renderer,
    files: &[PathBuf],
    limit: u32,
    digest: bool,
) -> Result<(u32, Duration)> {
    let (started, mut pages) = (Instant::now(), 0);
    for path in files {
        renderer.open(&Source {
            manual: ManualId::new(&path.display().to_string()),
            path: path.clone(),
            passwords: Vec::new(),
        })?;
        for (id, page) in renderer.pages(&PageSet::of(1..=limit))? {
            let image = page?.image;
            pages += 1;
            if digest {
                let hash = Sha256::digest(image.rgb());
                let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                println!("{} {} {} {hex}", id.manual, id.number, image.size());
            }
        }
    }
    Ok((pages, started.elapsed()))
}
