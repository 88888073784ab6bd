//! `ingest work`: processes pages that `ingest FILE… --queue URL` or `ingest describe --queue URL` queued on any machine.

use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::distributed::{self, Indexer, WorkerEvent, WorkerRun};
use crate::embed::{self, Card};
use crate::library::{self, Openers};
use crate::pipeline::Stage;
use crate::store::{CollectionSelector, Opened};
use crate::units::{Seconds, pages};
use crate::vlm::{self, Runner};

use super::describe_run::{DescribeProgress, print_runner};
use super::interrupt::{self, STOP};
use super::progress::{self, Progress};
use super::ui::Ui;
use super::{Common, rates};

/// Exit code of a worker that hangs (`EX_SOFTWARE` of sysexits.h).
const STUCK: i32 = 70;
/// Time between two looks whether the store has a collection.
const LOOK: Duration = Duration::from_secs(2);

/// Process pages of a queue, until stopped
///
/// The model, the store, the render settings and the version must be those of the machine that queued the pages. Pages are
/// described with the model of the section `[describe]`, which must be that of `ingest describe`. Ctrl-C or SIGTERM ends the
/// worker after the pages in hand; the rest goes back to the queue.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  ingest work --queue nats://studio:4222 --store http://studio:8080
  ingest work --queue nats://studio:4222 --store http://studio:8080 --model vidore/colqwen2.5-v0.2")]
pub(super) struct WorkArgs {}

pub(super) fn run(ui: &mut Ui, common: &Common, _args: &WorkArgs) -> Result<ExitCode, Diagnostic> {
    let settings = common.settings()?;
    let card = embed::card(&settings.embed)?;
    let plan = library::memory_plan(&settings, &card)?;
    let queue = distributed::connect(&settings)?;
    progress::fetch(ui, |on_progress| embed::fetch(&settings.embed, on_progress))?;
    ui.info(format!("model {} on {}", card.profile.model, card.device));
    interrupt::install_handler()?;
    let Some(opened) = open_store(ui, &settings)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let openers = || Openers::new(&settings);
    let indexing = can_index(ui, &settings, &card, &opened)?.then(|| Indexer {
        card: &card,
        plan: &plan,
        group: distributed::index_group(&settings, &card, &opened),
        speed: rates::load(&card),
        openers: &openers,
    });
    let progress = WorkerProgress {
        ui,
        index: Progress::new(ui, &Stage::ALL),
        describe: OnceLock::new(),
    };
    let worker = WorkerRun {
        settings: &settings,
        queue: &queue,
        store: &*opened.store,
        location: &opened.location,
        indexing,
        runner: &|| open_runner(ui, &settings),
        stop: &STOP,
        on_event: &|event| progress.on_event(event),
    };
    let (stats, result) = worker.run();
    progress.finish();
    if let Some(rate) = stats.indexed_per_second {
        rates::save(&card, rate);
    }
    if ui.json {
        ui.json(&stats)?;
    } else if !ui.quiet() {
        ui.data(format!(
            "{}, {} failed, in {}",
            pages(stats.pages),
            stats.failed,
            Seconds(stats.wall)
        ))?;
    }
    result?;
    Ok(ExitCode::SUCCESS)
}

/// Opens the store, as soon as a coordinator has made its collection; `None` if the worker is stopped before.
fn open_store(ui: &Ui, settings: &Settings) -> Result<Option<Opened>, Diagnostic> {
    let mut is_told = false;
    while !STOP.load(Ordering::Relaxed) {
        let opened = distributed::open_store(settings, CollectionSelector::Last)?;
        if opened.profile.is_some() {
            return Ok(Some(opened));
        }
        if !is_told {
            ui.info(format!("no work yet: {} is empty", opened.location));
            is_told = true;
        }
        thread::sleep(LOOK);
    }
    Ok(None)
}

/// Whether the store has pages of the model. A worker with another one can only describe pages, if it has a model for that.
fn can_index(
    ui: &Ui,
    settings: &Settings,
    card: &Card,
    opened: &Opened,
) -> Result<bool, Diagnostic> {
    let profile = opened.profile.as_ref();
    if profile.is_some_and(|profile| profile.id == card.profile.id) {
        return Ok(true);
    }
    let selector = CollectionSelector::Profile(&card.profile);
    match distributed::open_store(settings, selector) {
        Ok(_) => Ok(true),
        Err(why) if settings.describe.names_a_model() => {
            ui.info(format!("pages are described here, and not indexed: {why}"));
            Ok(false)
        }
        Err(why) => Err(why.into()),
    }
}

/// Opens the model that describes pages.
fn open_runner(ui: &Ui, settings: &Settings) -> Result<Box<dyn Runner>, vlm::Error> {
    let config = &settings.describe;
    progress::fetch(ui, |on_progress| vlm::fetch(config, on_progress))?;
    let runner = vlm::open(config, library::in_process_vlm_memory_limit(settings))?;
    print_runner(ui, runner.card());
    Ok(runner)
}

/// Shows what a worker does.
struct WorkerProgress<'a> {
    ui: &'a Ui,
    index: Progress<'a>,
    /// From the first page that is described.
    describe: OnceLock<DescribeProgress<'a>>,
}

impl WorkerProgress<'_> {
    fn on_event(&self, event: WorkerEvent) {
        let ui = self.ui;
        match event {
            WorkerEvent::Idle => ui.info("no work yet"),
            WorkerEvent::Working => ui.info("working"),
            WorkerEvent::Pipeline(event) => self.index.on_event(&event),
            WorkerEvent::Annotate(event) => {
                let progress = self.describe.get_or_init(|| DescribeProgress::new(ui));
                progress.on_event(event);
            }
            WorkerEvent::Problem(problem) => ui.warn(problem),
            WorkerEvent::Stuck => {
                ui.warn(
                    "no page moved for a long time: the model hangs; its pages go to other workers",
                );
                exit_stuck();
            }
        }
    }

    fn finish(&self) {
        self.index.finish();
        if let Some(describe) = self.describe.get() {
            describe.finish();
        }
    }
}

#[expect(
    clippy::exit,
    reason = "a thread hangs in the model; leases end by themselves"
)]
fn exit_stuck() {
    super::temporary::remove_all();
    vlm::kill_servers();
    std::process::exit(STUCK);
}
