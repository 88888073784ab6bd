//! The store stage: writes pages in batches and records the outcome of each.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use crate::store::{StoredPage, VectorUpdate, WriteOutcome};

use super::super::batch_writer::write_batched;
use super::super::last_run::Recorder;
use super::super::task::TaskInHand;
use super::super::{Error, Event, InFlightPage, Stage};

/// Writes every page received.
pub(in crate::pipeline) fn run(
    recorder: &Recorder<'_>,
    input: Receiver<Vec<InFlightPage<'_>>>,
) -> Result<(), Error> {
    let size = |page: &InFlightPage<'_>| page.record.bytes();
    write_batched(recorder.store.batch_policy(), input, size, |pages| {
        upsert(recorder, pages)
    })
}

fn upsert(recorder: &Recorder<'_>, in_flight: Vec<InFlightPage<'_>>) -> Result<(), Error> {
    let start = Instant::now();
    let (jobs, pages): (Vec<(Arc<TaskInHand<'_>>, usize)>, Vec<StoredPage>) = in_flight
        .into_iter()
        .map(|page| ((page.task, page.job), page.record))
        .unzip();
    let outcomes = recorder.checked(recorder.store.upsert(&pages))?;
    let each = start.elapsed() / pages.len().max(1) as u32;
    for (((task, job), page), (id, outcome)) in jobs.iter().zip(&pages).zip(outcomes) {
        let (collector, job) = (&task.collector, *job);
        collector.add_time(job, Stage::Store, each);
        match outcome {
            Ok(WriteOutcome::Stored) => collector.update_manual(job, |m| {
                m.stored += 1;
                m.kept += u32::from(page.vectors == VectorUpdate::Keep);
                m.blank += u32::from(page.blank);
            }),
            Ok(WriteOutcome::Deferred(why)) => collector.defer_page(job, &why),
            Err(error) => collector.page_failed(job, &id, error),
        }
    }
    for pages in jobs.chunk_by(|(a, _), (b, _)| Arc::ptr_eq(a, b)) {
        let (task, _) = &pages[0];
        recorder.record_finished(task);
        task.collector
            .emit(Event::Done(Stage::Store, pages.len() as u32));
    }
    Ok(())
}
