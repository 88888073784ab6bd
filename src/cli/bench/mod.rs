//! `ingest bench`: how fast manuals are stored here, by manual and stage.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use crate::diagnostic::Diagnostic;
use crate::measure::{Benchmark, Machine, Point, Run, Runs, SCHEMA, compare};
use crate::page::PageSet;
use crate::pipeline;
use crate::reports::throughput;
use crate::units::Seconds;

use super::interrupt::{self, STOP};
use super::run::InputArgs;
use super::ui::Ui;
use super::{Common, rates, write};

mod run;
mod runners;

use run::Bench;

/// The exit code when a baseline was clearly faster.
const SLOWER: u8 = 3;

/// Measure how fast manuals are stored, by manual and stage
///
/// Every manual is stored anew into a temporary store, which is removed afterwards. `--batch-size`, `--device`, `--model`,
/// `--store` and `--workers` take several values: then each combination is run once, and the best one again.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// PDF, picture or folder to read (can be repeated)
    #[arg(required = true, value_name = "FILE")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    input: InputArgs,
    /// Runs of each manual
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Render worker processes
    #[arg(long, value_name = "COUNT", value_delimiter = ',')]
    workers: Vec<u32>,
    /// Write the report as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the report as one HTML page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare with an earlier report (`--json`); exit 3 when this one is clearly slower
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

/// What else can be measured.
#[derive(clap::Subcommand, Debug)]
enum What {
    Describe(runners::RunnersArgs),
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &BenchArgs) -> Result<ExitCode, Diagnostic> {
    if let Some(What::Describe(args)) = &args.what {
        return runners::run(ui, common, args);
    }
    let baseline = args.baseline.as_deref().map(read).transpose()?;
    interrupt::install_handler()?;
    let benches: Vec<Bench> = common
        .choices(&args.workers)
        .iter()
        .map(|choice| Bench::new(ui, common.settings_for(choice)?))
        .collect::<Result<_, Diagnostic>>()?;
    let files = files(ui, args)?;
    expect(ui, &benches, &files, args)?;
    let points = measure(ui, &benches, &files, args)?;
    let benchmark = Benchmark {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: Machine::current(),
        warm_up: format!(
            "a batch of {}, not counted, before each setting",
            name(&files[0])
        ),
        points,
    };
    if ui.json {
        ui.json(&benchmark)?;
    } else {
        ui.data(throughput::text(&benchmark))?;
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
        Some(then) if slower(ui, &benchmark, &then)? => Ok(SLOWER.into()),
        _ => Ok(ExitCode::from(u8::from(failed))),
    }
}

/// The files that can be read; the others are named.
fn files(ui: &Ui, args: &BenchArgs) -> Result<Vec<PathBuf>, Diagnostic> {
    let jobs = pipeline::discover(&args.input.request(&args.paths), None, "")?;
    let mut files = Vec::new();
    for job in jobs {
        match job {
            Ok(job) => files.push(job.source.path),
            Err(rejected) => ui.warn(format!("{}: {}", rejected.path.display(), rejected.why)),
        }
    }
    match files.is_empty() {
        true => Err(Diagnostic::new("there is no manual to measure")),
        false => Ok(files),
    }
}

/// Says beforehand how long a sweep will take, as far as earlier runs tell.
fn expect(
    ui: &Ui,
    benches: &[Bench],
    files: &[PathBuf],
    args: &BenchArgs,
) -> Result<(), Diagnostic> {
    if benches.len() == 1 {
        return Ok(());
    }
    let mut pages = 0;
    for file in files {
        pages += benches[0].count(file, args)?;
    }
    let runs = benches.len() as u32 + args.runs - 1;
    let rate = benches
        .iter()
        .filter_map(|bench| rates::recall(&bench.card))
        .reduce(f64::min);
    let time = match rate {
        Some(rate) => format!("about {}", Seconds(f64::from(pages * runs) / rate)),
        None => "a time not known before the first run of this model here".to_owned(),
    };
    let points = benches.len();
    ui.warn(format!(
        "{points} settings x {pages} pages, the best {} times: {time}",
        args.runs
    ));
    Ok(())
}

