//! The coordinator: finds the pages that the store lacks, queues them, follows the results, and checks at the end that the
//! store has what was reported. It can die at any time: the same command on any machine goes on.

mod admit;
mod describe;
mod finish;
mod follow;
mod index;
mod lead;
mod runs;
mod tally;
mod workload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::group::{Group, shortened};
use super::messages::{Process, Run, RunManual, RunState, Worker};
use super::{Error, keys, parse, to_json};
use crate::annotate::{self, DescribeStats};
use crate::config::Settings;
use crate::page::ManualId;
use crate::pipeline;
use crate::queue::Queue;
use crate::store::{Store, digest};

use describe::DescribePages;
use index::IndexFiles;
pub use index::Indexed;
use lead::{Holder, Lead};
pub use runs::{cancel, forget_ended, runs};
use tally::Tally;
pub use tally::WorkerShare;
use workload::{End, Workload};

/// Time between two renewals of the lead.
const RENEWAL: Duration = Duration::from_secs(1);
/// Time between two looks at workers and results.
const TICK: Duration = Duration::from_millis(200);

/// What happens to a distributed run.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something that happens on one machine as well.
    Pipeline(pipeline::Event),
    /// Another coordinator of the same command is at work; this one takes over if it ends.
    Standby {
        /// The machine of the other one.
        host: String,
    },
    /// The run begins, or goes on.
    Started {
        /// Its id.
        run: String,
        /// Whether an earlier coordinator began it.
        is_resumed: bool,
    },
    /// The workers of the group, told when something changed.
    Workers(Vec<Worker>),
    /// A page failed.
    PageFailed {
        /// The manual.
        manual: ManualId,
        /// The page.
        page: u32,
        /// The reason.
        reason: String,
        /// The machine that tried it.
        host: String,
    },
    /// Something keeps the run from going on, for now.
    Waiting(String),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every page has an outcome.
    Finished,
    /// It was cancelled, here or by `ingest queue cancel`.
    Cancelled,
    /// Its work is queued; nobody waits for it here.
    Detached,
}

/// The result of a coordinator.
pub struct Coordinated<S> {
    /// The run's id; empty if it has none.
    pub run: String,
    /// As of a run on one machine.
    pub stats: S,
    /// The share of each worker.
    pub workers: Vec<WorkerShare>,
    /// How it ended.
    pub outcome: Outcome,
}

/// A coordinator.
pub struct Coordinator<'a> {
    /// The settings.
    pub settings: &'a Settings,
    /// What its workers have in common.
    pub group: Group,
    /// The queue.
    pub queue: &'a Queue,
    /// The store, opened without an outbox and prepared.
    pub store: &'a dyn Store,
    /// Whether to end when all work is queued.
    pub detach: bool,
    /// Once true, the run is cancelled: what is queued is taken back, what workers have in hand is waited for.
    pub stop: &'a AtomicBool,
    /// Called from several threads.
    pub on_event: &'a (dyn Fn(Event) + Sync),
}

/// What the threads of a coordinator share.
struct Shared<'a> {
    lead: Lead<'a>,
    run: Run,
    tally: Mutex<Tally>,
    /// The workers of the group that live.
    workers: Mutex<Vec<Worker>>,
    /// Whether the results that were there at the start are in the tally.
    has_caught_up: AtomicBool,
    is_cancelled: AtomicBool,
    has_ended: AtomicBool,
    /// Why the run cannot go on here.
    failure: Mutex<Option<Error>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared<'_> {
    /// Whether nothing more is queued: the run was cancelled, or cannot go on here.
    fn is_over(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed) || lock(&self.failure).is_some()
    }

    /// Pages per second of all workers; as assumed for the workload if unknown.
    fn speed<W: Workload>(&self) -> f64 {
        let workers = lock(&self.workers);
        let speeds = workers.iter().map(|worker| worker.pages_per_second);
        match speeds.sum::<f64>() {
            speed if speed > 0.0 => speed,
            _ => W::ASSUMED_SPEED,
        }
    }
}

