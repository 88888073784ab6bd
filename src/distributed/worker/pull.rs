//! Pulls items, finds out what happened to those that are delivered again, and gets their files.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use super::deaths::{self, Past};
use super::files::Files;
use super::held::HeldItem;
use super::source::ReadyItem;
use super::{Shared, TICK, report, sleep_until};
use crate::distributed::messages::{Item, ItemResult, Process, Worker};
use crate::distributed::{Error, keys, parse, schedule};
use crate::page::PageSet;
use crate::pipeline::{FileStamp, Job};
use crate::queue::{self, Lease, NewItem, PullRequest, WorkGroup};
use crate::render::Source;
use crate::store::Fingerprint;

/// How long a pull waits for items.
const EXPIRES: Duration = Duration::from_secs(2);
/// Pause after the queue failed.
const PAUSE: Duration = Duration::from_millis(200);
/// Time until an item is delivered again that cannot be processed now.
const LATER: Duration = Duration::from_secs(30);
/// The same for an item of which pages are in hand.
const SOON: Duration = Duration::from_secs(2);
/// Time between two looks at the other workers.
const LOOK_AROUND: Duration = Duration::from_secs(10);
/// Deaths of workers on a page that was alone, after which it fails.
const MAX_DEATHS: usize = 2;

pub(super) struct Puller<'a, 'q> {
    pub(super) shared: &'a Shared<'a, 'q>,
    pub(super) group: &'a WorkGroup<'q>,
    pub(super) files: &'a Files<'a>,
    pub(super) ready: SyncSender<ReadyItem<'q>>,
}

