//! A worker: pulls items of a group, indexes or describes their pages, and tells what became of them. It does one kind of work
//! at a time: as long as items of it wait.

mod choose;
mod deaths;
mod describe;
mod files;
mod flow;
mod held;
mod index;
mod page_writer;
mod pull;
mod report;
mod session;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Error;
use super::group::Group;
use super::messages::Process;
use crate::annotate;
use crate::config::Settings;
use crate::embed::Card;
use crate::library::Openers;
use crate::pipeline::{self, Plan};
use crate::queue::Queue;
use crate::store::Store;
use crate::vlm::{self, Runner};

use choose::{Choice, Chooser};
use session::WorkerParts;

/// Time between two looks whether the worker is to end.
const TICK: Duration = Duration::from_millis(100);

/// What happens to a worker.
#[derive(Clone, Debug)]
pub enum WorkerEvent {
    /// No run waits for workers like this one.
    Idle,
    /// Work was found.
    Working,
    /// Something of the pipeline.
    Pipeline(pipeline::Event),
    /// Something of the descriptions.
    Annotate(annotate::Event),
    /// Something keeps it from working; told again when it changes.
    Problem(String),
    /// No page moved for so long that something must hang: the process should end, so that the items go to others.
    Stuck,
}

/// What a worker did.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct WorkerStats {
    /// Pages stored or described, or found so.
    pub pages: u64,
    /// Pages that failed.
    pub failed: u64,
    /// Items with a result.
    pub items: u64,
    /// Pages per second lately, while it worked; `None` if it ended no item.
    pub pages_per_second: Option<f64>,
    /// The same of pages that it indexed.
    #[serde(skip)]
    pub indexed_per_second: Option<f64>,
    /// Seconds from start to end.
    pub wall: f64,
}

/// A worker.
pub struct WorkerRun<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// The queue.
    pub queue: &'a Queue,
    /// The store, opened without an outbox.
    pub store: &'a dyn Store,
    /// URL and collection of the store.
    pub location: &'a str,
    /// With what it indexes pages; `None` if it does not.
    pub indexing: Option<Indexer<'a>>,
    /// Opens the model with which it describes pages.
    pub runner: &'a (dyn Fn() -> Result<Box<dyn Runner>, vlm::Error> + Sync),
    /// Once true, the worker ends after the pages in hand, and hands the rest back.
    pub stop: &'a AtomicBool,
    /// Called from several threads.
    pub on_event: &'a (dyn Fn(WorkerEvent) + Sync),
}

/// With what a worker indexes pages.
pub struct Indexer<'a> {
    /// The embedding model.
    pub card: &'a Card,
    /// The memory plan.
    pub plan: &'a Plan,
    /// The group of its machine.
    pub group: Group,
    /// Pages per second of an earlier run with this model, if known.
    pub speed: Option<f64>,
    /// Gives what opens renderer and model; called once each time that it begins to index.
    pub openers: &'a (dyn Fn() -> Openers<'a> + Sync),
}

/// What a worker has done so far.
#[derive(Default)]
struct Totals {
    pages: AtomicU64,
    failed: AtomicU64,
    items: AtomicU64,
}

impl WorkerRun<'_> {
    /// Works until it is stopped.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if runs wait and it can do none of them; when a component fails.
    pub fn run(&self) -> (WorkerStats, Result<(), Error>) {
        let start = Instant::now();
        let (process, totals) = (Process::this(), Totals::default());
        let (chooser, mut stats) = (Chooser::new(self), WorkerStats::default());
        let result = loop {
            let choice = match chooser.next() {
                Ok(Some(choice)) => choice,
                Ok(None) => break Ok(()),
                Err(cause) => break Err(cause),
            };
            let worker = WorkerParts {
                run: self,
                chooser: &chooser,
                process: &process,
                totals: &totals,
            };
            let (speed, result) = match choice {
                Choice::Index(place, indexer) => {
                    let (speed, result) = index::work(worker, &place, indexer);
                    stats.indexed_per_second = speed.or(stats.indexed_per_second);
                    (speed, result)
                }
                Choice::Describe(place, group, runner) => {
                    describe::work(worker, (&place, group), &*runner)
                }
            };
            stats.pages_per_second = speed.or(stats.pages_per_second);
            if let Err(cause) = result {
                break Err(cause);
            }
        };
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let stats = WorkerStats {
            pages: count(&totals.pages),
            failed: count(&totals.failed),
            items: count(&totals.items),
            wall: start.elapsed().as_secs_f64(),
            ..stats
        };
        (stats, result)
    }
}

fn sleep_until(stop: &AtomicBool, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time && !stop.load(Ordering::Relaxed) {
        thread::sleep(TICK.min(time));
    }
}
