//! `ingest bench describe`: which runner, which model and which way of asking describes pages fastest and best.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use crate::annotate::{Redo, Request, Trial};
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::library;
use crate::measure::{Grade, Machine, RUNNER_SCHEMA, Rankings, RunnerBenchmark};
use crate::page::PageSet;
use crate::reports::runners as reports;
use crate::store::{self, CollectionSelector, Mode, Store};
use crate::vlm::RunnerKind;

use super::super::Common;
use super::super::describe_run::upright_renderer;
use super::super::interrupt::{self, STOP};
use super::super::ui::Ui;
use super::super::write;

mod candidate;
mod grade;
mod questions;

use candidate::Bench;

/// Compare runners, models and ways of asking on stored pages
///
/// Every way of asking describes all pages `--runs` times; nothing is stored. With `--questions` each model answers them too,
/// with the page's picture and without.
#[derive(clap::Args, Debug)]
pub(super) struct RunnersArgs {
    /// A runner and its model: `ollama=qwen2.5vl:7b`, `openai=NAME@http://127.0.0.1:8000` (can be repeated)
    #[arg(long, required = true, value_name = "RUNNER=MODEL[@URL]", value_parser = Named::parse)]
    candidate: Vec<Named>,
    /// Only this manual
    #[arg(long, value_name = "NAME")]
    manual: Option<String>,
    /// Only these pages, such as 1-20,33
    #[arg(
        long,
        value_name = "RANGES",
        default_value = "all",
        hide_default_value = true
    )]
    pages: PageSet,
    /// Questions with answers: a file like `manuals/questions.json`, or the questions and the annotations of VQA v2
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    questions: Vec<PathBuf>,
    /// Ways of asking
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Approach::value_variants().to_vec())]
    approach: Vec<Approach>,
    /// Requests at once, or pages in one
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_values_t = [1, 3, 4, 5, 8, 20])]
    batch: Vec<usize>,
    /// Rounds of each way of asking
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Write the report as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the report as one HTML page with plots, and each page beside what was said of it
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// How pages are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Approach {
    /// One page after the other.
    Sequential,
    /// Several requests at once, a page each.
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

/// A candidate as it was given.
#[derive(Clone, Debug)]
struct Named {
    text: String,
    runner: RunnerKind,
    model: String,
    url: String,
}

impl Named {
    fn parse(text: &str) -> Result<Self, String> {
        let (runner, rest) = text
            .split_once('=')
            .ok_or("it has the form RUNNER=MODEL[@URL]")?;
        let (model, url) = match rest.rfind("@http") {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, ""),
        };
        Ok(Self {
            text: text.to_owned(),
            runner: RunnerKind::from_str(runner, false).map_err(|_| {
                format!("there is no runner `{runner}`; there are mlx-vlm, ollama, mlx and openai")
            })?,
            model: model.to_owned(),
            url: url.to_owned(),
        })
    }
}

pub(super) fn run(ui: &Ui, common: &Common, args: &RunnersArgs) -> Result<ExitCode, Diagnostic> {
    let settings = common.settings()?;
    let store = store::open(&settings.store, CollectionSelector::Last, Mode::Read)?.store;
    interrupt::install_handler()?;
    let trial = render(ui, &settings, &*store, args)?;
    let asked = questions::read(&args.questions, &trial)?;
    let ways = ways(args, trial.pages().count());
    if ways.is_empty() {
        return Err(Diagnostic::usage("no way of asking is left")
            .hint("`--batch` must hold a number from 2 to the number of pages"));
    }
    let rounds = ways.len() * args.runs as usize;
    ui.say(format!(
        "{} pages, {rounds} times each for every candidate, {} questions",
        trial.pages().count(),
        asked.len()
    ));
    let bench = Bench {
        ui,
        settings: &settings,
        trial: &trial,
        questions: &asked,
        ways: &ways,
        runs: args.runs,
    };
    let mut candidates = Vec::new();
    for named in &args.candidate {
        candidates.push(bench.run(named)?);
    }
    let library = store.manuals()?.iter().map(|m| u64::from(m.stored)).sum();
    let benchmark = RunnerBenchmark {
        schema: RUNNER_SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: Machine::current(),
        pages: trial.pages().count(),
        library,
        megapixels: settings.describe.megapixels,
        questions: asked.len(),
        rankings: Rankings::of(&candidates),
        candidates,
    };
    tell(ui, args, &benchmark, &trial)
}

fn tell(
    ui: &Ui,
    args: &RunnersArgs,
    benchmark: &RunnerBenchmark,
    trial: &Trial,
) -> Result<ExitCode, Diagnostic> {
    match ui.json {
        true => ui.json(benchmark)?,
        false => ui.data(reports::text(benchmark))?,
    }
    if let Some(file) = &args.markdown {
        write(file, &reports::markdown(benchmark))?;
    }
    if let Some(file) = &args.html {
        let pages = trial.pages().map(|(id, _, jpeg)| (id.to_string(), jpeg));
        let page = reports::html(benchmark, pages).map_err(|e| Diagnostic::from_error(&e))?;
        write(file, &page)?;
    }
    let is_bad = |grade: Grade| grade == Grade::Fail;
    let bad = benchmark.candidates.iter();
    let bad = bad.filter(|one| is_bad(one.verdict.grade)).count();
    Ok(ExitCode::from(match bad {
        0 => 0,
        some if some < benchmark.candidates.len() => 1,
        _ => 2,
    }))
}

/// Renders the pages; manuals that cannot be read are named.
fn render(
    ui: &Ui,
    settings: &Settings,
    store: &dyn Store,
    args: &RunnersArgs,
) -> Result<Trial, Diagnostic> {
    let manual = args.manual.as_deref();
    let manual = manual
        .map(|name| library::find_manual(store, name).map(|card| card.id))
        .transpose()?;
    let request = Request {
        manuals: manual.into_iter().collect(),
        pages: args.pages.clone(),
        redo: Some(Redo::All),
        ..Request::default()
    };
    let (trial, failed) = Trial::render(upright_renderer(settings), store, &request, &STOP)?;
    for why in failed {
        ui.warn(why);
    }
    let is_empty = trial.pages().next().is_none();
    match is_empty {
        false => Ok(trial),
        true => Err(Diagnostic::new("there is no page to describe")
            .hint("blank pages are not asked about; `ingest list` tells what is stored")),
    }
}

/// The ways of asking, without those that need more pages than there are.
fn ways(args: &RunnersArgs, pages: usize) -> Vec<(Approach, usize)> {
    let mut ways = Vec::new();
    for &approach in &args.approach {
        let alone = approach == Approach::Sequential;
        let sizes = args.batch.iter().copied();
        let sizes: Vec<usize> = match alone {
            true => vec![1],
            false => sizes.filter(|&size| size > 1 && size <= pages).collect(),
        };
        ways.extend(sizes.into_iter().map(|size| (approach, size)));
    }
    ways
}
