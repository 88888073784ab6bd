//! Describing: renders stored pages again, describes them with a vision-language model, and stores the descriptions.
//!
//! Blank pages and near-duplicates need no model. The others are queued for workers, each of which sends one page, or a
//! few, per request.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::page::PageId;
use crate::render::{self, Renderer};
use crate::store::{self, Store};
use crate::vlm::{self, Runner};

mod benchmark;
mod canary;
mod describe_pages;
mod duplicates;
mod jpeg;
mod memory_guard;
mod produce;
mod record;
mod request_sender;
mod retrying_client;
mod select;

pub use benchmark::{DescribeResult, Round, Trial};
pub use select::{Redo, Request};

use canary::Canary;
use describe_pages::{Describer, PageOutcome, PageTask};
use memory_guard::MemoryGuard;
use retrying_client::RetryingClient;

/// Interval of the memory samples.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Concurrent requests.
    pub lanes: usize,
    /// Pages per request.
    pub interleave: usize,
    /// Maximum tokens of the description of a page.
    pub max_tokens: u32,
    /// Maximum time per page.
    pub deadline: Duration,
    /// Attempts per page before it has failed.
    pub attempts: u32,
    /// Pages after which the model is unloaded, and so reloaded; 0: never.
    pub unload_every: usize,
    /// Pages between two checks that the model still describes the canary page the same way; 0: never.
    pub canary_every: usize,
    /// Memory limit of the model, in bytes.
    pub memory: u64,
}

/// Returns the memory that the model uses, in bytes; `None` if unknown.
pub type Gauge<'a> = dyn Fn() -> Option<u64> + Sync + 'a;

/// The renderer, the model, the store and the memory gauge of a run.
pub struct Components<'a> {
    /// Opens the renderer.
    pub renderer: Box<dyn FnOnce() -> Result<Box<dyn Renderer>, render::Error> + Send + 'a>,
    /// The model.
    pub runner: &'a dyn Runner,
    /// The store with the pages.
    pub store: &'a dyn Store,
    /// Measures the memory of the model.
    pub gauge: &'a Gauge<'a>,
}

/// A component failed: the run ends, stored descriptions stay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The renderer failed.
    #[error(transparent)]
    Render(#[from] render::Error),
    /// The runner failed.
    #[error(transparent)]
    Describe(#[from] vlm::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// An event of a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// This many pages were selected.
    Selected(usize),
    /// A page is done: described, failed, blank or a near-duplicate.
    Done(PageId),
    /// A page is tried again, for this reason.
    Retried(PageId, String),
    /// A request was completed.
    Completed(Exchange),
    /// A message for the user.
    Note(String),
}

/// Timing and token counts of a completed request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exchange {
    /// Time to first token (TTFT), in seconds.
    pub ttft: f64,
    /// Seconds to the end of the response.
    pub seconds: f64,
    /// Finish reason and token counts, as reported by the runner.
    pub finish: vlm::Finish,
}

/// Statistics of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DescribeStats {
    /// Pages described.
    pub described: u32,
    /// Near-duplicates that received the description of their original.
    #[serde(rename = "twins")]
    pub duplicates: u32,
    /// Blank pages, which need no description.
    pub blank: u32,
    /// Pages that had a description already.
    #[serde(rename = "kept")]
    pub unchanged: u32,
    /// Those among them that failed in an earlier run.
    #[serde(skip)]
    pub failed_before: u32,
    /// Pages that failed.
    pub failed: Vec<Failure>,
    /// Manuals that could not be read, with the reason.
    pub manuals: BTreeMap<String, String>,
    /// Whether one of them is protected by a password that was not given.
    #[serde(skip)]
    pub needs_password: bool,
    /// Number of retries by failure class.
    pub retries: BTreeMap<String, u32>,
    /// Tokens generated.
    pub tokens: u64,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Peak memory of the model in bytes; `None` if unknown.
    pub memory: Option<u64>,
    /// Whether the run was stopped before its end.
    pub stopped: bool,
}

