//! Queues the work of a run: counts the pages of each file, writes the record of its manual, makes the file reachable, and
//! queues its pages in items.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::{Coordinator, Event, Shared, lock};
use crate::distributed::messages::{Item, RunManual, numbers};
use crate::distributed::{Error, keys, parse, schedule, to_json};
use crate::page::PageSet;
use crate::pipeline::{self, Input, Inputs, Job, RunStats};
use crate::queue::{self, FileAccess};
use crate::render::{self, Renderer};
use crate::store::ManualCard;

/// Time between two looks whether the queue has room for a file.
const ROOM: Duration = Duration::from_secs(2);
/// Rounds in which pages are queued again that were reported as stored and are not.
const ROUNDS: u32 = 2;

/// A manual whose items are to be queued.
struct Admitted<'a> {
    job: &'a Job,
    entry: RunManual,
    /// Whether its items were decided on by an earlier coordinator.
    is_known: bool,
    /// Its pages to process.
    todo: Vec<u32>,
}

impl Coordinator<'_> {
    /// Queues all pages that are not up to date.
    pub(super) fn queue_all(
        &self,
        shared: &Shared<'_>,
        inputs: &Inputs,
        stats: &mut RunStats,
    ) -> Result<(), Error> {
        let mut renderer: Option<Box<dyn Renderer>> = None;
        let mut upcoming = schedule::Upcoming::default();
        for (index, input) in inputs.items.iter().enumerate() {
            if shared.is_over() || self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let job = match input {
                Input::Job(job) => job,
                Input::Twin(_) => continue,
                Input::Rejected(rejected) => {
                    self.manual_failed(stats, index, rejected.why.clone(), None);
                    continue;
                }
            };
            match self.admit(shared, job, &mut renderer)? {
                Ok(None) => {}
                Ok(Some(manual)) => {
                    let pages = manual.todo.len();
                    upcoming.push(manual, pages);
                }
                Err(NotAdmitted { why, cause }) => self.manual_failed(stats, index, why, cause),
            }
            while let Some(manual) = upcoming.next(shared.speed()) {
                self.queue_manual(shared, manual, 0)?;
            }
        }
        for (manual, small) in upcoming.rest(shared.speed()) {
            self.queue_manual(shared, manual, small)?;
        }
        Ok(())
    }

    fn manual_failed(
        &self,
        stats: &mut RunStats,
        index: usize,
        why: String,
        cause: Option<render::Error>,
    ) {
        let manual = &mut stats.manuals[index];
        manual.error = Some(why.clone());
        (self.on_event)(Event::Pipeline(pipeline::Event::ManualFailed {
            path: manual.path.clone(),
            why,
            cause: cause.map(Arc::new),
        }));
    }

    /// Counts the pages of a file and writes the record of its manual; `None` if nothing is to be done.
    fn admit<'j>(
        &self,
        shared: &Shared<'_>,
        job: &'j Job,
        renderer: &mut Option<Box<dyn Renderer>>,
    ) -> Result<Result<Option<Admitted<'j>>, NotAdmitted>, Error> {
        let key = keys::manual(&shared.run.id, &job.file);
        let known = self.queue.runs().get(&key)?;
        if let Some(entry) = known.and_then(|entry| parse::<RunManual>(&entry.value)) {
            let in_item = |pages: &String| numbers(pages, entry.pages);
            let todo: Vec<u32> = entry.items.iter().flat_map(in_item).collect();
            self.opened(shared, job, entry.clone(), todo.len());
            return Ok(Ok(Some(Admitted {
                job,
                entry,
                is_known: true,
                todo,
            })));
        }
        let entry = |pages: u32, unchanged: u32| RunManual {
            manual: job.source.manual.clone(),
            file: job.file.clone(),
            pages,
            unchanged,
            items: Vec::new(),
        };
        if let Some(unchanged) = job.unchanged {
            let pages = job.pages.unwrap_or(unchanged);
            if job.moved {
                self.store.upsert_manual(&self.card(job, pages))?;
            }
            lock(&shared.tally).add_manual(entry(pages, unchanged));
            return Ok(Ok(None));
        }
        let renderer = match renderer {
            Some(renderer) => renderer,
            None => renderer.insert(render::open(&self.settings.render)?),
        };
        let manual = match renderer.open(&job.source) {
            Err(e @ render::Error::Library(_)) => return Err(e.into()),
            Err(e) => {
                let why = e.to_string();
                return Ok(Err(NotAdmitted {
                    why,
                    cause: Some(e),
                }));
            }
            Ok(manual) => manual,
        };
        let requested = job.selection.within(manual.pages);
        if requested.is_empty() {
            let why = format!(
                "has none of the requested pages (page count: {})",
                manual.pages
            );
            return Ok(Err(NotAdmitted { why, cause: None }));
        }
        self.store.upsert_manual(&self.card(job, manual.pages))?;
        if job.fingerprints.keys().any(|&page| page > manual.pages) {
            let beyond = PageSet::starting_at(manual.pages + 1);
            self.store.remove(&job.source.manual, &beyond)?;
        }
        let (current, todo): (Vec<u32>, Vec<u32>) =
            requested.iter().partition(|page| job.is_current(**page));
        let entry = entry(manual.pages, current.len() as u32);
        Ok(Ok(Some(Admitted {
            job,
            entry,
            is_known: false,
            todo,
        })))
    }

    fn card(&self, job: &Job, pages: u32) -> ManualCard {
        ManualCard {
            id: job.source.manual.clone(),
            path: job.path.clone(),
            file: job.file.clone(),
            render: self.settings.render.profile(),
            pages,
        }
    }

    /// Adds a manual to the tally.
    fn opened(&self, shared: &Shared<'_>, job: &Job, entry: RunManual, todo: usize) {
        lock(&shared.tally).add_manual(entry);
        (self.on_event)(Event::Pipeline(pipeline::Event::Opened {
            manual: job.source.manual.clone(),
            todo: todo as u32,
        }));
    }

    /// Queues the pages of a manual, the last `small` of them in small items.
    fn queue_manual(
        &self,
        shared: &Shared<'_>,
        manual: Admitted<'_>,
        small: usize,
    ) -> Result<(), Error> {
        let Admitted {
            job,
            mut entry,
            is_known,
            todo,
        } = manual;
        let bytes = file_size(job);
        if !is_known {
            let size = match self.settings.queue.files {
                FileAccess::Shared => schedule::ITEM_PAGES,
                _ => schedule::item_pages(bytes, todo.len()),
            };
            let items = schedule::cut(&todo, size, small);
            entry.items = items.iter().map(ToString::to_string).collect();
            let key = keys::manual(&shared.run.id, &job.file);
            self.queue.runs().put(&key, &to_json(&entry))?;
            self.opened(shared, job, entry.clone(), todo.len());
        }
        let is_missing =
            |pages: &&String| !lock(&shared.tally).has(&job.file, &numbers(pages, entry.pages));
        let missing: Vec<&String> = entry.items.iter().filter(is_missing).collect();
        self.queue_items(shared, (job, entry.pages, bytes), &missing)
    }

    /// Makes the file reachable and queues items of it.
    fn queue_items(
        &self,
        shared: &Shared<'_>,
        (job, total, bytes): (&Job, u32, u64),
        items: &[&String],
    ) -> Result<(), Error> {
        if items.is_empty() {
            return Ok(());
        }
        let page_numbers = |pages: &&String| numbers(pages, total);
        if let Err(why) = self.provide_file(shared, job)? {
            let pages: Vec<u32> = items.iter().flat_map(page_numbers).collect();
            lock(&shared.tally).fail(&job.file, &pages, &why);
            return Ok(());
        }
        self.wait(shared, || {
            let queued = lock(&shared.tally).missing;
            queued > schedule::max_pages_ahead(shared.speed()) + total as usize
        });
        if shared.is_over() {
            return Ok(());
        }
        let item = |pages: &&String| Item {
            run: shared.run.id.clone(),
            manual: job.source.manual.clone(),
            file: job.file.clone(),
            bytes,
            path: job.source.path.display().to_string(),
            origin: job.origin.clone(),
            total,
            pages: (*pages).clone(),
            suspect: false,
        };
        let group = shared.run.group.id();
        let items: Vec<_> = items
            .iter()
            .map(|pages| item(pages).queued(&group))
            .collect();
        match self.queue.publish(&items, self.stop) {
            Err(queue::Error::Stopped) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Puts the file into the queue, unless workers have it by its path. Waits while the queue is full. The inner error is why
    /// the file cannot be put there.
    fn provide_file(&self, shared: &Shared<'_>, job: &Job) -> Result<Result<(), String>, Error> {
        if self.settings.queue.files == FileAccess::Shared || self.queue.has_file(&job.file)? {
            return Ok(Ok(()));
        }
        while !shared.is_over() {
            match self.queue.put_file(&job.file, &job.source.path) {
                Err(full @ queue::Error::Full { .. }) => {
                    self.waiting(full.to_string());
                    thread::sleep(ROOM);
                }
                Err(e @ (queue::Error::File { .. } | queue::Error::Changed { .. })) => {
                    return Ok(Err(e.to_string()));
                }
                result => return Ok(Ok(result?)),
            }
        }
        Ok(Ok(()))
    }

    /// Queues again the pages that were reported as stored and that the store lacks; fails them after some rounds. Returns
    /// their number.
    pub(super) fn queue_lost(&self, shared: &Shared<'_>, inputs: &Inputs) -> Result<usize, Error> {
        let mut all = 0;
        for job in inputs.items.iter().filter_map(Input::job) {
            let entry = lock(&shared.tally).entry(&job.file);
            let Some(entry) = entry.filter(|entry| !entry.items.is_empty()) else {
                continue;
            };
            let stored = self.store.fingerprints(&job.source.manual)?;
            let current: BTreeSet<u32> = stored
                .iter()
                .filter(|page| page.origin == job.origin)
                .map(|page| page.number)
                .collect();
            let (lost, round) = {
                let mut tally = lock(&shared.tally);
                let lost = tally.take_back(&job.file, |page| current.contains(&page));
                (lost, tally.count_round(&job.file))
            };
            if lost.is_empty() {
                continue;
            }
            all += lost.len();
            if round > ROUNDS {
                let reason = "it was reported as stored, and the store does not have it";
                lock(&shared.tally).fail(&job.file, &lost, reason);
                continue;
            }
            let pages = schedule::cut(&lost, schedule::LAST_ITEM_PAGES, 0);
            let pages: Vec<String> = pages.iter().map(ToString::to_string).collect();
            let pages: Vec<&String> = pages.iter().collect();
            self.queue_items(shared, (job, entry.pages, file_size(job)), &pages)?;
        }
        Ok(all)
    }
}

/// Why a file is not part of the run.
struct NotAdmitted {
    why: String,
    cause: Option<render::Error>,
}

fn file_size(job: &Job) -> u64 {
    std::fs::metadata(&job.source.path).map_or(0, |file| file.len())
}
