//! A worker: pulls items of its group, sends their pages through the pipeline into the store, and tells what became of them.

mod deaths;
mod files;
mod held;
mod page_writer;
mod pull;
mod report;
mod source;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::messages::{Group, Process, Run, RunState};
use super::{Error, keys, parse, to_json};
use crate::config::Settings;
use crate::embed::Card;
use crate::library::{Indexing, Openers};
use crate::pipeline::{self, Plan};
use crate::queue::{self, Kind, Queue, WorkGroup};
use crate::store::Store;

use files::Files;
use held::HeldItems;
use page_writer::PageWriter;
use source::ItemSource;

/// Time between two looks for a group while there is none.
const LOOK: Duration = Duration::from_secs(2);
/// Time between two notes that the worker lives.
const PRESENCE: Duration = Duration::from_secs(2);
/// Time between two looks whether the worker is to end.
const TICK: Duration = Duration::from_millis(100);
/// Items whose files are there before the pipeline takes them.
const READY: usize = 1;

/// What happens to a worker.
#[derive(Clone, Debug)]
pub enum WorkerEvent {
    /// No run waits for workers like this one.
    Idle,
    /// Work was found.
    Working,
    /// Something of the pipeline.
    Pipeline(pipeline::Event),
    /// Something keeps it from working; told again when it changes.
    Problem(String),
    /// No page moved for so long that something must hang: the process should end, so that the items go to others.
    Stuck,
}

/// What a worker did.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct WorkerStats {
    /// Pages stored, or found stored.
    pub pages: u64,
    /// Pages that failed.
    pub failed: u64,
    /// Items with a result.
    pub items: u64,
    /// Pages per second lately, while it worked; `None` if it stored none.
    pub pages_per_second: Option<f64>,
    /// Seconds from start to end.
    pub wall: f64,
}

/// A worker.
pub struct WorkerRun<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// The embedding model.
    pub card: &'a Card,
    /// The memory plan.
    pub plan: &'a Plan,
    /// The queue.
    pub queue: &'a Queue,
    /// The store, opened without an outbox.
    pub store: &'a dyn Store,
    /// Its group.
    pub group: Group,
    /// Pages per second of an earlier run with this model, if known.
    pub speed: Option<f64>,
    /// Once true, the worker ends after the batch in hand, and hands the rest back.
    pub stop: &'a AtomicBool,
    /// Called from several threads.
    pub on_event: &'a (dyn Fn(WorkerEvent) + Sync),
}

