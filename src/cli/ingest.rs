//! `ingest FILE…`: the main job.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::annotate;
use crate::config::Settings;
use crate::embed::{self, Card};
use crate::page::{ManualId, PageSet};
use crate::pipeline::{self, Parts, Plan, Request, Stage, Tally};
use crate::qwen::mlx;
use crate::render;
use crate::report::Report;
use crate::reports::table::aligned;
use crate::store::{self, Catalogue, Mode, Which as Collection};
use crate::units::Seconds;

use super::describe;
use super::dry_run::{self, DryRun};
use super::progress::{self, Progress};
use super::ui::Ui;
use super::{Common, kit, rates};

/// Store every page of the given manuals as multi-vectors
#[derive(clap::Args, Debug)]
pub(super) struct IngestArgs {
    /// PDF, picture or folder to read (can be repeated)
    #[arg(required = true, value_name = "FILE")]
    pub(super) paths: Vec<PathBuf>,
    #[command(flatten)]
    which: Which,
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

/// Which pages, and how to open them.
#[derive(clap::Args, Debug)]
pub(super) struct Which {
    /// Only these pages, such as 1-20,33
    #[arg(
        long,
        value_name = "RANGES",
        default_value = "all",
        hide_default_value = true
    )]
    pub(super) pages: PageSet,
    /// Password of protected files
    #[arg(long)]
    pub(super) password: Option<String>,
}

impl Which {
    pub(super) fn request(&self, paths: &[PathBuf]) -> Request {
        Request {
            paths: paths.to_vec(),
            pages: self.pages.clone(),
            password: self.password.clone(),
        }
    }
}

/// Set by the first Ctrl-C: finish the batch in hand. The second ends the process at once.
pub(super) static STOP: AtomicBool = AtomicBool::new(false);

pub(super) fn run(ui: &mut Ui, common: &Common, args: &IngestArgs) -> Result<ExitCode, Report> {
    misspelt(&args.paths[0])?;
    let settings = common.settings()?;
    let card = embed::card(&settings.embed)?;
    let plan = kit::plan(&settings, &card)?;
    announce(ui, &card, &plan);
    let request = args.which.request(&args.paths);
    let profile = settings.render.profile();
    if args.dry_run {
        let store = store::open(
            &settings.store,
            Collection::Profile(&card.profile),
            Mode::Read,
        )
        .ok();
        let catalogue = store
            .as_ref()
            .map(|opened| opened.store.as_ref() as &dyn Catalogue);
        let jobs = pipeline::survey(&request, catalogue, &profile)?;
        return DryRun {
            settings: &settings,
            card: &card,
            plan: &plan,
            pages: &args.which.pages,
        }
        .tell(ui, &jobs);
    }
    progress::fetch(ui, |watch| embed::fetch(&settings.embed, watch))?;
    let mode = match args.offline {
        true => Mode::Offline,
        false => Mode::Write,
    };
    let store = kit::open_to_write(ui, &settings.store, &card.profile, mode)?;
    let jobs = pipeline::survey(&request, Some(store.as_ref() as &dyn Catalogue), &profile)?;
    let parts = Parts {
        renderer: Box::new(|| render::open(&settings.render)),
        embedder: Box::new(|| kit::open_model(&settings, &settings.embed)),
        store: store.as_ref(),
    };
    let how = how(&settings, &card, &plan, args.which.pages.clone());
    let (tally, result) = watched(ui, &Stage::ALL, |watch| {
        pipeline::ingest(parts, &jobs, &how, &STOP, watch)
    })?;
    let mlx = kit::mlx_memory();
    if !ui.json && !ui.quiet() {
        ui.data(summary(&tally))?;
        if let Some(mlx) = mlx {
            ui.data(kit::mlx_line(mlx))?;
        }
    }
    if let Some(rate) = tally.embedding_rate() {
        rates::remember(&card, rate);
    }
    if tally.stopped {
        ui.warn("stopped; the same command goes on where it ended");
    }
    let code = code(ui, args, &tally, result);
    let described = (args.describe && !tally.stopped && code < 2).then(|| {
        let named = |manual: &pipeline::ManualTally| ManualId::new(&manual.manual);
        let request = annotate::Request {
            manuals: tally.manuals.iter().map(named).collect(),
            pages: args.which.pages.clone(),
            ..annotate::Request::default()
        };
        describe::describe(ui, &settings, &*store, request)
    });
    if ui.json {
        let descriptions = described.as_ref().and_then(|done| done.as_ref().ok());
        ui.json(&Told {
            stored: &tally,
            mlx,
            descriptions: descriptions.map(describe::Done::told),
        })?;
    }
    let described = described.map(|done| done.and_then(|done| describe::tell(ui, done)));
    let described = described.transpose()?.unwrap_or(0);
    Ok(code.max(described).into())
}

