//! Pulls items, finds out what happened to those that are delivered again, and makes them ready.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use super::choose::LOOK;
use super::deaths::{self, Past};
use super::held::HeldItem;
use super::session::{LATER, Session};
use super::{TICK, report, sleep_until};
use crate::distributed::messages::{Item, ItemResult, Process, Run, RunState, Worker};
use crate::distributed::{Error, keys, parse, schedule};
use crate::queue::{self, Lease, NewItem, PullRequest, WorkGroup};
use crate::store::Fingerprint;

/// How long a pull waits for items.
const EXPIRES: Duration = Duration::from_secs(2);
/// Pause after the queue failed.
const PAUSE: Duration = Duration::from_millis(200);
/// Time until an item is delivered again of which pages are in hand.
const SOON: Duration = Duration::from_secs(2);
/// Time between two looks at the other workers.
const LOOK_AROUND: Duration = Duration::from_secs(10);
/// Deaths of workers on a page that was alone, after which it fails.
const MAX_DEATHS: usize = 2;

/// Fingerprints of the pages of the manual whose items are taken, by its file.
pub(super) type Fingerprints = HashMap<String, Vec<Fingerprint>>;

/// Makes of an item what is needed to process it. An error is the time after which the item should be delivered again.
pub(super) type Prepare<'p, J> =
    dyn Fn(&HeldItem<'_>, &mut Fingerprints) -> Result<J, Option<Duration>> + Sync + 'p;

/// An item that can be processed.
pub(super) struct ReadyItem<'q, J> {
    pub(super) held: Arc<HeldItem<'q>>,
    pub(super) job: J,
}

pub(super) struct Puller<'a, 'q, J> {
    pub(super) session: &'a Session<'a, 'q>,
    pub(super) group: &'a WorkGroup<'q>,
    pub(super) prepare: &'a Prepare<'a, J>,
    pub(super) ready: SyncSender<ReadyItem<'q, J>>,
}