/// Runs every point; of several each once, and the best one until it has all its runs.
fn measure(
    ui: &Ui,
    benches: &[Bench],
    files: &[PathBuf],
    args: &BenchArgs,
) -> Result<Vec<Point>, Diagnostic> {
    let first = if benches.len() == 1 { args.runs } else { 1 };
    let mut points = Vec::new();
    for bench in benches {
        bench.warm_up(ui, &files[0], args)?;
        let mut manuals: Vec<Runs> = Vec::new();
        for _ in 0..first {
            round(ui, bench, files, args, &mut manuals)?;
        }
        points.push(Point::new(bench.setup.clone(), manuals));
    }
    if benches.len() > 1 {
        let rate = |point: &Point| point.total.rates()[1];
        let order = |a: &usize, b: &usize| rate(&points[*a]).total_cmp(&rate(&points[*b]));
        if let Some(best) = (0..points.len()).max_by(order) {
            let mut manuals = points[best].manuals.clone();
            for _ in 1..args.runs {
                round(ui, &benches[best], files, args, &mut manuals)?;
            }
            points[best] = Point::new(points[best].setup.clone(), manuals);
        }
    }
    Ok(points)
}

/// Runs every manual once, one after another, and adds that to their runs.
fn round(
    ui: &Ui,
    bench: &Bench,
    files: &[PathBuf],
    args: &BenchArgs,
    manuals: &mut Vec<Runs>,
) -> Result<(), Diagnostic> {
    for (at, file) in files.iter().enumerate() {
        let (manual, run): (String, Run) = bench.run(ui, file, &args.input.pages, args)?;
        if STOP.load(Ordering::Relaxed) {
            let why = "stopped; nothing is reported, the temporary store is gone";
            return Err(Diagnostic::new(why));
        }
        match manuals.get_mut(at) {
            Some(runs) => runs.runs.push(run),
            None => manuals.push(Runs {
                manual,
                runs: vec![run],
            }),
        }
    }
    Ok(())
}

fn name(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Reads an earlier report.
fn read(file: &Path) -> Result<Benchmark, Diagnostic> {
    let failed = |why: String| {
        Diagnostic::new(format!("{}: {why}", file.display()))
            .hint("a baseline is what `ingest bench --json` printed")
    };
    let text = std::fs::read_to_string(file).map_err(|e| failed(e.to_string()))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
    match json["schema"].as_u64() {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(other) => {
            return Err(failed(format!(
                "it has schema {other}, this program knows {SCHEMA}"
            )));
        }
        None => return Err(failed("it is no report of a benchmark".to_owned())),
    }
    serde_json::from_value(json).map_err(|e| failed(e.to_string()))
}

/// Prints how this benchmark stands beside an earlier one; tells whether it is clearly slower.
fn slower(ui: &Ui, now: &Benchmark, then: &Benchmark) -> Result<bool, Diagnostic> {
    let mut doubts = Vec::new();
    let all = compare(now, then, &mut doubts);
    for doubt in doubts {
        ui.warn(format!("note: {doubt}"));
    }
    for one in &all {
        let verdict = if one.slower { ", slower" } else { "" };
        ui.warn(format!(
            "{}: {:.2} pages/s, {:.2} in the baseline: {:.2}x{verdict}",
            one.manual, one.now, one.then, one.ratio
        ));
    }
    Ok(all.iter().any(|one| one.slower))
}

impl BenchArgs {
    /// A request for one of its files.
    fn request(&self, file: &Path, pages: &PageSet) -> pipeline::Request {
        pipeline::Request {
            paths: vec![file.to_owned()],
            pages: pages.clone(),
            password: self.input.password.clone(),
        }
    }
}