/// A page that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The page.
    pub page: String,
    /// The failure class.
    pub class: String,
    /// The reason, for people.
    pub why: String,
}

impl DescribeStats {
    /// The exit code: 0 if nothing failed, 1 if something did, 2 if something did and no requested page has a
    /// description. `ended`: an error ended the run; then descriptions of earlier runs do not count.
    pub fn exit_code(&self, ended: bool) -> u8 {
        let failed = ended || self.stopped || !self.failed.is_empty() || !self.manuals.is_empty();
        let earlier = match ended {
            true => 0,
            false => self.unchanged - self.failed_before,
        };
        match (failed, self.described + self.duplicates + earlier) {
            (false, _) => 0,
            (true, 0) => 2,
            (true, _) => 1,
        }
    }
}

/// Describes stored pages. `stop`, once true, ends the run after the pages in flight.
///
/// The statistics are valid on errors too: pages counted as described are in the store.
pub fn annotate(
    components: Components<'_>,
    request: &Request,
    settings: &Settings,
    stop: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> (DescribeStats, Result<(), Error>) {
    let start = Instant::now();
    let mut stats = DescribeStats::default();
    let context = RunContext {
        settings,
        stop,
        on_event,
    };
    let result = run(components, request, &context, &mut stats);
    stats.seconds = start.elapsed().as_secs_f64();
    stats.stopped = stop.load(Ordering::Relaxed);
    (stats, result)
}

/// Settings, stop flag and event callback of a run.
struct RunContext<'a> {
    settings: &'a Settings,
    stop: &'a AtomicBool,
    on_event: &'a (dyn Fn(Event) + Sync),
}

fn run(
    components: Components<'_>,
    request: &Request,
    context: &RunContext<'_>,
    stats: &mut DescribeStats,
) -> Result<(), Error> {
    let &RunContext {
        settings,
        stop,
        on_event,
    } = context;
    let selection = select::select_pages(components.store, request)?;
    stats.unchanged = selection.unchanged;
    stats.failed_before = selection.failed_before;
    let jobs = selection.jobs;
    let selected = jobs.iter().map(|job| job.pages.len()).sum();
    on_event(Event::Selected(selected));
    let unloads = components.runner.card().can_unload;
    if settings.unload_every > 0 && !unloads {
        let why = "this server cannot unload its model: `unload_every` has no effect";
        on_event(Event::Note(why.to_owned()));
    }
    let guard = MemoryGuard::new(components.gauge, settings.memory, unloads);
    let aborted = AtomicBool::new(false);
    let client = RetryingClient::new(components.runner, settings, &guard, &aborted, on_event);
    let describer = Describer::new(client);
    // With too few pages for one interval the check has no effect.
    let every = settings.canary_every;
    let canary = Canary::new(if selected > every { every } else { 0 });
    let (stop_flags, renderer) = ([stop, &aborted], components.renderer);
    let result = run_workers(
        &describer,
        canary,
        |task_sender, outcome_sender| {
            let producer = produce::PageProducer {
                interleave: settings.interleave,
                passwords: &request.passwords,
                stop: stop_flags,
                task_sender,
                outcome_sender,
            };
            producer.run(renderer, &jobs)
        },
        |outcomes| {
            let model = &components.runner.card().model;
            record::record_results(components.store, model, outcomes, stats, on_event)
        },
    );
    stats.memory = guard.peak();
    result
}

