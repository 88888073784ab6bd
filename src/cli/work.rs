//! `ingest work`: processes pages that `ingest FILE… --queue URL` queued on any machine.

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::distributed::{self, WorkerEvent, WorkerRun};
use crate::embed::{self, Card};
use crate::library::{self, Openers};
use crate::pipeline::Stage;
use crate::store::Opened;
use crate::units::{Seconds, pages};

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
/// The model, the store, the render settings and the version must be those of the machine that queued the pages. Ctrl-C or
/// SIGTERM ends the worker after the batch in hand; the rest goes back to the queue.
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
    let Some(opened) = open_store(ui, &settings, &card)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let progress = Progress::new(ui, &Stage::ALL);
    let worker = WorkerRun {
        settings: &settings,
        card: &card,
        plan: &plan,
        queue: &queue,
        store: &*opened.store,
        group: distributed::group(&settings, &card, &opened),
        speed: rates::load(&card),
        stop: &STOP,
        on_event: &|event| on_event(ui, &progress, &event),
    };
    let (stats, result) = worker.run(Openers::new(&settings));
    progress.finish();
    if let Some(rate) = stats.pages_per_second {
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
fn open_store(ui: &Ui, settings: &Settings, card: &Card) -> Result<Option<Opened>, Diagnostic> {
    let mut is_told = false;
    while !STOP.load(Ordering::Relaxed) {
        let opened = distributed::open_store(settings, card)?;
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

fn on_event(ui: &Ui, progress: &Progress<'_>, event: &WorkerEvent) {
    match event {
        WorkerEvent::Idle => ui.info("no work yet"),
        WorkerEvent::Working => ui.info("working"),
        WorkerEvent::Pipeline(event) => progress.on_event(event),
        WorkerEvent::Problem(problem) => ui.warn(problem),
        WorkerEvent::Stuck => {
            ui.warn(
                "no page moved for a long time: the model hangs; its pages go to other workers",
            );
            exit_stuck();
        }
    }
}

#[expect(
    clippy::exit,
    reason = "a thread hangs in the model; leases end by themselves"
)]
fn exit_stuck() {
    super::temporary::remove_all();
    std::process::exit(STUCK);
}
