//! `ingest bench describe`: compares speed and accuracy of VLM runners, models and request approaches.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use crate::annotate::{Redo, Request, Trial};
use crate::config::Settings;
use crate::diagnostic::{Diagnostic, PASSWORD_HINT};
use crate::library;
use crate::measure::{Grade, Machine, RUNNER_SCHEMA, Rankings, RunnerBenchmark};
use crate::page::PageSet;
use crate::reports::runners as reports;
use crate::store::{self, CollectionSelector, Mode, Store};
use crate::units::{Invalid, counted, pages};
use crate::vlm::{self, RunnerKind};

use super::super::Common;
use super::super::interrupt::{self, STOP};
use super::super::passwords::PasswordArgs;
use super::super::ui::Ui;
use super::super::write;

mod answers;
mod candidate;
mod grade;
mod questions;

use candidate::RunnerBench;

/// Compare runners, models and request approaches on stored pages
///
/// Every approach describes all pages `--runs` times; nothing is stored. With `--questions` each model also answers them,
/// with the page image and without it; with `--ask` it answers others from the library, as `ingest eval ask` measures it.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest bench describe --candidate ollama=qwen2.5vl:7b --pages 1-20
  ingest bench describe --candidate ollama=qwen2.5vl:7b --candidate ollama=qwen2.5vl:3b
  ingest bench describe --candidate ollama=qwen2.5vl:7b --questions manuals/questions.json")]
pub(super) struct RunnersArgs {
    /// Runner and model, such as `ollama=qwen2.5vl:7b` or `openai=NAME@http://127.0.0.1:8000` (can be repeated)
    #[arg(long, required = true, value_name = "RUNNER=MODEL[@URL]", value_parser = CandidateSpec::parse)]
    candidate: Vec<CandidateSpec>,
    /// Manual to describe, instead of all
    #[arg(long, value_name = "NAME")]
    manual: Option<OsString>,
    /// Pages to include, such as 1-20,33
    #[arg(
        long,
        value_name = "RANGES",
        default_value = "all",
        hide_default_value = true
    )]
    pages: PageSet,
    #[command(flatten)]
    passwords: PasswordArgs,
    /// Questions with answers: a file such as `manuals/questions.json`, or the question and annotation files of VQA v2
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    questions: Vec<PathBuf>,
    /// Questions to answer from the library: a file for `ingest eval ask`, such as `manuals/questions.json`
    #[arg(long, value_name = "FILE")]
    ask: Option<PathBuf>,
    /// Request approaches
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Approach::value_variants().to_vec())]
    approach: Vec<Approach>,
    /// Concurrent requests, or pages per request
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [1, 3, 4, 5, 8, 20])]
    batch: Vec<usize>,
    /// Number of rounds of each approach
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Write the report as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the report as an HTML page with charts, page images and their descriptions
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// How pages are sent to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Approach {
    /// One page at a time.
    Sequential,
    /// Several concurrent requests, one page each.
    Lanes,
    /// Several pages in one request.
    Interleaved,
}

impl Approach {
    const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Lanes => "lanes",
            Self::Interleaved => "interleaved",
        }
    }
}

/// The value of `--candidate`.
#[derive(Clone, Debug)]
struct CandidateSpec {
    text: String,
    runner: RunnerKind,
    model: String,
    url: String,
}

impl CandidateSpec {
    fn parse(text: &str) -> Result<Self, String> {
        let (runner, rest) = text.split_once('=').ok_or("expected RUNNER=MODEL[@URL]")?;
        let (model, url) = match rest.to_ascii_lowercase().rfind("@http") {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, ""),
        };
        Ok(Self {
            text: text.to_owned(),
            runner: RunnerKind::from_str(runner, false).map_err(|_| {
                format!("unknown runner `{runner}`: expected mlx-vlm, ollama, mlx or openai")
            })?,
            model: model.to_owned(),
            url: url.to_owned(),
        })
    }

    /// The settings of the candidate.
    fn config(&self, settings: &Settings) -> Result<vlm::Config, Diagnostic> {
        let config = vlm::Config {
            runner: self.runner,
            model: self.model.clone(),
            url: self.url.clone(),
            // `describe.command` starts the configured server, not that of a candidate.
            command: Vec::new(),
            ..settings.describe.clone()
        };
        let usage = |e: Invalid| Diagnostic::usage(format!("--candidate: {} {}", e.key, e.reason));
        config.validate().map_err(usage)?;
        Ok(config)
    }
}

