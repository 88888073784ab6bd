//! The threads of a session: one pulls items and makes them ready, one processes them, one tells what became of them, one keeps
//! their leases.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

use super::WorkerEvent;
use super::page_writer::PageWriter;
use super::pull::{Prepare, Puller, ReadyItem};
use super::report::{self, EndedItem};
use super::session::Session;
use crate::distributed::{Error, keys};
use crate::queue::WorkGroup;

/// Items that are ready before they are processed.
const READY: usize = 1;

/// Works until the worker is stopped, `process` fails, or other work waits and none of this kind. `prepare` makes of an item
/// what `process` needs. Returns the pages per second, if known.
pub(super) fn work<'q, J: Send>(
    session: &Session<'_, 'q>,
    group: &WorkGroup<'q>,
    prepare: &Prepare<'_, J>,
    process: impl FnOnce(
        &PageWriter<'_>,
        Receiver<ReadyItem<'q, J>>,
        Sender<EndedItem<'q>>,
    ) -> Result<(), Error>,
) -> (Option<f64>, Result<(), Error>) {
    (session.worker.run.on_event)(WorkerEvent::Working);
    let on_wait = |why: &str| {
        session.held.moved();
        session.set_problem(Some(format!("the store is away: {why}")));
    };
    let writer = PageWriter::new(session.worker.run.store, session.worker.run.stop, &on_wait);
    let (ready, to_process) = sync_channel(READY);
    let (ended, to_report) = channel();
    let processed = thread::scope(|scope| {
        let puller = Puller {
            session,
            group,
            prepare,
            ready,
        };
        scope.spawn(move || puller.run());
        scope.spawn(|| {
            report::report(session, &writer, to_report);
            session.has_reported.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| session.keep_alive(group.lease()));
        let processed = process(&writer, to_process, ended);
        session.end();
        processed
    });
    let key = keys::worker(&session.worker.process.id);
    session.note(session.queue.workers().delete(&key));
    (session.held.speed(), processed)
}
