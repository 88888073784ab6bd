//! `ingest bench`: measures indexing throughput by manual and stage.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use crate::diagnostic::Diagnostic;
use crate::measure::{Benchmark, Machine, Point, Run, Runs, SCHEMA, compare};
use crate::page::PageSet;
use crate::pipeline::{self, Input, Profiles};
use crate::reports::throughput;
use crate::units::{Seconds, counted, pages};

use super::interrupt::{self, STOP};
use super::run::{InputArgs, print_left_out};
use super::ui::Ui;
use super::{Common, rates, write};

mod run;
mod runners;

use run::BenchPoint;

/// The exit code if the run is clearly slower than the baseline.
const EXIT_SLOWER: u8 = 3;

/// Measure indexing throughput by manual and stage
///
/// Every manual is indexed into a temporary store, which is removed afterwards. `--batch-size`, `--device`, `--model`,
/// `--store` and `--workers` accept several values: each combination runs once, and the fastest one `--runs` times.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  ingest bench pump.pdf
  ingest bench pump.pdf --batch-size 1,2,4 --workers 1,2
  ingest bench pump.pdf --json > baseline.json"
)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    command: Option<BenchCommand>,
    /// PDF file, image or folder to index (can be repeated)
    #[arg(required = true, value_name = "FILE")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    input: InputArgs,
    /// Number of runs of each manual
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Number of render worker processes
    #[arg(long, value_name = "COUNT", value_delimiter = ',')]
    workers: Vec<u32>,
    /// Write the report as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the report as an HTML page with charts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare with an earlier `--json` report; exit code 3 if clearly slower
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// The other benchmarks.
#[derive(clap::Subcommand, Debug)]
enum BenchCommand {
    Describe(runners::RunnersArgs),
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &BenchArgs) -> Result<ExitCode, Diagnostic> {
    if let Some(BenchCommand::Describe(args)) = &args.command {
        return runners::run(ui, common, args);
    }
    let baseline = args.baseline.as_deref().map(read_baseline).transpose()?;
    interrupt::install_handler()?;
    let benches: Vec<BenchPoint> = common
        .combinations(&args.workers)
        .iter()
        .map(|overrides| BenchPoint::new(ui, common.settings_for(overrides)?))
        .collect::<Result<_, Diagnostic>>()?;
    let files = readable_files(ui, args)?;
    print_estimate(ui, &benches, &files, args)?;
    let points = run_points(ui, &benches, &files, args)?;
    let benchmark = Benchmark {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: Machine::current(),
        warm_up: format!(
            "one uncounted batch of {} before each setting",
            file_name(&files[0])
        ),
        points,
    };
    if ui.json {
        ui.json(&benchmark)?;
    } else {
        ui.text(throughput::text(&benchmark))?;
    }
    if let Some(file) = &args.markdown {
        write(file, &throughput::markdown(&benchmark))?;
    }
    if let Some(file) = &args.html {
        let page = throughput::html(&benchmark).map_err(|e| Diagnostic::from_error(&e))?;
        write(file, &page)?;
    }
    let failed = benchmark
        .best()
        .is_none_or(|best| best.total.runs.iter().any(|run| run.failed > 0));
    match baseline {
        Some(earlier) if is_slower(ui, &benchmark, &earlier)? => Ok(EXIT_SLOWER.into()),
        _ => Ok(ExitCode::from(u8::from(failed))),
    }
}

/// Returns the files that can be read; prints the others.
fn readable_files(ui: &Ui, args: &BenchArgs) -> Result<Vec<PathBuf>, Diagnostic> {
    let inputs = pipeline::discover(&args.input.request(&args.paths)?, None, Profiles::NONE)?;
    print_left_out(ui, &inputs.left_out);
    let mut files = Vec::new();
    for input in inputs.items {
        match input {
            Input::Job(job) => files.push(job.source.path),
            Input::Twin(twin) => {
                ui.info(format!("{}: measured once", twin.path.display()));
            }
            Input::Rejected(rejected) => ui.input_failed(&rejected.path, &rejected.why, None),
        }
    }
    ui.words_hint(&args.paths);
    match files.is_empty() {
        true => Err(Diagnostic::new("no manual to measure")),
        false => Ok(files),
    }
}