pub(super) fn run(ui: &Ui, common: &Common, args: &RunnersArgs) -> Result<ExitCode, Diagnostic> {
    let settings = common.settings()?;
    let configs: Result<Vec<_>, _> = args.candidate.iter().map(|c| c.config(&settings)).collect();
    let configs = configs?;
    let store = store::open(&settings.store, CollectionSelector::Last, Mode::Read)?.store;
    interrupt::install_handler()?;
    let trial = render_pages(ui, &settings, &*store, args)?;
    let questions = questions::read(&args.questions, &trial)?;
    let passwords = args.passwords.read()?;
    let asked = match &args.ask {
        None => None,
        Some(file) => Some(answers::trial(
            &settings,
            &passwords,
            (args.manual.as_ref(), file),
        )?),
    };
    let approaches = approaches(args, trial.pages().count());
    if approaches.is_empty() {
        return Err(Diagnostic::usage("no approach is left to run")
            .hint("`--batch` needs a value between 2 and the number of pages"));
    }
    let rounds = approaches.len() * args.runs as usize;
    ui.info(format!(
        "{}, {} per candidate, {}",
        pages(trial.pages().count() as u64),
        counted(rounds as u64, "round"),
        counted(questions.len() as u64, "question")
    ));
    let bench = RunnerBench {
        ui,
        settings: &settings,
        trial: &trial,
        questions: &questions,
        approaches: &approaches,
        runs: args.runs,
    };
    let (mut candidates, mut evaluations) = (Vec::new(), Vec::new());
    for (spec, config) in args.candidate.iter().zip(&configs) {
        let candidate = bench.run(spec, config)?;
        if let (Some(asked), None) = (&asked, &candidate.error) {
            evaluations.extend(answers::measure(&bench, asked, (spec, config))?);
        }
        bench.unload(config);
        candidates.push(candidate);
    }
    let library = store.manuals()?.iter().map(|m| u64::from(m.stored)).sum();
    let benchmark = RunnerBenchmark {
        schema: RUNNER_SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: Machine::current(),
        pages: trial.pages().count(),
        library,
        megapixels: settings.describe.megapixels,
        questions: questions.len(),
        rankings: Rankings::of(&candidates),
        candidates,
    };
    let report = reports::Report {
        benchmark,
        answers: evaluations,
    };
    write_reports(ui, args, &report, &trial)
}

fn write_reports(
    ui: &Ui,
    args: &RunnersArgs,
    report: &reports::Report,
    trial: &Trial,
) -> Result<ExitCode, Diagnostic> {
    match ui.json {
        true => ui.json(report)?,
        false => ui.text(reports::text(report))?,
    }
    if let Some(file) = &args.markdown {
        write(file, &reports::markdown(report))?;
    }
    if let Some(file) = &args.html {
        let pages = trial.pages().map(|(id, _, jpeg)| (id.to_string(), jpeg));
        let page = reports::html(report, pages).map_err(|e| Diagnostic::from_error(&e))?;
        write(file, &page)?;
    }
    let candidates = &report.benchmark.candidates;
    let failed = candidates
        .iter()
        .filter(|candidate| candidate.verdict.grade == Grade::Fail)
        .count();
    Ok(ExitCode::from(match failed {
        0 => 0,
        some if some < candidates.len() => 1,
        _ => 2,
    }))
}

/// Renders the pages; prints the manuals that cannot be read.
fn render_pages(
    ui: &Ui,
    settings: &Settings,
    store: &dyn Store,
    args: &RunnersArgs,
) -> Result<Trial, Diagnostic> {
    let manual = args.manual.as_ref();
    let manual = manual
        .map(|name| library::find_manual(store, name).map(|card| card.id))
        .transpose()?;
    let request = Request {
        manuals: manual.into_iter().collect(),
        pages: args.pages.clone(),
        redo: Some(Redo::All),
        passwords: args.passwords.read()?,
        ..Request::default()
    };
    let (trial, failed) =
        Trial::render(library::upright_renderer(settings), store, &request, &STOP)?;
    for why in failed {
        ui.warn(why);
    }
    if trial.needs_password {
        ui.hint(PASSWORD_HINT);
    }
    let is_empty = trial.pages().next().is_none();
    match is_empty {
        false => Ok(trial),
        true => Err(Diagnostic::new("no page to describe")
            .hint("blank pages are skipped; `ingest list` shows the stored manuals")),
    }
}

/// Returns the approaches with their batch sizes, without those that need more pages than there are.
fn approaches(args: &RunnersArgs, pages: usize) -> Vec<(Approach, usize)> {
    let mut approaches = Vec::new();
    for &approach in &args.approach {
        let is_sequential = approach == Approach::Sequential;
        let sizes = args.batch.iter().copied();
        let sizes: Vec<usize> = match is_sequential {
            true => vec![1],
            false => sizes.filter(|&size| size > 1 && size <= pages).collect(),
        };
        approaches.extend(sizes.into_iter().map(|size| (approach, size)));
    }
    approaches
}
