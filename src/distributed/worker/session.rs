//! The time in which a worker does one kind of work: the items that it has in hand, what keeps it from working, and that it
//! lives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::choose::Chooser;
use super::held::HeldItems;
use super::{TICK, Totals, WorkerEvent, WorkerRun};
use crate::distributed::group::Group;
use crate::distributed::messages::{self, Process};
use crate::distributed::{keys, to_json};
use crate::queue::Queue;

/// Time between two notes that the worker lives.
const PRESENCE: Duration = Duration::from_secs(2);
/// Time until an item is delivered again that cannot be processed now.
pub(super) const LATER: Duration = Duration::from_secs(30);

/// What the threads of a session share.
pub(super) struct Session<'r, 'q> {
    pub(super) worker: WorkerParts<'r, 'q>,
    pub(super) queue: &'q Queue,
    pub(super) group: Group,
    /// The device of its model, or the program that runs it.
    device: String,
    /// Pages per second of an earlier run, if known.
    speed_before: Option<f64>,
    pub(super) held: HeldItems<'q>,
    problem: Mutex<Option<String>>,
    /// Whether nothing is processed any more.
    pub(super) has_ended: AtomicBool,
    /// Whether everything is told about the items that it had.
    pub(super) has_reported: AtomicBool,
}

/// What all sessions of a worker share.
#[derive(Clone, Copy)]
pub(super) struct WorkerParts<'r, 'q> {
    pub(super) run: &'r WorkerRun<'q>,
    pub(super) chooser: &'r Chooser<'r, 'q>,
    pub(super) process: &'r Process,
    pub(super) totals: &'r Totals,
}

impl<'r, 'q> Session<'r, 'q> {
    /// A session for a group, with a model on this device, or run by this program. `speed`: that of an earlier run, if known.
    pub(super) fn new(
        worker: WorkerParts<'r, 'q>,
        group: Group,
        (device, speed): (String, Option<f64>),
    ) -> Self {
        Self {
            worker,
            queue: worker.run.queue,
            group,
            device,
            speed_before: speed,
            held: HeldItems::default(),
            problem: Mutex::default(),
            has_ended: AtomicBool::new(false),
            has_reported: AtomicBool::new(false),
        }
    }

    /// Tells that the worker lives, and extends its leases while pages move.
    pub(super) fn keep_alive(&self, lease: Duration) {
        let (mut told, mut extended) = (None::<Instant>, Instant::now());
        let is_due = |last: Instant, period| last.elapsed() >= period;
        while !self.has_reported.load(Ordering::Relaxed) {
            if self.held.is_stuck(lease) {
                (self.worker.run.on_event)(WorkerEvent::Stuck);
            } else if is_due(extended, lease / 4) {
                self.held.extend();
                extended = Instant::now();
            }
            if told.is_none_or(|told| is_due(told, PRESENCE)) {
                let worker = to_json(&self.presence());
                let put = self
                    .queue
                    .workers()
                    .put(&keys::worker(&self.worker.process.id), &worker);
                self.note(put.map(drop));
                told = Some(Instant::now());
            }
            thread::sleep(TICK);
        }
    }

    /// Notes that nothing is processed any more.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.worker.run.stop.load(Ordering::Relaxed)
    }

    /// Sets what keeps the worker from working; tells it if it is new.
    pub(super) fn set_problem(&self, problem: Option<String>) {
        let mut current = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != problem {
            current.clone_from(&problem);
            drop(current);
            if let Some(problem) = problem {
                (self.worker.run.on_event)(WorkerEvent::Problem(problem));
            }
        }
    }

    /// Notes the failure of a call that is tried again later, or whose loss costs work but no page.
    pub(super) fn note<E: std::fmt::Display>(&self, result: Result<(), E>) {
        if let Err(cause) = result {
            self.set_problem(Some(cause.to_string()));
        }
    }

    /// Notes what keeps an item from being processed here; returns when it should be delivered again.
    pub(super) fn later(&self, cause: &dyn std::error::Error) -> Option<Duration> {
        self.set_problem(Some(cause.to_string()));
        Some(LATER)
    }

    /// Pages per second: as measured, or of an earlier run; 0 if unknown.
    pub(super) fn speed(&self) -> f64 {
        let measured = self.held.speed();
        measured.or(self.speed_before).unwrap_or(0.0)
    }

    fn presence(&self) -> messages::Worker {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        messages::Worker {
            process: self.worker.process.clone(),
            group: self.group.clone(),
            device: self.device.clone(),
            pages_per_second: self.speed(),
            pages: self.worker.totals.pages.load(Ordering::Relaxed),
            failed: self.worker.totals.failed.load(Ordering::Relaxed),
            in_hand: self.held.count() as u32,
            problem: problem.clone(),
        }
    }
}