/// Runs `settings.lanes` workers on the groups that `produce` sends; `record` receives their outcomes.
fn run_workers(
    describer: &Describer<'_>,
    canary: Canary,
    produce: impl FnOnce(SyncSender<Vec<PageTask>>, SyncSender<PageOutcome>) -> Result<(), Error> + Send,
    record: impl FnOnce(Receiver<PageOutcome>) -> Result<(), Error>,
) -> Result<(), Error> {
    let settings = describer.client.settings;
    let (task_sender, groups) = sync_channel(settings.lanes);
    let (outcome_sender, outcomes) = sync_channel(settings.lanes * settings.interleave);
    // Only the workers hold the receiver: when the last of them ends, for whatever reason, `produce` fails to send.
    let groups = Arc::new(Mutex::new(groups));
    let done = AtomicBool::new(false);
    let worker = Worker {
        describer,
        canary,
        processed: AtomicUsize::new(0),
    };
    thread::scope(|scope| {
        let producer_sender = outcome_sender.clone();
        let producer = scope.spawn(move || produce(task_sender, producer_sender));
        let sampler = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                describer.client.guard.sample();
                thread::park_timeout(SAMPLE_INTERVAL);
            }
        });
        let workers: Vec<_> = (0..settings.lanes)
            .map(|_| {
                let (groups, outcome_sender, worker) =
                    (Arc::clone(&groups), outcome_sender.clone(), &worker);
                scope.spawn(move || run_worker(&groups, &outcome_sender, worker))
            })
            .collect();
        drop(groups);
        let last = scope.spawn(move || {
            let processed: Result<Vec<()>, Error> = workers.into_iter().map(joined).collect();
            let (outcomes, settled) = describer.settle();
            send(outcomes, &outcome_sender, describer);
            processed.and(settled.map_err(Error::from))
        });
        let recorded = record(outcomes);
        let (last, producer) = (last.join(), producer.join());
        // Before a panic of a thread goes on here: the scope waits for the sampler.
        done.store(true, Ordering::Relaxed);
        sampler.thread().unpark();
        let processed = last.unwrap_or_else(|panic| resume_unwind(panic));
        let produced = producer.unwrap_or_else(|panic| resume_unwind(panic));
        let aborted = describer.client.result().map_err(Error::from);
        recorded.and(processed).and(produced).and(aborted)
    })
}

/// Describes groups; shared by the worker threads.
struct Worker<'a> {
    describer: &'a Describer<'a>,
    canary: Canary,
    /// Pages processed so far.
    processed: AtomicUsize,
}

/// A worker thread: describes one group after another. Once the run is aborted, the remaining groups are dropped.
fn run_worker(
    groups: &Mutex<Receiver<Vec<PageTask>>>,
    outcome_sender: &SyncSender<PageOutcome>,
    worker: &Worker<'_>,
) -> Result<(), Error> {
    let mut result = Ok(());
    while let Some(group) = receive(groups) {
        if let Err(cause) = worker.describe(group, outcome_sender) {
            result = result.and(Err(cause.into()));
        }
    }
    result
}

impl Worker<'_> {
    /// Describes a group, sends the outcomes, and runs the canary check and the periodic unload.
    fn describe(
        &self,
        mut group: Vec<PageTask>,
        outcome_sender: &SyncSender<PageOutcome>,
    ) -> Result<(), vlm::Error> {
        let (outcomes, result) = self.describer.describe(group.clone());
        let described: HashSet<PageId> =
            outcomes.iter().filter_map(PageOutcome::described).collect();
        send(outcomes, outcome_sender, self.describer);
        let pages = group.len();
        group.retain(|task| described.contains(&task.id));
        // The canary gets pages after their outcomes were sent, so that outcomes of a second pass arrive later.
        result?;
        let (redone, checked) = self.canary.record(group, self.describer);
        send(redone, outcome_sender, self.describer);
        checked?;
        let every = self.describer.client.settings.unload_every;
        let before = self.processed.fetch_add(pages, Ordering::Relaxed);
        if every > 0 && before / every < (before + pages) / every {
            self.describer.client.unload_model();
        }
        Ok(())
    }
}

/// Sends outcomes to the recorder; aborts the run if that has ended.
fn send(
    outcomes: Vec<PageOutcome>,
    outcome_sender: &SyncSender<PageOutcome>,
    describer: &Describer<'_>,
) {
    if outcomes
        .into_iter()
        .any(|outcome| outcome_sender.send(outcome).is_err())
    {
        describer.client.abort(None);
    }
}

/// Receives the next group; `None` at the end.
fn receive<T>(groups: &Mutex<Receiver<T>>) -> Option<T> {
    let groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
    groups.recv().ok()
}

/// Returns the result of a thread; resumes its panic here.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
