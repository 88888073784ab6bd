//! The items as tasks of the pipeline.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use super::held::HeldItem;
use super::{Shared, deaths};
use crate::pipeline::{Client, Event, FileStamp, Input, Job, NextTask, RunStats, Task, TaskSource};

/// Time between two looks whether an item may enter the pipeline.
const LOOK: Duration = Duration::from_millis(50);

/// An item whose file is here.
pub(super) struct ReadyItem<'q> {
    pub(super) held: Arc<HeldItem<'q>>,
    pub(super) job: Job,
}

/// An item that left the pipeline.
pub(super) struct EndedItem<'q> {
    pub(super) held: Arc<HeldItem<'q>>,
    /// `None`: the pipeline failed.
    pub(super) stats: Option<RunStats>,
    /// Whether its file changed meanwhile: it must be found or fetched again.
    pub(super) is_changed: bool,
}

/// Gives the pipeline one item after another.
pub(super) struct ItemSource<'a, 'q> {
    pub(super) shared: &'a Shared<'a, 'q>,
    pub(super) ready: Receiver<ReadyItem<'q>>,
    pub(super) next: Option<ReadyItem<'q>>,
    pub(super) ended: Sender<EndedItem<'q>>,
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
        if !self.shared.held.enter(&next.held) {
            self.next = Some(next);
            thread::sleep(timeout.min(LOOK));
            return NextTask::Later;
        }
        let ReadyItem { held, job } = next;
        let file = (job.source.path.clone(), job.stamp);
        // Without this note the death of this process is not counted, and the item is tried once more.
        let noted = deaths::begin(self.shared.queue, &held.item, &self.shared.process);
        self.shared.note(noted);
        NextTask::Task(Task {
            inputs: Cow::Owned(vec![Input::Job(Box::new(job))]),
            client: Box::new(ItemClient {
                shared: self.shared,
                held,
                file,
                ended: self.ended.clone(),
            }),
        })
    }
}

/// Follows an item through the pipeline.
struct ItemClient<'a, 'q> {
    shared: &'a Shared<'a, 'q>,
    held: Arc<HeldItem<'q>>,
    /// Its file, and what that was when its digest was taken.
    file: (PathBuf, FileStamp),
    ended: Sender<EndedItem<'q>>,
}

impl ItemClient<'_, '_> {
    fn end(&self, stats: Option<RunStats>) {
        let manual = stats.as_ref().and_then(|stats| stats.manuals.first());
        self.shared.held.leave(manual.map_or(0, |m| m.stored));
        let (path, stamp) = &self.file;
        let has_failed = manual.is_some_and(|manual| manual.error.is_some());
        let ended = EndedItem {
            held: Arc::clone(&self.held),
            is_changed: has_failed && FileStamp::of(path) != *stamp,
            stats,
        };
        // Nobody waits for it any more if the worker ended with a panic.
        let _ = self.ended.send(ended);
    }
}

impl Client for ItemClient<'_, '_> {
    fn is_stopped(&self) -> bool {
        self.shared.is_stopped()
    }

    fn on_event(&self, event: Event) {
        match event {
            Event::Loading => self.shared.held.loading(),
            Event::Loaded(_) => self.shared.held.loaded(),
            _ => self.shared.held.moved(),
        }
        self.shared.tell(event);
    }

    fn on_end(&self, stats: RunStats) {
        for batch in &stats.batches {
            let time = Duration::try_from_secs_f64(batch.seconds);
            self.shared.held.batch_took(time.unwrap_or_default());
        }
        self.end(Some(stats));
    }

    fn on_abort(&self, _stats: RunStats) {
        self.end(None);
    }
}