/// The exit code of what was stored; tells which part failed.
fn code(ui: &Ui, args: &IngestArgs, tally: &Tally, result: Result<(), pipeline::Error>) -> u8 {
    match result {
        Ok(()) if args.offline && !tally.failed() => 0,
        Ok(()) => tally.exit_code(),
        Err(e) => {
            ui.report(&e.into());
            if tally.total(|m| m.stored + m.unchanged + m.waiting) > 0 {
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
    stored: &'a Tally,
    #[serde(skip_serializing_if = "Option::is_none")]
    mlx: Option<mlx::Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptions: Option<describe::Told<'a>>,
}

/// A first word that is no file but nearly a command was meant as one.
fn misspelt(first: &Path) -> Result<(), Report> {
    let word = first.to_string_lossy();
    let command = super::commands()
        .into_iter()
        .find(|name| strsim::damerau_levenshtein(name, &word) <= 2);
    match command {
        Some(command) if !first.exists() => {
            Err(Report::usage(format!("there is no file `{word}`"))
                .hint(format!("did you mean `ingest {command}`?")))
        }
        _ => Ok(()),
    }
}

pub(super) fn how(
    settings: &Settings,
    card: &Card,
    plan: &Plan,
    pages: PageSet,
) -> pipeline::Settings {
    pipeline::Settings {
        prepare: card.prepare.clone(),
        render: settings.render.profile(),
        pages,
        limits: plan.limits,
        queue: kit::RENDERED_AHEAD,
    }
}

/// Runs a flow under bars and Ctrl-C.
pub(super) fn watched<T>(
    ui: &Ui,
    stages: &[Stage],
    flow: impl FnOnce(&(dyn Fn(pipeline::Event) + Sync)) -> T,
) -> Result<T, Report> {
    heed_ctrl_c()?;
    Ok(under_bars(ui, stages, flow))
}

/// From now on the first Ctrl-C sets [`STOP`]; the second ends the process. Once in a process.
pub(super) fn heed_ctrl_c() -> Result<(), Report> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            leave_at_once();
        }
    })
    .map_err(|e| Report::plain(format!("Ctrl-C cannot be watched: {e}")))
}

/// Runs a flow under bars.
pub(super) fn under_bars<T>(
    ui: &Ui,
    stages: &[Stage],
    flow: impl FnOnce(&(dyn Fn(pipeline::Event) + Sync)) -> T,
) -> T {
    let progress = Progress::new(ui, stages);
    let done = flow(&|event| progress.on(&event));
    progress.finish();
    done
}

#[expect(
    clippy::exit,
    reason = "a second Ctrl-C: nothing is half-written, the store's transactions see to that"
)]
fn leave_at_once() {
    super::temporary::sweep_up();
    crate::vlm::kill_servers();
    std::process::exit(130);
}

fn announce(ui: &Ui, card: &Card, plan: &Plan) {
    ui.say(format!(
        "model {} on {}; licence: {}",
        card.profile.model, card.device, card.licence
    ));
    if plan.batch_size < plan.asked {
        ui.say(format!(
            "batches of {} instead of {}: {} allowed",
            plan.batch_size, plan.asked, plan.limit
        ));
    }
    ui.detail(format!("memory plan: {}", dry_run::memory(plan)));
}

/// The table at the end: a row a manual, and the sum.
pub(super) fn summary(tally: &Tally) -> String {
    let header = [
        "manual",
        "pages",
        "stored",
        "unchanged",
        "failed",
        "render",
        "prepare",
        "embed",
        "store",
    ];
    let rows: Vec<Vec<String>> = tally.manuals.iter().map(row).collect();
    let waiting = tally.total(|m| m.waiting);
    let stored = tally.total(|m| m.stored);
    let rate = if tally.wall > 0.0 {
        f64::from(stored) / tally.wall
    } else {
        0.0
    };
    let mut lines = aligned(&header, &rows);
    lines.push_str(&format!(
        "\n{stored} pages stored in {}",
        Seconds(tally.wall)
    ));
    let model = tally.seconds(Stage::Embed);
    if stored > 0 && model > 0.0 {
        let share = 100.0 * tally.model_waited / (tally.model_waited + model).max(1e-9);
        lines.push_str(&format!(
            " ({rate:.2} pages/s; the model waited {share:.0} % of its time)"
        ));
    }
    if waiting > 0 {
        let names = tally.manuals.iter().filter(|m| m.waiting > 0);
        let names: Vec<String> = names
            .map(|m| format!("{} of {}", m.waiting, m.manual))
            .collect();
        lines.push_str(&format!(
            "\n{waiting} pages wait for their server ({}); `ingest sync` sends them",
            names.join(", ")
        ));
    }
    lines
}

fn row(manual: &pipeline::ManualTally) -> Vec<String> {
    let mut row = vec![manual.manual.clone()];
    let failed = manual.failed.len() as u32;
    row.extend([manual.pages, manual.stored, manual.unchanged].map(|n| n.to_string()));
    row.push(if manual.error.is_some() {
        "all".into()
    } else {
        failed.to_string()
    });
    row.extend(Stage::ALL.map(|stage| {
        format!(
            "{:.1} s",
            manual.seconds.get(&stage).copied().unwrap_or(0.0)
        )
    }));
    row
}
