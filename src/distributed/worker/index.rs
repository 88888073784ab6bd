//! Indexes the pages of items: they are tasks of the pipeline.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use super::files::Files;
use super::held::HeldItem;
use super::pull::{Fingerprints, ReadyItem};
use super::report::{EndedItem, ItemEnd};
use super::session::{LATER, Session, WorkerParts};
use super::{Indexer, WorkerEvent, deaths, flow};
use crate::distributed::Error;
use crate::distributed::messages::{Item, ItemResult};
use crate::library::Indexing;
use crate::page::PageSet;
use crate::pipeline::{Client, Event, FileStamp, Input, Job, NextTask, RunStats, Task, TaskSource};
use crate::queue::WorkGroup;
use crate::render::Source;

/// Time between two looks whether an item may enter the pipeline.
const LOOK: Duration = Duration::from_millis(50);

/// Indexes items until the session ends; returns the pages per second, if known.
pub(super) fn work<'q>(
    worker: WorkerParts<'_, 'q>,
    place: &WorkGroup<'q>,
    indexer: &Indexer<'q>,
) -> (Option<f64>, Result<(), Error>) {
    let run = worker.run;
    let model = (indexer.card.device.clone(), indexer.speed);
    let session = Session::new(worker, indexer.group.clone(), model);
    let files = Files::new(run.queue, &run.settings.queue);
    let prepare = |held: &HeldItem<'_>, fingerprints: &mut Fingerprints| {
        job(&session, &files, (&held.item, fingerprints))
    };
    flow::work(&session, place, &prepare, |writer, ready, ended| {
        let indexing = Indexing {
            settings: run.settings,
            card: indexer.card,
            plan: indexer.plan,
            store: writer,
        };
        let source = ItemSource {
            session: &session,
            ready,
            next: None,
            ended,
        };
        Ok(indexing.run_flow((indexer.openers)(), source)?)
    })
}

/// An item as a job of the pipeline.
fn job(
    session: &Session<'_, '_>,
    files: &Files<'_>,
    (item, fingerprints): (&Item, &mut Fingerprints),
) -> Result<Job, Option<Duration>> {
    let run = session.worker.run;
    if !fingerprints.contains_key(&item.file) {
        let stored = run.store.fingerprints(&item.manual);
        let stored = stored.map_err(|cause| session.later(&cause))?;
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
    let path = files.locate(item, &session.held.files());
    job.source.path = path.map_err(|cause| session.later(&cause))?;
    job.stamp = FileStamp::of(&job.source.path);
    session.set_problem(None);
    Ok(job)
}

/// Gives the pipeline one item after another.
struct ItemSource<'a, 'q> {
    session: &'a Session<'a, 'q>,
    ready: Receiver<ReadyItem<'q, Job>>,
    next: Option<ReadyItem<'q, Job>>,
    ended: Sender<EndedItem<'q>>,
}

impl<'a, 'q> TaskSource<'a> for ItemSource<'a, 'q> {
    fn next(&mut self, timeout: Duration) -> NextTask<'a> {
        let next = match self.next.take() {
            Some(next) => next,
            None => match self.ready.recv_timeout(timeout) {
                Ok(next) => next,
                Err(RecvTimeoutError::Timeout) => return NextTask::Later,
                Err(RecvTimeoutError::Disconnected) => return NextTask::End,
            },
        };
        if !self.session.held.enter(&next.held) {
            self.next = Some(next);
            thread::sleep(timeout.min(LOOK));
            return NextTask::Later;
        }
        let ReadyItem { held, job } = next;
        let file = (job.source.path.clone(), job.stamp);
        // Without this note the death of this process is not counted, and the item is tried once more.
        let noted = deaths::begin(self.session.queue, &held.item, self.session.worker.process);
        self.session.note(noted);
        NextTask::Task(Task {
            inputs: Cow::Owned(vec![Input::Job(Box::new(job))]),
            client: Box::new(ItemClient {
                session: self.session,
                held,
                file,
                ended: self.ended.clone(),
            }),
        })
    }
}

/// Follows an item through the pipeline.
struct ItemClient<'a, 'q> {
    session: &'a Session<'a, 'q>,
    held: Arc<HeldItem<'q>>,
    /// Its file, and what that was when its digest was taken.
    file: (PathBuf, FileStamp),
    ended: Sender<EndedItem<'q>>,
}

impl ItemClient<'_, '_> {
    fn end(&self, stats: Option<RunStats>) {
        let manual = stats.as_ref().and_then(|stats| stats.manuals.first());
        self.session.held.leave(manual.map_or(0, |m| m.stored));
        let (path, stamp) = &self.file;
        let has_failed = manual.is_some_and(|manual| manual.error.is_some());
        // The file must be found or fetched again if it changed meanwhile.
        let is_changed = has_failed && FileStamp::of(path) != *stamp;
        let end = match stats {
            None => ItemEnd::Failed,
            Some(stats) if stats.stopped => ItemEnd::HandedBack(None),
            Some(stats) if is_changed || stats.total(|m| m.waiting) > 0 => {
                ItemEnd::HandedBack(Some(LATER))
            }
            Some(stats) => {
                let manual = stats.manuals.into_iter().next().unwrap_or_default();
                let process = self.session.worker.process;
                let result = ItemResult::new(&self.held.item, process, manual);
                ItemEnd::Done(Box::new(result))
            }
        };
        let held = Arc::clone(&self.held);
        // Nobody waits for it any more if the worker ended with a panic.
        let _ = self.ended.send(EndedItem { held, end });
    }
}

impl Client for ItemClient<'_, '_> {
    fn is_stopped(&self) -> bool {
        self.session.is_stopped()
    }

    fn on_event(&self, event: Event) {
        match event {
            Event::Loading => self.session.held.loading(),
            Event::Loaded(_) => self.session.held.loaded(),
            _ => self.session.held.moved(),
        }
        (self.session.worker.run.on_event)(WorkerEvent::Pipeline(event));
    }

    fn on_end(&self, stats: RunStats) {
        for batch in &stats.batches {
            let time = Duration::try_from_secs_f64(batch.seconds);
            self.session.held.batch_took(time.unwrap_or_default());
        }
        self.end(Some(stats));
    }

    fn on_abort(&self, _stats: RunStats) {
        self.end(None);
    }
}