impl Coordinator<'_> {
    /// Indexes files: runs until every page of the request has an outcome.
    ///
    /// # Errors
    /// [`Error::Busy`] if another run fills the store; when the queue, the store or the renderer fails.
    pub fn index(&self, request: &pipeline::Request) -> Result<Coordinated<Indexed>, Error> {
        self.run(IndexFiles::new(self.settings, self.store, request))
    }

    /// Describes stored pages: runs until every page of the request that needs a description has an outcome.
    ///
    /// # Errors
    /// As [`Coordinator::index`].
    pub fn describe(
        &self,
        request: &annotate::Request,
    ) -> Result<Coordinated<DescribeStats>, Error> {
        let queue = (self.settings, self.queue);
        self.run(DescribePages::new(queue, self.store, request))
    }

    fn run<W: Workload>(&self, mut work: W) -> Result<Coordinated<W::Stats>, Error> {
        self.queue.create()?;
        self.queue
            .create_group(self.group.kind(), &self.group.id())?;
        let process = Process::this();
        let holder = |command: &str| Holder {
            process: process.clone(),
            command: command.to_owned(),
            run: String::new(),
        };
        work.discover()?;
        let command = self.command(&work);
        let Some((lead, waited)) = self.take_lead(&holder(&command))? else {
            let end = End {
                wall: 0.0,
                is_stopped: true,
            };
            work.count(&Tally::default(), end)?;
            return Ok(Coordinated {
                run: String::new(),
                stats: work.into_stats(),
                workers: Vec::new(),
                outcome: Outcome::Cancelled,
            });
        };
        // What another coordinator did meanwhile changes what is to be done.
        if waited.is_some() {
            work.discover()?;
        }
        let (run, is_resumed) = self.find_run(&command, waited.as_deref(), &process)?;
        lead.announce(&run.id)?;
        (self.on_event)(Event::Started {
            run: run.id.clone(),
            is_resumed,
        });
        self.coordinate(lead, run, work)
    }

    /// Digest of the group and what tells this command from others of it.
    fn command(&self, work: &impl Workload) -> String {
        let (group, command) = (self.group.id(), work.command());
        shortened(&digest(&[group.as_bytes(), command.as_bytes()]))
    }

    /// Waits for the lead while another coordinator of the same command holds it. Returns it with the run that the other one
    /// coordinated; `None` if this one is stopped before.
    fn take_lead(&self, holder: &Holder) -> Result<Option<(Lead<'_>, Option<String>)>, Error> {
        let mut other: Option<Holder> = None;
        while !self.stop.load(Ordering::Relaxed) {
            match Lead::take(self.queue, &self.group.store, holder.clone())? {
                Ok(lead) => return Ok(Some((lead, other.map(|other| other.run)))),
                Err(current) if current.command != holder.command => {
                    return Err(Error::Busy {
                        store: self.group.store.clone(),
                        run: match current.run.as_str() {
                            "" => "it is being prepared".to_owned(),
                            run => run.to_owned(),
                        },
                        host: current.process.host,
                    });
                }
                Err(current) => {
                    if other.is_none() {
                        let host = current.process.host.clone();
                        (self.on_event)(Event::Standby { host });
                    }
                    other = Some(current);
                }
            }
            thread::sleep(TICK);
        }
        Ok(None)
    }

    /// The run of a command: the one that another coordinator began, or a new one. Also whether it was begun before.
    fn find_run(
        &self,
        command: &str,
        waited_for: Option<&str>,
        process: &Process,
    ) -> Result<(Run, bool), Error> {
        let runs = self.queue.runs();
        let active = runs.get(&keys::active(command))?;
        let active = active.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
        let known = active.or(waited_for.map(str::to_owned));
        let known = known
            .map(|id| runs.get(&keys::run(&id)))
            .transpose()?
            .flatten();
        if let Some(run) = known.and_then(|entry| parse::<Run>(&entry.value)) {
            return Ok((run, true));
        }
        let run = Run {
            id: format!("{command}-{:04x}", fastrand::u16(..)),
            group: self.group.clone(),
            host: process.host.clone(),
            state: RunState::Running,
            manuals: 0,
        };
        runs.put(&keys::run(&run.id), &to_json(&run))?;
        runs.put(&keys::active(command), run.id.as_bytes())?;
        Ok((run, false))
    }

    fn coordinate<W: Workload>(
        &self,
        lead: Lead<'_>,
        run: Run,
        mut work: W,
    ) -> Result<Coordinated<W::Stats>, Error> {
        let start = Instant::now();
        let is_cancelled = AtomicBool::new(run.state == RunState::Cancelled);
        let shared = Shared {
            lead,
            run,
            tally: Mutex::default(),
            workers: Mutex::default(),
            has_caught_up: AtomicBool::new(false),
            is_cancelled,
            has_ended: AtomicBool::new(false),
            failure: Mutex::default(),
        };
        let result = thread::scope(|scope| {
            let ended = EndsWith(&shared.has_ended);
            scope.spawn(|| self.follow_results(&shared));
            scope.spawn(|| self.follow_workers(&shared));
            scope.spawn(|| self.keep_lead(&shared));
            let outcome = self.queue_and_wait(&shared, &mut work);
            drop(ended);
            outcome
        });
        if let Some(failure) = lock(&shared.failure).take() {
            return Err(failure);
        }
        let outcome = result?;
        let end = End {
            wall: start.elapsed().as_secs_f64(),
            is_stopped: outcome == Outcome::Cancelled,
        };
        work.count(&lock(&shared.tally), end)?;
        self.finish(&shared, outcome, &work)?;
        let workers = lock(&shared.tally).workers();
        Ok(Coordinated {
            run: shared.run.id.clone(),
            stats: work.into_stats(),
            workers,
            outcome,
        })
    }

    /// Queues all work, then waits until each page has an outcome, and queues again what the store lacks.
    fn queue_and_wait<W: Workload>(
        &self,
        shared: &Shared<'_>,
        work: &mut W,
    ) -> Result<Outcome, Error> {
        let recorded = self.recorded(shared)?;
        if shared.run.state != RunState::Running {
            let mut tally = lock(&shared.tally);
            recorded
                .into_iter()
                .for_each(|entry| tally.add_manual(entry));
            drop(tally);
            self.catch_up(shared);
            return Ok(match shared.run.state {
                RunState::Cancelled => Outcome::Cancelled,
                _ => Outcome::Finished,
            });
        }
        self.catch_up(shared);
        work.limit(&recorded);
        self.queue_all(shared, work)?;
        if self.detach && !shared.is_over() {
            return Ok(Outcome::Detached);
        }
        loop {
            self.wait(shared, || lock(&shared.tally).missing > 0);
            if shared.is_over() {
                break;
            }
            if self.queue_lost(shared, work)? == 0 {
                return Ok(Outcome::Finished);
            }
        }
        self.cancel_queued(shared)?;
        Ok(Outcome::Cancelled)
    }

    /// The manuals of the run whose pages were decided on.
    fn recorded(&self, shared: &Shared<'_>) -> Result<Vec<RunManual>, Error> {
        let entries = self.queue.runs().entries(&keys::manuals(&shared.run.id))?;
        let manuals = entries.iter().filter_map(|(_, entry)| parse(&entry.value));
        Ok(manuals.collect())
    }

    /// Waits while a condition holds, unless the run is over.
    fn wait(&self, shared: &Shared<'_>, is_to_wait: impl Fn() -> bool) {
        while is_to_wait() && !shared.is_over() {
            if self.stop.load(Ordering::Relaxed) {
                shared.is_cancelled.store(true, Ordering::Relaxed);
            }
            thread::sleep(TICK);
        }
    }

    /// Waits for the results that are in the queue already.
    fn catch_up(&self, shared: &Shared<'_>) {
        self.wait(shared, || !shared.has_caught_up.load(Ordering::Relaxed));
    }
}

/// Sets a flag when it is dropped, also by a panic.
struct EndsWith<'a>(&'a AtomicBool);

impl Drop for EndsWith<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
