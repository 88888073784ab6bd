//! `ingest FILE… --queue URL`: coordinates a run of many machines.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;

use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::distributed::{
    self, Coordinated, Coordinator, Event, Indexed, Outcome, Worker, WorkerShare,
};
use crate::embed::Card;
use crate::pipeline::{Request, RunStats, Stage};
use crate::reports::table::fitted;
use crate::store::{CollectionSelector, Index};
use crate::units::{PagesPerSecond, pages};

use super::interrupt::{self, STOP};
use super::progress::Progress;
use super::run::{nothing_stored, print_left_out, print_upgrade, summary};
use super::ui::{Ui, table_columns};

/// Pages above which a raw index of a server takes them slower than one machine makes them.
const MAX_RAW_PAGES: u64 = 5_000;

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Report<'a> {
    run: &'a str,
    #[serde(flatten)]
    stats: &'a RunStats,
    workers: &'a [WorkerShare],
}

pub(super) fn run(
    ui: &mut Ui,
    settings: &Settings,
    card: &Card,
    (request, detach): (&Request, bool),
) -> Result<ExitCode, Diagnostic> {
    let queue = distributed::connect(settings).map_err(nothing_stored)?;
    let selector = CollectionSelector::Profile(&card.profile);
    let opened = distributed::open_store(settings, selector).map_err(nothing_stored)?;
    print_upgrade(ui, &opened);
    opened
        .store
        .prepare(&card.profile)
        .map_err(nothing_stored)?;
    if let Some(note) = &opened.note {
        ui.info(format!("{}: {note}", opened.location));
    }
    if settings.store.index == Some(Index::Raw) && settings.store.expected_pages > MAX_RAW_PAGES {
        ui.warn("the index `raw` takes some five pages a second from all machines together; `store.index = \"muvera\"` takes hundreds");
    }
    interrupt::install_handler()?;
    let observer = Observer::new(ui, Progress::new(ui, &[Stage::Store]));
    let coordinator = Coordinator {
        settings,
        group: distributed::index_group(settings, card, &opened),
        queue: &queue,
        store: &*opened.store,
        detach,
        stop: &STOP,
        on_event: &|event| observer.on_event(event),
    };
    let result = coordinator.index(request);
    observer.finish();
    let coordinated = result?;
    print_left_out(ui, &coordinated.stats.left_out);
    ui.words_hint(&request.paths);
    print(ui, &coordinated)?;
    Ok(match coordinated.outcome {
        Outcome::Detached => 0,
        Outcome::Finished | Outcome::Cancelled => coordinated.stats.stats.exit_code(),
    }
    .into())
}

/// Passwords cannot be used with a queue.
pub(super) fn reject_passwords(passwords: &[String]) -> Result<(), Diagnostic> {
    match passwords {
        [] => Ok(()),
        _ => Err(
            Diagnostic::usage("a password cannot be used with a queue").hint(
                "it would be readable on the queue's disk: use the protected files without --queue",
            ),
        ),
    }
}

/// An option that only a run of many machines has.
pub(super) fn reject_detach(detach: bool) -> Result<(), Diagnostic> {
    match detach {
        true => Err(Diagnostic::usage("--detach needs a queue")
            .hint("`--queue nats://HOST:4222`, or `queue.url` in the settings")),
        false => Ok(()),
    }
}

fn print(ui: &Ui, coordinated: &Coordinated<Indexed>) -> Result<(), Diagnostic> {
    let Coordinated {
        run,
        stats: Indexed { stats, .. },
        workers,
        outcome,
    } = coordinated;
    if ui.json {
        return ui.json(&Report {
            run,
            stats,
            workers,
        });
    }
    match outcome {
        Outcome::Detached => return print_detached(ui, run),
        Outcome::Cancelled => ui.warn("stopped; run the same command again to resume"),
        Outcome::Finished => {}
    }
    if ui.quiet() {
        return Ok(());
    }
    ui.text(summary(stats))?;
    print_workers(ui, workers)
}

