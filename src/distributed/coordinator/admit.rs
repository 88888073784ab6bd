//! Queues the work of a run: decides on the pages of each file, makes the file reachable, and queues its pages in items.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::finish::files;
use super::workload::{Admission, Candidate, Rejection, RunFile, Workload};
use super::{Coordinator, Event, Shared, lock};
use crate::distributed::messages::{Item, RunManual, numbers};
use crate::distributed::{Error, keys, parse, schedule, to_json};
use crate::pipeline;
use crate::queue::{self, FileAccess};

/// Time between two looks whether the queue has room for a file.
const ROOM: Duration = Duration::from_secs(2);
/// Rounds in which pages are queued again that were reported as stored and are not.
const ROUNDS: u32 = 2;

/// A file whose items are to be queued.
struct Admitted {
    file: RunFile,
    entry: RunManual,
    /// Whether its items were decided on by an earlier coordinator.
    is_known: bool,
    /// Its pages to process.
    todo: Vec<u32>,
}

impl Coordinator<'_> {
    /// Queues all pages that are not up to date.
    pub(super) fn queue_all<W: Workload>(
        &self,
        shared: &Shared<'_>,
        work: &mut W,
    ) -> Result<(), Error> {
        let mut upcoming = schedule::Upcoming::default();
        for candidate in work.candidates() {
            if shared.is_over() || self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            match candidate {
                Candidate::Rejected(index, rejection) => self.reject(work, index, rejection),
                Candidate::File(file) => {
                    if let Some(manual) = self.admit(shared, work, file)? {
                        let pages = manual.todo.len();
                        upcoming.push(manual, pages);
                    }
                }
            }
            while let Some(manual) = upcoming.next(shared.speed::<W>()) {
                self.queue_manual(shared, work, (manual, 0))?;
            }
        }
        for manual in upcoming.rest(shared.speed::<W>()) {
            self.queue_manual(shared, work, manual)?;
        }
        Ok(())
    }

    fn reject(&self, work: &mut impl Workload, index: usize, rejection: Rejection) {
        if let Some(event) = work.reject(index, rejection) {
            (self.on_event)(Event::Pipeline(event));
        }
    }

    /// Decides on the pages of a file, unless that was done before; `None` if nothing is to be done.
    fn admit(
        &self,
        shared: &Shared<'_>,
        work: &mut impl Workload,
        file: RunFile,
    ) -> Result<Option<Admitted>, Error> {
        let key = keys::manual(&shared.run.id, &file.digest);
        let known = self.queue.runs().get(&key)?;
        if let Some(entry) = known.and_then(|entry| parse::<RunManual>(&entry.value)) {
            let todo: Vec<u32> = entry.todo().collect();
            self.opened(shared, entry.clone(), todo.len());
            return Ok(Some(Admitted {
                file,
                entry,
                is_known: true,
                todo,
            }));
        }
        Ok(match work.admit(&file)? {
            Admission::Complete(entry) => {
                lock(&shared.tally).add_manual(entry);
                None
            }
            Admission::Rejected(rejection) => {
                self.reject(work, file.index, rejection);
                None
            }
            Admission::Todo(entry, todo) => Some(Admitted {
                file,
                entry,
                is_known: false,
                todo,
            }),
        })
    }

    /// Adds a manual to the tally.
    fn opened(&self, shared: &Shared<'_>, entry: RunManual, todo: usize) {
        let opened = pipeline::Event::Opened {
            manual: entry.manual.clone(),
            todo: todo as u32,
        };
        lock(&shared.tally).add_manual(entry);
        (self.on_event)(Event::Pipeline(opened));
    }

    /// Queues the pages of a manual, the last `small` of them in small items.
    fn queue_manual<W: Workload>(
        &self,
        shared: &Shared<'_>,
        work: &W,
        (manual, small): (Admitted, usize),
    ) -> Result<(), Error> {
        let Admitted {
            file,
            mut entry,
            is_known,
            todo,
        } = manual;
        if !is_known {
            let items = work.cut(&file, &todo, small);
            entry.items = items.iter().map(ToString::to_string).collect();
            let key = keys::manual(&shared.run.id, &file.digest);
            self.queue.runs().put(&key, &to_json(&entry))?;
            self.opened(shared, entry.clone(), todo.len());
        }
        let is_missing =
            |pages: &&String| !lock(&shared.tally).has(&file.digest, &numbers(pages, entry.pages));
        let missing: Vec<&String> = entry.items.iter().filter(is_missing).collect();
        self.queue_items(shared, work, (&file, entry.pages), &missing)
    }

    /// Makes the file reachable and queues items of it.
    fn queue_items<W: Workload>(
        &self,
        shared: &Shared<'_>,
        work: &W,
        (file, total): (&RunFile, u32),
        items: &[&String],
    ) -> Result<(), Error> {
        if items.is_empty() {
            return Ok(());
        }
        let page_numbers = |pages: &&String| numbers(pages, total);
        if let Err(why) = self.provide_file(shared, file)? {
            let pages: Vec<u32> = items.iter().flat_map(page_numbers).collect();
            lock(&shared.tally).fail(&file.digest, &pages, &why);
            return Ok(());
        }
        self.wait(shared, || {
            let queued = lock(&shared.tally).missing;
            queued > schedule::max_pages_ahead(shared.speed::<W>()) + total as usize
        });
        if shared.is_over() {
            return Ok(());
        }
        let bytes = file.bytes();
        let item = |pages: &&String| Item {
            run: shared.run.id.clone(),
            manual: file.manual.clone(),
            file: file.digest.clone(),
            bytes,
            path: file.path.display().to_string(),
            origin: file.origin.clone(),
            total,
            pages: (*pages).clone(),
            suspect: false,
            redo: work.redo(),
        };
        let group = &shared.run.group;
        let items: Vec<_> = items
            .iter()
            .map(|pages| item(pages).queued(group))
            .collect();
        match self.queue.publish(&items, self.stop) {
            Err(queue::Error::Stopped) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Puts the file into the queue, unless workers have it by its path. Waits while the queue is full. The inner error is why
    /// the file cannot be put there.
    fn provide_file(
        &self,
        shared: &Shared<'_>,
        file: &RunFile,
    ) -> Result<Result<(), String>, Error> {
        let is_shared = self.settings.queue.files == FileAccess::Shared;
        if is_shared || self.queue.has_file(&file.digest)? {
            return Ok(Ok(()));
        }
        while !shared.is_over() {
            match self.queue.put_file(&file.digest, &file.path) {
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
    pub(super) fn queue_lost(
        &self,
        shared: &Shared<'_>,
        work: &impl Workload,
    ) -> Result<usize, Error> {
        let mut all = 0;
        for file in files(work) {
            let entry = lock(&shared.tally).entry(&file.digest);
            let Some(entry) = entry.filter(|entry| !entry.items.is_empty()) else {
                continue;
            };
            let done = work.done(&file)?;
            let (lost, round) = {
                let mut tally = lock(&shared.tally);
                let lost = tally.take_back(&file.digest, |page| done.contains(&page));
                (lost, tally.count_round(&file.digest))
            };
            if lost.is_empty() {
                continue;
            }
            all += lost.len();
            if round > ROUNDS {
                let reason = "it was reported as done, and the store does not have it";
                lock(&shared.tally).fail(&file.digest, &lost, reason);
                continue;
            }
            let items = work.cut(&file, &lost, lost.len());
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            let items: Vec<&String> = items.iter().collect();
            self.queue_items(shared, work, (&file, entry.pages), &items)?;
        }
        Ok(all)
    }
}