/// Prints how long a sweep will take, estimated from earlier runs.
fn print_estimate(
    ui: &Ui,
    benches: &[BenchPoint],
    files: &[PathBuf],
    args: &BenchArgs,
) -> Result<(), Diagnostic> {
    if benches.len() == 1 {
        return Ok(());
    }
    let mut count = 0;
    for file in files {
        count += benches[0].count(file, args)?;
    }
    let runs = benches.len() as u32 + args.runs - 1;
    let rate = benches
        .iter()
        .filter_map(|bench| rates::load(&bench.card))
        .reduce(f64::min);
    let time = match rate {
        Some(rate) => format!("about {}", Seconds(f64::from(count * runs) / rate)),
        None => "duration unknown before the first run of this model on this machine".to_owned(),
    };
    let points = benches.len();
    ui.warn(format!(
        "{} x {}, the best {}: {time}",
        counted(points as u64, "setting"),
        pages(count),
        counted(args.runs, "time")
    ));
    Ok(())
}

/// Runs every point; of several points each runs once, and the best one `--runs` times.
fn run_points(
    ui: &Ui,
    benches: &[BenchPoint],
    files: &[PathBuf],
    args: &BenchArgs,
) -> Result<Vec<Point>, Diagnostic> {
    let initial_runs = if benches.len() == 1 { args.runs } else { 1 };
    let mut points = Vec::new();
    for bench in benches {
        bench.warm_up(ui, &files[0], args)?;
        let mut manuals: Vec<Runs> = Vec::new();
        for _ in 0..initial_runs {
            run_round(ui, bench, files, args, &mut manuals)?;
        }
        points.push(Point::new(bench.setup.clone(), manuals));
    }
    if benches.len() > 1 {
        let rate = |point: &Point| point.total.rates()[1];
        let order = |a: &usize, b: &usize| rate(&points[*a]).total_cmp(&rate(&points[*b]));
        if let Some(best) = (0..points.len()).max_by(order) {
            let mut manuals = points[best].manuals.clone();
            for _ in 1..args.runs {
                run_round(ui, &benches[best], files, args, &mut manuals)?;
            }
            points[best] = Point::new(points[best].setup.clone(), manuals);
        }
    }
    Ok(points)
}

/// Runs every manual once and appends the record to its runs.
fn run_round(
    ui: &Ui,
    bench: &BenchPoint,
    files: &[PathBuf],
    args: &BenchArgs,
    manuals: &mut Vec<Runs>,
) -> Result<(), Diagnostic> {
    for (index, file) in files.iter().enumerate() {
        let (manual, run): (String, Run) = bench.run(ui, file, &args.input.pages, args)?;
        if STOP.load(Ordering::Relaxed) {
            let why = "stopped; no report written, the temporary store was removed";
            return Err(Diagnostic::new(why));
        }
        match manuals.get_mut(index) {
            Some(runs) => runs.runs.push(run),
            None => manuals.push(Runs {
                manual,
                runs: vec![run],
            }),
        }
    }
    Ok(())
}

fn file_name(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Reads an earlier report.
fn read_baseline(file: &Path) -> Result<Benchmark, Diagnostic> {
    let failed = |why: String| {
        Diagnostic::new(format!("{}: {why}", file.display()))
            .hint("a baseline is the output of `ingest bench --json`")
    };
    let text = std::fs::read_to_string(file).map_err(|e| failed(e.to_string()))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
    match json["schema"].as_u64() {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(other) => {
            return Err(failed(format!(
                "schema {other} is not supported, expected {SCHEMA}"
            )));
        }
        None => return Err(failed("not a benchmark report".to_owned())),
    }
    serde_json::from_value(json).map_err(|e| failed(e.to_string()))
}

/// Prints a comparison with the baseline; returns whether this run is clearly slower.
fn is_slower(ui: &Ui, now: &Benchmark, earlier: &Benchmark) -> Result<bool, Diagnostic> {
    let mut notes = Vec::new();
    let comparisons = compare(now, earlier, &mut notes);
    for note in notes {
        ui.warn(format!("note: {note}"));
    }
    for comparison in &comparisons {
        let verdict = if comparison.slower { ", slower" } else { "" };
        ui.warn(format!(
            "{}: {:.2} pages/s, {:.2} in the baseline: {:.2}x{verdict}",
            comparison.manual, comparison.now, comparison.then, comparison.ratio
        ));
    }
    Ok(comparisons.iter().any(|comparison| comparison.slower))
}

impl BenchArgs {
    /// The request that indexes one of the files.
    ///
    /// # Errors
    /// When passwords cannot be read.
    fn request(&self, file: &Path, pages: &PageSet) -> Result<pipeline::Request, Diagnostic> {
        Ok(pipeline::Request {
            pages: pages.clone(),
            ..self.input.request(&[file.to_owned()])?
        })
    }
}
