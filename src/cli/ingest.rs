//! `ingest FILE…`: indexes files into the store.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::annotate;
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed::{self, Card};
use crate::library::{self, Indexing};
use crate::page::ManualId;
use crate::pipeline::{self, Plan, Profiles, Request, RunStats, Stage};
use crate::qwen::mlx;
use crate::store::{self, Catalogue, CollectionSelector, Mode};

use super::dry_run::{self, DryRun};
use super::interrupt::{self, STOP};
use super::run::{
    InputArgs, mlx_line, mlx_memory, nothing_stored, open_for_writing, print_left_out, summary,
    with_progress,
};
use super::ui::Ui;
use super::{Common, arguments, describe_run, distribute, progress, rates};

/// Index PDF files, images or folders
#[derive(clap::Args, Debug)]
pub(super) struct IngestArgs {
    /// PDF file, image or folder to index (can be repeated)
    #[arg(required = true, value_name = "FILE")]
    pub(super) paths: Vec<PathBuf>,
    #[command(flatten)]
    input: InputArgs,
    /// Report pages, batches, memory and time, and index nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not connect to the server; queue pages until `ingest sync` sends them
    #[arg(long, conflicts_with = "dry_run")]
    offline: bool,
    /// With a queue: end when all work is queued, and leave it to the workers
    #[arg(long, conflicts_with_all = ["dry_run", "offline"])]
    detach: bool,
    /// Describe the pages with a vision-language model afterwards, as `ingest describe` does
    #[arg(long, conflicts_with_all = ["dry_run", "offline"])]
    describe: bool,
}

pub(super) fn run(ui: &mut Ui, common: &Common, args: &IngestArgs) -> Result<ExitCode, Diagnostic> {
    arguments::reject_guessed_command(&args.paths)?;
    let settings = common.settings()?;
    let card = embed::card(&settings.embed).map_err(nothing_stored)?;
    let plan = library::memory_plan(&settings, &card).map_err(nothing_stored)?;
    print_model(ui, &card, &plan);
    if args.dry_run {
        return dry_run(ui, &settings, args, (&card, &plan));
    }
    if !settings.queue.url.is_empty() {
        let request = args.input.request(&args.paths)?;
        reject_with_queue(args, &request)?;
        return distribute::run(ui, &settings, &card, (&request, args.detach));
    }
    distribute::reject_detach(args.detach)?;
    progress::fetch(ui, |on_progress| embed::fetch(&settings.embed, on_progress))
        .map_err(nothing_stored)?;
    let request = args.input.request(&args.paths)?;
    let mode = match args.offline {
        true => Mode::Offline,
        false => Mode::Write,
    };
    let store =
        open_for_writing(ui, &settings.store, &card.profile, mode).map_err(nothing_stored)?;
    let catalogue = Some(store.as_ref() as &dyn Catalogue);
    let render = settings.render.profile();
    let profiles = Profiles {
        render: &render,
        text: settings.embed.text_profile(),
    };
    let inputs = pipeline::discover(&request, catalogue, profiles).map_err(nothing_stored)?;
    print_left_out(ui, &inputs.left_out);
    let indexing = Indexing {
        settings: &settings,
        card: &card,
        plan: &plan,
        store: store.as_ref(),
    };
    interrupt::install_handler()?;
    let (stats, result) = with_progress(ui, &Stage::ALL, |on_event| {
        indexing.run(&inputs, &STOP, on_event)
    });
    ui.words_hint(&args.paths);
    let mlx = mlx_memory();
    if !ui.json && !ui.quiet() {
        ui.text(summary(&stats))?;
        if let Some(mlx) = mlx {
            ui.data(mlx_line(mlx))?;
        }
    }
    if let Some(rate) = stats.embedding_rate() {
        rates::save(&card, rate);
    }
    if stats.stopped {
        ui.warn("stopped; run the same command again to resume");
    }
    let code = exit_code(ui, args, &stats, result);
    let described = (args.describe && !stats.stopped && code < 2).then(|| {
        let request = annotate::Request {
            manuals: stored_manuals(&stats),
            pages: args.input.pages.clone(),
            passwords: request.passwords.clone(),
            ..annotate::Request::default()
        };
        describe_run::describe(ui, &settings, &*store, request)
    });
    if ui.json {
        let descriptions = described.as_ref().and_then(|run| run.as_ref().ok());
        ui.json(&IngestReport {
            stored: &stats,
            mlx,
            descriptions: descriptions.map(describe_run::DescribeOutcome::json),
        })?;
    }
    let describe_code = described.map(|run| {
        run.and_then(|outcome| describe_run::finish(ui, outcome))
            .map_err(of_stored_pages)
    });
    Ok(code.max(describe_code.transpose()?.unwrap_or(0)).into())
}

