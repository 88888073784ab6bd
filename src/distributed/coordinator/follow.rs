//! The threads beside the coordinator's own: results, workers, lead.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{Coordinator, Event, RENEWAL, Shared, TICK, lock};
use crate::distributed::messages::{ItemResult, Run, RunState, Worker};
use crate::distributed::{Error, keys, parse};
use crate::pipeline::{self, Stage};

/// Time between two looks at the workers.
const LOOK: Duration = Duration::from_secs(2);
/// How long the next result is waited for.
const NEXT: Duration = Duration::from_millis(500);
/// Time without a worker after which that is told.
const NO_WORKER: Duration = Duration::from_secs(5);
/// Time without a result, while workers live, after which that is told.
const NO_RESULT: Duration = Duration::from_secs(600);

impl Coordinator<'_> {
    /// Adds each result to the tally, from the first one of the run.
    pub(super) fn follow_results(&self, shared: &Shared<'_>) {
        let results = self.queue.results(&shared.run.id);
        let mut results = match results {
            Ok(results) => results,
            Err(cause) => return fail(shared, cause.into()),
        };
        let mut last = Instant::now();
        while !shared.has_ended.load(Ordering::Relaxed) {
            match results.next(NEXT) {
                Ok(Some(message)) => {
                    last = Instant::now();
                    if let Some(result) = parse::<ItemResult>(&message.payload) {
                        self.add_result(shared, result);
                    }
                }
                Ok(None) => {
                    shared.has_caught_up.store(true, Ordering::Relaxed);
                    if last.elapsed() > NO_RESULT && !lock(&shared.workers).is_empty() {
                        last = Instant::now();
                        let minutes = NO_RESULT.as_secs() / 60;
                        self.waiting(format!("no result for {minutes} minutes"));
                    }
                }
                Err(cause) => {
                    self.waiting(cause.to_string());
                    thread::sleep(TICK);
                }
            }
        }
    }

    fn add_result(&self, shared: &Shared<'_>, result: ItemResult) {
        let host = result.worker.host.clone();
        let file = result.file.clone();
        let (news, manual) = {
            let mut tally = lock(&shared.tally);
            let news = tally.add(result);
            (news, tally.entry(&file).map(|entry| entry.manual))
        };
        if news.pages > 0 {
            let done = pipeline::Event::Done(Stage::Store, news.pages);
            (self.on_event)(Event::Pipeline(done));
        }
        let Some(manual) = manual else { return };
        for failed in news.failed {
            (self.on_event)(Event::PageFailed {
                manual: manual.clone(),
                page: failed.page,
                reason: failed.reason,
                host: host.clone(),
            });
        }
        if news.is_complete && self.may_remove_files(shared) {
            // It is removed at the end of the run otherwise.
            let _ = self.queue.remove_file(&file);
        }
    }

    /// Tells which workers live.
    pub(super) fn follow_workers(&self, shared: &Shared<'_>) {
        let mut without = Instant::now();
        while !shared.has_ended.load(Ordering::Relaxed) {
            match self.queue.workers().entries(keys::WORKER) {
                Ok(entries) => {
                    let workers = entries.iter().filter_map(|(_, entry)| parse(&entry.value));
                    let is_ours = |worker: &Worker| worker.group == shared.run.group;
                    let workers: Vec<Worker> = workers.filter(is_ours).collect();
                    if !workers.is_empty() {
                        without = Instant::now();
                    } else if without.elapsed() > NO_WORKER && lock(&shared.tally).missing > 0 {
                        self.waiting(
                            "no worker is there; start `ingest work` with the same settings"
                                .to_owned(),
                        );
                    }
                    lock(&shared.workers).clone_from(&workers);
                    (self.on_event)(Event::Workers(workers));
                }
                Err(cause) => self.waiting(cause.to_string()),
            }
            self.pause(shared, LOOK);
        }
    }

    /// Renews the lead, and looks whether the run was cancelled.
    pub(super) fn keep_lead(&self, shared: &Shared<'_>) {
        let key = keys::run(&shared.run.id);
        while !shared.has_ended.load(Ordering::Relaxed) {
            match shared.lead.renew() {
                Err(lost @ Error::LeadLost { .. }) => return fail(shared, lost),
                Err(cause) => self.waiting(cause.to_string()),
                Ok(()) => {}
            }
            let run = self.queue.runs().get(&key).ok().flatten();
            let run: Option<Run> = run.and_then(|entry| parse(&entry.value));
            if run.is_some_and(|run| run.state == RunState::Cancelled) {
                shared.is_cancelled.store(true, Ordering::Relaxed);
            }
            self.pause(shared, RENEWAL);
        }
    }

    pub(super) fn waiting(&self, why: String) {
        (self.on_event)(Event::Waiting(why));
    }

    fn pause(&self, shared: &Shared<'_>, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time && !shared.has_ended.load(Ordering::Relaxed) {
            thread::sleep(TICK);
        }
    }
}

/// Notes why the run cannot go on here.
fn fail(shared: &Shared<'_>, error: Error) {
    lock(&shared.failure).get_or_insert(error);
}
