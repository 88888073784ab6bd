//! `ingest FILE…`: the main job.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::annotate;
use crate::diagnostic::Diagnostic;
use crate::embed::{self, Card};
use crate::library;
use crate::page::ManualId;
use crate::pipeline::{self, Components, Plan, RunStats, Stage};
use crate::qwen::mlx;
use crate::render;
use crate::store::{self, Catalogue, CollectionSelector, Mode};

use super::dry_run::{self, DryRun};
use super::interrupt::{self, STOP};
use super::run::{
    InputArgs, mlx_line, mlx_memory, open_for_writing, pipeline_settings, summary, with_progress,
};
use super::ui::Ui;
use super::{Common, describe_run, progress, rates};

/// Store every page of the given manuals as multi-vectors
#[derive(clap::Args, Debug)]
pub(super) struct IngestArgs {
    /// PDF, picture or folder to read (can be repeated)
    #[arg(required = true, value_name = "FILE")]
    pub(super) paths: Vec<PathBuf>,
    #[command(flatten)]
    input: InputArgs,
    /// Only tell what would be done: pages, batches, memory, time
    #[arg(long)]
    dry_run: bool,
    /// Do not ask the server: pages wait until `ingest sync` sends them
    #[arg(long, conflicts_with = "dry_run")]
    offline: bool,
    /// Then let a vision-language model describe the pages, as `ingest describe` does
    #[arg(long, conflicts_with_all = ["dry_run", "offline"])]
    describe: bool,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &IngestArgs) -> Result<ExitCode, Diagnostic> {
    misspelt(&args.paths[0])?;
    let settings = common.settings()?;
    let card = embed::card(&settings.embed)?;
    let plan = library::memory_plan(&settings, &card)?;
    announce(ui, &card, &plan);
    let request = args.input.request(&args.paths);
    let profile = settings.render.profile();
    if args.dry_run {
        let store = store::open(
            &settings.store,
            CollectionSelector::Profile(&card.profile),
            Mode::Read,
        )
        .ok();
        let catalogue = store
            .as_ref()
            .map(|opened| opened.store.as_ref() as &dyn Catalogue);
        let jobs = pipeline::discover(&request, catalogue, &profile)?;
        return DryRun {
            settings: &settings,
            card: &card,
            plan: &plan,
            pages: &args.input.pages,
        }
        .tell(ui, &jobs);
    }
    progress::fetch(ui, |watch| embed::fetch(&settings.embed, watch))?;
    let mode = match args.offline {
        true => Mode::Offline,
        false => Mode::Write,
    };
    let store = open_for_writing(ui, &settings.store, &card.profile, mode)?;
    let jobs = pipeline::discover(&request, Some(store.as_ref() as &dyn Catalogue), &profile)?;
    let parts = Components {
        renderer: Box::new(|| render::open(&settings.render)),
        embedder: Box::new(|| library::open_model(&settings, &settings.embed)),
        store: store.as_ref(),
    };
    let how = pipeline_settings(&settings, &card, &plan, args.input.pages.clone());
    interrupt::install_handler()?;
    let (stats, result) = with_progress(ui, &Stage::ALL, |watch| {
        pipeline::ingest(parts, &jobs, &how, &STOP, watch)
    });
    let mlx = mlx_memory();
    if !ui.json && !ui.quiet() {
        ui.data(summary(&stats))?;
        if let Some(mlx) = mlx {
            ui.data(mlx_line(mlx))?;
        }
    }
    if let Some(rate) = stats.embedding_rate() {
        rates::remember(&card, rate);
    }
    if stats.stopped {
        ui.warn("stopped; the same command goes on where it ended");
    }
    let code = code(ui, args, &stats, result);
    let described = (args.describe && !stats.stopped && code < 2).then(|| {
        let named = |manual: &pipeline::ManualStats| ManualId::new(&manual.manual);
        let request = annotate::Request {
            manuals: stats.manuals.iter().map(named).collect(),
            pages: args.input.pages.clone(),
            password: args.input.password.clone(),
            ..annotate::Request::default()
        };
        describe_run::describe(ui, &settings, &*store, request)
    });
    if ui.json {
        let descriptions = described.as_ref().and_then(|done| done.as_ref().ok());
        ui.json(&Told {
            stored: &stats,
            mlx,
            descriptions: descriptions.map(describe_run::Outcome::json),
        })?;
    }
    let described = described.map(|done| done.and_then(|done| describe_run::finish(ui, done)));
    let described = described.transpose()?.unwrap_or(0);
    Ok(code.max(described).into())
}

/// The exit code of what was stored; tells which part failed.
fn code(ui: &Ui, args: &IngestArgs, stats: &RunStats, result: Result<(), pipeline::Error>) -> u8 {
    match result {
        Ok(()) if args.offline && !stats.has_failures() => 0,
        Ok(()) => stats.exit_code(),
        Err(e) => {
            ui.report(&e.into());
            if stats.total(|m| m.stored + m.unchanged + m.waiting) > 0 {
                1
            } else {
                2
            }
        }
    }
}

/// What `--json` prints of a run.
#[derive(serde::Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    stored: &'a RunStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    mlx: Option<mlx::Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptions: Option<describe_run::OutcomeJson<'a>>,
}

/// A first word that is no file but nearly a command was meant as one.
fn misspelt(first: &Path) -> Result<(), Diagnostic> {
    let word = first.to_string_lossy();
    let command = super::commands()
        .into_iter()
        .find(|name| strsim::damerau_levenshtein(name, &word) <= 2);
    match command {
        Some(command) if !first.exists() => {
            Err(Diagnostic::usage(format!("there is no file `{word}`"))
                .hint(format!("did you mean `ingest {command}`?")))
        }
        _ => Ok(()),
    }
}

fn announce(ui: &Ui, card: &Card, plan: &Plan) {
    ui.say(format!(
        "model {} on {}; licence: {}",
        card.profile.model, card.device, card.licence
    ));
    if plan.batch_size < plan.requested {
        ui.say(format!(
            "batches of {} instead of {}: {} allowed",
            plan.batch_size, plan.requested, plan.limit
        ));
    }
    ui.detail(format!("memory plan: {}", dry_run::memory(plan)));
}