/// Options that a run of many machines does not have.
fn reject_with_queue(args: &IngestArgs, request: &Request) -> Result<(), Diagnostic> {
    let reject = |what: &str, hint: &str| {
        Err(Diagnostic::usage(format!("{what} cannot be used with a queue")).hint(hint))
    };
    match () {
        () if args.offline => reject(
            "--offline",
            "pages that the store does not take stay in the queue",
        ),
        () if args.describe => reject("--describe", "run `ingest describe` afterwards"),
        () => distribute::reject_passwords(&request.passwords),
    }
}

/// The error of a run that described pages: they are stored.
fn of_stored_pages(error: Diagnostic) -> Diagnostic {
    Diagnostic { exit: 1, ..error }
}

/// Reports what a run would do.
fn dry_run(
    ui: &Ui,
    settings: &Settings,
    args: &IngestArgs,
    (card, plan): (&Card, &Plan),
) -> Result<ExitCode, Diagnostic> {
    let selector = CollectionSelector::Profile(&card.profile);
    let store = store::open(&settings.store, selector, Mode::Read).ok();
    let catalogue = store.as_ref();
    let catalogue = catalogue.map(|opened| opened.store.as_ref() as &dyn Catalogue);
    let request = args.input.request(&args.paths)?;
    let render = settings.render.profile();
    let profiles = Profiles {
        render: &render,
        text: settings.embed.text_profile(),
    };
    let inputs = pipeline::discover(&request, catalogue, profiles)?;
    print_left_out(ui, &inputs.left_out);
    let dry_run = DryRun {
        settings,
        card,
        plan,
    };
    let code = dry_run.run(ui, &inputs)?;
    ui.words_hint(&args.paths);
    Ok(code)
}

/// The manuals of the run, each once.
fn stored_manuals(stats: &RunStats) -> Vec<ManualId> {
    let mut manuals = Vec::new();
    for manual in &stats.manuals {
        let id = ManualId::new(manual.stored_as());
        if !manuals.contains(&id) {
            manuals.push(id);
        }
    }
    manuals
}

/// Returns the exit code of the indexing run; prints the error that ended it.
fn exit_code(
    ui: &Ui,
    args: &IngestArgs,
    stats: &RunStats,
    result: Result<(), pipeline::Error>,
) -> u8 {
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

/// What `--json` prints.
#[derive(serde::Serialize)]
struct IngestReport<'a> {
    #[serde(flatten)]
    stored: &'a RunStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    mlx: Option<mlx::Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptions: Option<describe_run::DescribeReport<'a>>,
}

fn print_model(ui: &Ui, card: &Card, plan: &Plan) {
    ui.info(format!(
        "model {} on {}; licence: {}",
        card.profile.model, card.device, card.licence
    ));
    if plan.batch_size < plan.requested {
        ui.info(format!(
            "batch size reduced from {} to {}: memory limit {}",
            plan.requested, plan.batch_size, plan.limit
        ));
    }
    ui.detail(format!("memory plan: {}", dry_run::memory_line(plan)));
}