impl WorkerRun<'_> {
    /// Works until it is stopped.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if runs wait and none is of this group; when a component fails.
    pub fn run(&self, openers: Openers<'_>) -> (WorkerStats, Result<(), Error>) {
        let start = Instant::now();
        let shared = Shared {
            run: self,
            queue: self.queue,
            process: Process::this(),
            held: HeldItems::default(),
            problem: Mutex::default(),
            has_ended: AtomicBool::new(false),
            has_reported: AtomicBool::new(false),
            pages: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            items: AtomicU64::new(0),
        };
        let result = match self.wait_for_group() {
            Ok(Some(group)) => self.work(&shared, &group, openers),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let stats = WorkerStats {
            pages: count(&shared.pages),
            failed: count(&shared.failed),
            items: count(&shared.items),
            pages_per_second: shared.held.speed(),
            wall: start.elapsed().as_secs_f64(),
        };
        (stats, result)
    }

    /// The group's place in the queue, which the first coordinator makes; `None` if the worker is stopped before.
    fn wait_for_group(&self) -> Result<Option<WorkGroup<'_>>, Error> {
        let id = self.group.id();
        let mut is_idle = false;
        while !self.stop.load(Ordering::Relaxed) {
            // Before the first run of a queue nothing is there.
            let runs = match self.queue.runs().entries(keys::RUN) {
                Err(queue::Error::Missing { .. }) => Vec::new(),
                runs => runs?,
            };
            let runs = runs
                .iter()
                .filter_map(|(_, entry)| parse::<Run>(&entry.value));
            let running: Vec<Run> = runs.filter(|run| run.state == RunState::Running).collect();
            let is_mine = |run: &Run| run.group.id() == id;
            let group = match self.queue.group(Kind::Pages, &id) {
                Err(queue::Error::Missing { .. }) => None,
                group => group?,
            };
            if let Some(group) = group
                && (running.is_empty() || running.iter().any(is_mine))
            {
                return Ok(Some(group));
            }
            if let Some(other) = running.first().filter(|_| !running.iter().any(is_mine)) {
                return Err(mismatch(&self.group, other));
            }
            if !is_idle {
                (self.on_event)(WorkerEvent::Idle);
                is_idle = true;
            }
            sleep_until(self.stop, LOOK);
        }
        Ok(None)
    }

    fn work<'q>(
        &'q self,
        shared: &Shared<'q, 'q>,
        group: &WorkGroup<'q>,
        openers: Openers<'_>,
    ) -> Result<(), Error> {
        (self.on_event)(WorkerEvent::Working);
        let on_wait = |why: &str| {
            shared.held.moved();
            shared.set_problem(Some(format!("the store is away: {why}")));
        };
        let writer = PageWriter::new(self.store, self.stop, &on_wait);
        let files = Files::new(self.queue, &self.settings.queue);
        let (ready, to_process) = sync_channel(READY);
        let (ended, to_report) = channel();
        let flowed = thread::scope(|scope| {
            let puller = pull::Puller {
                shared,
                group,
                files: &files,
                ready,
            };
            scope.spawn(move || puller.run());
            scope.spawn(|| {
                report::report(shared, &writer, to_report);
                shared.has_reported.store(true, Ordering::Relaxed);
            });
            scope.spawn(|| self.keep_alive(shared, group.lease()));
            let indexing = Indexing {
                settings: self.settings,
                card: self.card,
                plan: self.plan,
                store: &writer,
            };
            let source = ItemSource {
                shared,
                ready: to_process,
                next: None,
                ended,
            };
            let flowed = indexing.run_flow(openers, source);
            shared.has_ended.store(true, Ordering::Relaxed);
            flowed
        });
        let key = keys::worker(&shared.process.id);
        shared.note(self.queue.workers().delete(&key));
        Ok(flowed?)
    }

    /// Tells that the worker lives, and extends its leases while pages move.
    fn keep_alive(&self, shared: &Shared<'_, '_>, lease: Duration) {
        let (mut told, mut extended) = (None::<Instant>, Instant::now());
        let is_due = |last: Instant, period| last.elapsed() >= period;
        while !shared.has_reported.load(Ordering::Relaxed) {
            if shared.held.is_stuck(lease) {
                (self.on_event)(WorkerEvent::Stuck);
            } else if is_due(extended, lease / 4) {
                shared.held.extend();
                extended = Instant::now();
            }
            if told.is_none_or(|told| is_due(told, PRESENCE)) {
                let worker = to_json(&shared.presence());
                let put = self
                    .queue
                    .workers()
                    .put(&keys::worker(&shared.process.id), &worker);
                shared.note(put.map(drop));
                told = Some(Instant::now());
            }
            thread::sleep(TICK);
        }
    }
}

/// The error of a worker that can do none of the runs.
fn mismatch(group: &Group, run: &Run) -> Error {
    let differences = group.differences(&run.group);
    let lines: Vec<String> = differences
        .iter()
        .map(|(name, here, there)| format!("{name} is `{here}` here and `{there}` there"))
        .collect();
    Error::Mismatch {
        run: run.id.clone(),
        differences: lines.join("; "),
    }
}

fn sleep_until(stop: &AtomicBool, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time && !stop.load(Ordering::Relaxed) {
        thread::sleep(TICK.min(time));
    }
}

/// What the threads of a worker share.
struct Shared<'a, 'q> {
    run: &'a WorkerRun<'a>,
    queue: &'q Queue,
    process: Process,
    held: HeldItems<'q>,
    problem: Mutex<Option<String>>,
    /// Whether the pipeline has ended.
    has_ended: AtomicBool,
    /// Whether everything is told about the items that it had.
    has_reported: AtomicBool,
    pages: AtomicU64,
    failed: AtomicU64,
    items: AtomicU64,
}

impl Shared<'_, '_> {
    fn is_stopped(&self) -> bool {
        self.run.stop.load(Ordering::Relaxed)
    }

    fn tell(&self, event: pipeline::Event) {
        (self.run.on_event)(WorkerEvent::Pipeline(event));
    }

    /// Sets what keeps the worker from working; tells it if it is new.
    fn set_problem(&self, problem: Option<String>) {
        let mut current = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != problem {
            current.clone_from(&problem);
            drop(current);
            if let Some(problem) = problem {
                (self.run.on_event)(WorkerEvent::Problem(problem));
            }
        }
    }

    /// Notes the failure of a call that is tried again later, or whose loss costs work but no page.
    fn note<E: std::fmt::Display>(&self, result: Result<(), E>) {
        if let Err(cause) = result {
            self.set_problem(Some(cause.to_string()));
        }
    }

    /// Pages per second: as measured, or of an earlier run; 0 if unknown.
    fn speed(&self) -> f64 {
        let measured = self.held.speed();
        measured.or(self.run.speed).unwrap_or(0.0)
    }

    fn presence(&self) -> super::Worker {
        super::Worker {
            process: self.process.clone(),
            group: self.run.group.clone(),
            device: self.run.card.device.to_string(),
            pages_per_second: self.speed(),
            pages: self.pages.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            in_hand: self.held.count() as u32,
            problem: self
                .problem
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}