impl<'q, J> Puller<'_, 'q, J> {
    /// Pulls until the worker is stopped, nothing is processed any more, or other work waits and none of this kind.
    pub(super) fn run(&self) {
        let session = self.session;
        let (mut around, mut looked) = ((Vec::new(), None::<Instant>), Instant::now());
        while !session.is_stopped() && !session.has_ended.load(Ordering::Relaxed) {
            if around.1.is_none_or(|seen| seen.elapsed() > LOOK_AROUND) {
                around = (self.other_speeds(), Some(Instant::now()));
            }
            match self.pull(&around.0) {
                Ok(leases) if leases.is_empty() => {
                    if session.held.count() == 0 && looked.elapsed() > LOOK {
                        looked = Instant::now();
                        if self.is_to_change() {
                            return;
                        }
                    }
                    thread::sleep(TICK);
                }
                Ok(leases) => self.take_all(leases),
                Err(cause) => {
                    session.set_problem(Some(cause.to_string()));
                    sleep_until(session.worker.run.stop, PAUSE);
                }
            }
        }
    }

    /// Whether other work waits, and none of this kind.
    fn is_to_change(&self) -> bool {
        let is_empty = self.group.backlog().is_ok_and(|items| items.queued == 0);
        let chooser = self.session.worker.chooser;
        let kind = self.session.group.kind();
        is_empty && chooser.has_other_work(kind).unwrap_or(false)
    }

    /// Pulls as many items as the worker has room for.
    fn pull(&self, others: &[f64]) -> Result<Vec<Lease<'q>>, queue::Error> {
        let session = self.session;
        let (speed, held) = (session.speed(), session.held.count());
        // The number of queued items matters only if there is room at all.
        if schedule::held_items(speed, others, u64::MAX) <= held {
            return Ok(Vec::new());
        }
        let queued = self.group.backlog()?.queued;
        let room = schedule::held_items(speed, others, queued).saturating_sub(held);
        if room == 0 {
            return Ok(Vec::new());
        }
        self.group.pull(PullRequest {
            items: room,
            expires: EXPIRES,
            min_pending: schedule::min_pending(speed, others),
        })
    }

    /// The speeds of the other workers of the group.
    fn other_speeds(&self) -> Vec<f64> {
        let session = self.session;
        let entries = session.queue.workers().entries(keys::WORKER);
        let entries = entries.unwrap_or_default();
        let workers = entries
            .iter()
            .filter_map(|(_, entry)| parse::<Worker>(&entry.value));
        let is_other = |worker: &Worker| {
            worker.process.id != session.worker.process.id && worker.group == session.group
        };
        workers
            .filter(is_other)
            .map(|worker| worker.pages_per_second)
            .collect()
    }

    /// Takes all items in hand first, so that their leases are extended while their files are fetched.
    fn take_all(&self, leases: Vec<Lease<'q>>) {
        let mut taken = Vec::new();
        for lease in leases {
            let Some(item) = parse::<Item>(lease.payload()) else {
                lease.hand_back(Some(LATER));
                continue;
            };
            match self.session.held.take(item, lease) {
                Ok(held) => taken.push(held),
                Err(lease) => lease.hand_back(Some(SOON)),
            }
        }
        let mut fingerprints = HashMap::new();
        for held in taken {
            if let Err(later) = self.offer(&held, &mut fingerprints) {
                self.session.held.let_go(&held);
                held.lease.hand_back(later);
            }
        }
    }

    /// Offers an item for processing, unless it ends here. An error is the time after which it should be delivered again.
    fn offer(
        &self,
        held: &Arc<HeldItem<'q>>,
        fingerprints: &mut Fingerprints,
    ) -> Result<(), Option<Duration>> {
        let session = self.session;
        if session.is_stopped() {
            return Err(None);
        }
        if held.lease.delivered() > 1 {
            if self.is_over(held)? {
                return Ok(());
            }
            fingerprints.remove(&held.item.file);
        }
        let job = (self.prepare)(held, fingerprints)?;
        let held = Arc::clone(held);
        self.ready.send(ReadyItem { held, job }).map_err(|_| None)
    }

    /// Decides on an item that is delivered again. Returns whether it has ended.
    fn is_over(&self, held: &HeldItem<'_>) -> Result<bool, Option<Duration>> {
        let (session, item) = (self.session, &held.item);
        let later = |cause: Error| session.later(&cause);
        let run = session.queue.runs().get(&keys::run(&item.run));
        let run = run.map_err(|cause| later(cause.into()))?;
        let run = run.and_then(|entry| parse::<Run>(&entry.value));
        if run.is_none_or(|run| run.state != RunState::Running) {
            self.end(held).map_err(later)?;
            return Ok(true);
        }
        let past = deaths::past(session.queue, item, session.worker.process);
        match past.map_err(|cause| later(cause.into()))? {
            Past::InOtherHands => Err(Some(SOON)),
            Past::Deaths(dead) if dead.is_empty() => Ok(false),
            Past::Deaths(dead) => self.has_ended_after(held, &dead).map_err(later),
        }
    }

    /// Decides on an item on which workers died: one of several pages is queued again page by page; a page on which
    /// [`MAX_DEATHS`] died fails; else it is processed alone. Returns whether the item has ended.
    fn has_ended_after(&self, held: &HeldItem<'_>, dead: &[Process]) -> Result<bool, Error> {
        let (session, item) = (self.session, &held.item);
        let pages = item.numbers().len();
        if pages > 1 {
            let singles = item.single_pages();
            let singles: Vec<NewItem> = singles.map(|page| page.queued(&session.group)).collect();
            session.queue.publish(&singles, session.worker.run.stop)?;
        } else if dead.len() >= MAX_DEATHS {
            let hosts: Vec<&str> = dead.iter().map(|worker| worker.host.as_str()).collect();
            let reason = format!("{} workers died on it ({})", dead.len(), hosts.join(", "));
            let result = ItemResult::failed(item, session.worker.process, &reason);
            let id = report::result_id(session, item);
            report::publish(session, item, (&id, &result))?;
            let failed = &session.worker.totals.failed;
            failed.fetch_add(1, Ordering::Relaxed);
        } else {
            held.is_alone.store(true, Ordering::Relaxed);
            return Ok(false);
        }
        self.end(held)?;
        Ok(true)
    }

    /// Ends an item whose outcome is told, or that nobody waits for any more.
    fn end(&self, held: &HeldItem<'_>) -> Result<(), Error> {
        held.lease.acknowledge()?;
        deaths::forget(self.session.queue, &held.item)?;
        self.session.held.let_go(held);
        Ok(())
    }
}