/// Prints that the work of a run is queued.
pub(super) fn print_detached(ui: &Ui, run: &str) -> Result<(), Diagnostic> {
    ui.data(format!("run {run}: all work is queued"))?;
    ui.info("the same command follows it; `ingest queue status` shows it");
    Ok(())
}

/// Prints the share of each worker, if there is one.
pub(super) fn print_workers(ui: &Ui, workers: &[WorkerShare]) -> Result<(), Diagnostic> {
    if workers.is_empty() {
        return Ok(());
    }
    let row = |share: &WorkerShare| {
        let counts = [share.items, share.pages, share.failed].map(|count| count.to_string());
        [
            vec![share.host.clone(), share.worker.clone()],
            counts.to_vec(),
        ]
        .concat()
    };
    let rows: Vec<Vec<String>> = workers.iter().map(row).collect();
    let header = ["machine", "worker", "items", "pages", "failed"];
    ui.text(format!("\n{}", fitted(&header, &rows, table_columns())))
}

/// Shows what happens.
pub(super) struct Observer<'a> {
    ui: &'a Ui,
    progress: Progress<'a>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The workers that live, by id, each with what keeps it from working.
    workers: BTreeMap<String, (String, Option<String>)>,
    waiting: String,
}

impl<'a> Observer<'a> {
    pub(super) fn new(ui: &'a Ui, progress: Progress<'a>) -> Self {
        Self {
            ui,
            progress,
            state: Mutex::default(),
        }
    }

    pub(super) fn finish(&self) {
        self.progress.finish();
    }

    pub(super) fn on_event(&self, event: Event) {
        match event {
            Event::Pipeline(event) => self.progress.on_event(&event),
            Event::Standby { host } => self.ui.info(format!(
                "{host} coordinates this run; this machine takes over if it stops"
            )),
            Event::Started {
                run,
                is_resumed: true,
            } => self.ui.info(format!("run {run} goes on")),
            Event::Started {
                run,
                is_resumed: false,
            } => self.ui.info(format!("run {run}")),
            Event::Workers(workers) => self.show_workers(&workers),
            Event::PageFailed {
                manual,
                page,
                reason,
                host,
            } => {
                self.ui
                    .warn(format!("{manual}, page {page}: {reason} (on {host})"));
            }
            Event::Waiting(why) => {
                let mut state = lock(&self.state);
                if state.waiting != why {
                    self.ui.warn(&why);
                    state.waiting = why;
                }
            }
        }
    }

    /// Tells which workers came, went, or have a problem.
    fn show_workers(&self, workers: &[Worker]) {
        let mut state = lock(&self.state);
        let now: BTreeMap<String, (String, Option<String>)> = workers
            .iter()
            .map(|worker| {
                let told = (worker.process.host.clone(), worker.problem.clone());
                (worker.process.id.clone(), told)
            })
            .collect();
        for worker in workers {
            let id = &worker.process.id;
            let before = state.workers.get(id);
            if before.is_none() {
                let rate = PagesPerSecond(worker.pages_per_second);
                let speed = if worker.pages_per_second > 0.0 {
                    format!(", {rate}")
                } else {
                    String::new()
                };
                self.ui
                    .info(format!("worker {id} on {}{speed}", worker.device));
            }
            if let Some(problem) = &worker.problem
                && before.is_none_or(|(_, before)| before.as_ref() != Some(problem))
            {
                self.ui.warn(format!("worker {id}: {problem}"));
            }
            self.ui.detail(format!(
                "worker {id}: {}, {} in hand",
                pages(worker.pages),
                worker.in_hand
            ));
        }
        for id in state.workers.keys().filter(|id| !now.contains_key(*id)) {
            self.ui.info(format!("worker {id} is gone"));
        }
        state.workers = now;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