impl<'q> Puller<'_, 'q> {
    /// Pulls until the worker is stopped, or its pipeline has ended.
    pub(super) fn run(&self) {
        let shared = self.shared;
        let mut around = (Vec::new(), None::<Instant>);
        while !shared.is_stopped() && !shared.has_ended.load(Ordering::Relaxed) {
            if around.1.is_none_or(|seen| seen.elapsed() > LOOK_AROUND) {
                around = (self.other_speeds(), Some(Instant::now()));
            }
            match self.pull(&around.0) {
                Ok(leases) if leases.is_empty() => thread::sleep(TICK),
                Ok(leases) => self.take_all(leases),
                Err(cause) => {
                    shared.set_problem(Some(cause.to_string()));
                    sleep_until(shared.run.stop, PAUSE);
                }
            }
        }
    }

    /// Pulls as many items as the worker has room for.
    fn pull(&self, others: &[f64]) -> Result<Vec<Lease<'q>>, queue::Error> {
        let shared = self.shared;
        let (speed, held) = (shared.speed(), shared.held.count());
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
        let entries = self.shared.queue.workers().entries(keys::WORKER);
        let entries = entries.unwrap_or_default();
        let workers = entries
            .iter()
            .filter_map(|(_, entry)| parse::<Worker>(&entry.value));
        let is_other = |worker: &Worker| {
            worker.process.id != self.shared.process.id && worker.group == self.shared.run.group
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
            match self.shared.held.take(item, lease) {
                Ok(held) => taken.push(held),
                Err(lease) => lease.hand_back(Some(SOON)),
            }
        }
        let mut fingerprints = HashMap::new();
        for held in taken {
            if let Err(later) = self.offer(&held, &mut fingerprints) {
                self.shared.held.let_go(&held);
                held.lease.hand_back(later);
            }
        }
    }

    /// Offers an item to the pipeline, unless it ends here. An error is the time after which it should be delivered again.
    fn offer(
        &self,
        held: &Arc<HeldItem<'q>>,
        fingerprints: &mut HashMap<String, Vec<Fingerprint>>,
    ) -> Result<(), Option<Duration>> {
        let shared = self.shared;
        if shared.is_stopped() {
            return Err(None);
        }
        if held.lease.delivered() > 1 {
            let past = deaths::past(shared.queue, &held.item, &shared.process);
            match past.map_err(|cause| self.later(&cause))? {
                Past::InOtherHands => return Err(Some(SOON)),
                Past::Deaths(dead) if dead.is_empty() => {}
                Past::Deaths(dead) => {
                    if self
                        .has_ended_after(held, &dead)
                        .map_err(|cause| self.later(&cause))?
                    {
                        return Ok(());
                    }
                }
            }
            fingerprints.remove(&held.item.file);
        }
        let job = self.job(held, fingerprints)?;
        let ready = ReadyItem {
            held: Arc::clone(held),
            job,
        };
        self.ready.send(ready).map_err(|_| None)
    }

    /// Decides on an item on which workers died: one of several pages is queued again page by page; a page on which
    /// [`MAX_DEATHS`] died fails; else it is processed alone. Returns whether the item has ended.
    fn has_ended_after(&self, held: &HeldItem<'_>, dead: &[Process]) -> Result<bool, Error> {
        let (shared, item) = (self.shared, &held.item);
        let pages = item.numbers().len();
        if pages > 1 {
            let group = shared.run.group.id();
            let singles: Vec<NewItem> = item
                .single_pages()
                .map(|page| page.queued(&group))
                .collect();
            shared.queue.publish(&singles, shared.run.stop)?;
        } else if dead.len() >= MAX_DEATHS {
            let hosts: Vec<&str> = dead.iter().map(|worker| worker.host.as_str()).collect();
            let reason = format!("{} workers died on it ({})", dead.len(), hosts.join(", "));
            let result = ItemResult::failed(item, &shared.process, &reason);
            let id = report::result_id(shared, item);
            report::publish(shared, item, (&id, &result))?;
            shared.failed.fetch_add(1, Ordering::Relaxed);
        } else {
            held.is_alone.store(true, Ordering::Relaxed);
            return Ok(false);
        }
        held.lease.acknowledge()?;
        deaths::forget(shared.queue, item)?;
        shared.held.let_go(held);
        Ok(true)
    }

    /// The item as a job of the pipeline.
    fn job(
        &self,
        held: &HeldItem<'_>,
        fingerprints: &mut HashMap<String, Vec<Fingerprint>>,
    ) -> Result<Job, Option<Duration>> {
        let (run, item) = (self.shared.run, &held.item);
        if !fingerprints.contains_key(&item.file) {
            let stored = run.store.fingerprints(&item.manual);
            let stored = stored.map_err(|cause| self.later(&cause))?;
            // Those of one manual are kept: items of a manual follow each other.
            fingerprints.clear();
            fingerprints.insert(item.file.clone(), stored);
        }
        let text_profile = run.settings.embed.text_profile();
        let text_profile = text_profile.filter(|_| run.store.keeps_text_vectors());
        let mut job = Job {
            source: Source {
                manual: item.manual.clone(),
                path: (&item.path).into(),
                passwords: Vec::new(),
            },
            selection: PageSet::of(item.numbers()),
            path: (&item.path).into(),
            file: item.file.clone(),
            stamp: FileStamp::default(),
            origin: item.origin.clone(),
            fingerprints: fingerprints[&item.file]
                .iter()
                .map(|page| (page.number, page.clone()))
                .collect(),
            text_profile,
            unchanged: None,
            moved: false,
            copy: None,
            pages: Some(item.total),
        };
        let numbers = item.numbers();
        if numbers.iter().all(|&page| job.is_current(page)) {
            job.unchanged = Some(numbers.len() as u32);
            return Ok(job);
        }
        let path = self.files.locate(item, &self.shared.held.files());
        job.source.path = path.map_err(|cause| self.later(&cause))?;
        job.stamp = FileStamp::of(&job.source.path);
        self.shared.set_problem(None);
        Ok(job)
    }

    /// Notes what keeps an item from being processed here.
    fn later(&self, cause: &dyn std::error::Error) -> Option<Duration> {
        self.shared.set_problem(Some(cause.to_string()));
        Some(LATER)
    }
}
