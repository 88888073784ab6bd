//! Worker threads: the producer, the workers that describe groups of pages, the memory sampler; a panic of one ends the run.

use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::page::PageId;
use crate::vlm;

use super::Error;
use super::canary::Canary;
use super::describe_pages::{Describer, PageOutcome, PageTask};

/// Interval of the memory samples.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// What keeps a model in order between pages, in one run or several.
pub(super) struct Upkeep {
    canary: Canary,
    /// Pages processed so far.
    processed: AtomicUsize,
}

impl Upkeep {
    pub(super) fn new(canary: Canary) -> Self {
        Self {
            canary,
            processed: AtomicUsize::new(0),
        }
    }
}

/// Runs `settings.lanes` workers on the groups that `produce` sends; `record` receives their outcomes.
pub(super) fn run_workers(
    describer: &Describer<'_>,
    upkeep: &Upkeep,
    produce: impl FnOnce(SyncSender<Vec<PageTask>>, SyncSender<PageOutcome>) -> Result<(), Error> + Send,
    record: impl FnOnce(Receiver<PageOutcome>) -> Result<(), Error>,
) -> Result<(), Error> {
    let settings = describer.settings;
    let (task_sender, groups) = sync_channel(settings.lanes);
    let (outcome_sender, outcomes) = sync_channel(settings.lanes * settings.interleave);
    // Only the workers hold the receiver: when the last of them ends, for whatever reason, `produce` fails to send.
    let groups = Arc::new(Mutex::new(groups));
    let done = AtomicBool::new(false);
    let worker = Worker { describer, upkeep };
    thread::scope(|scope| {
        let producer_sender = outcome_sender.clone();
        let producer = scope.spawn(move || produce(task_sender, producer_sender));
        let sampler = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                describer.client.guard.sample();
                thread::park_timeout(SAMPLE_INTERVAL);
            }
        });
        let _end = SamplerEnd {
            done: &done,
            sampler: sampler.thread().clone(),
        };
        let workers: Vec<_> = (0..settings.lanes)
            .map(|_| {
                let (groups, outcome_sender, worker) =
                    (Arc::clone(&groups), outcome_sender.clone(), &worker);
                scope.spawn(move || run_worker(&groups, &outcome_sender, worker))
            })
            .collect();
        drop(groups);
        let last = scope.spawn(move || {
            // All of them: a panic of one must not get lost behind an error of another.
            let processed: Vec<Result<(), Error>> = workers.into_iter().map(joined).collect();
            let (outcomes, settled) = describer.settle();
            send(outcomes, &outcome_sender, describer);
            let processed: Result<(), Error> = processed.into_iter().collect();
            processed.and(settled.map_err(Error::from))
        });
        let recorded = record(outcomes);
        let (processed, produced) = (joined(last), joined(producer));
        let aborted = describer.client.result().map_err(Error::from);
        recorded.and(processed).and(produced).and(aborted)
    })
}

/// Ends the sampler when it is dropped, by a panic too: the scope waits for its threads.
struct SamplerEnd<'a> {
    done: &'a AtomicBool,
    sampler: thread::Thread,
}

impl Drop for SamplerEnd<'_> {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        self.sampler.unpark();
    }
}

/// Aborts the run when it is dropped by a panic: the other workers would describe all pages that are left.
struct AbortOnPanic<'a>(&'a Describer<'a>);

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.client.abort(None);
        }
    }
}

/// Describes groups; shared by the worker threads.
struct Worker<'a> {
    describer: &'a Describer<'a>,
    upkeep: &'a Upkeep,
}

/// A worker thread: describes one group after another. Once the run is aborted, the remaining groups are dropped.
fn run_worker(
    groups: &Mutex<Receiver<Vec<PageTask>>>,
    outcome_sender: &SyncSender<PageOutcome>,
    worker: &Worker<'_>,
) -> Result<(), Error> {
    let _abort = AbortOnPanic(worker.describer);
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
        let (redone, checked) = self.upkeep.canary.record(group, self.describer);
        send(redone, outcome_sender, self.describer);
        checked?;
        let every = self.describer.settings.unload_every;
        let before = self.upkeep.processed.fetch_add(pages, Ordering::Relaxed);
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
pub(super) fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
