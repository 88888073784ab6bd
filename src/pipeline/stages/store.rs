//! The store stage: writes pages in batches and records the outcome of each.

use std::sync::mpsc::Receiver;
use std::time::Instant;

use crate::store::{Outbox, StoredPage, VectorUpdate, WriteOutcome};

use super::super::batch_writer::write_batched;
use super::super::last_run::Recorder;
use super::super::{Error, Event, InFlightPage, Stage};

/// Writes every page received, then flushes the outbox of deferred pages.
pub(in crate::pipeline) fn run(
    recorder: &Recorder<'_>,
    input: Receiver<Vec<InFlightPage>>,
) -> Result<(), Error> {
    let (collector, store) = (recorder.collector, recorder.store);
    let size = |page: &InFlightPage| page.record.bytes();
    let written = write_batched(store.batch_policy(), input, size, |pages| {
        upsert(recorder, pages)
    });
    let flushed = store.outbox().map(Outbox::flush).transpose();
    let resolved = flushed.map(|outcomes| {
        for (id, outcome) in outcomes.into_iter().flatten() {
            collector.resolve(&id, outcome);
        }
    });
    written.and(resolved.map_err(Error::from))
}

fn upsert(recorder: &Recorder<'_>, in_flight: Vec<InFlightPage>) -> Result<(), Error> {
    let collector = recorder.collector;
    let start = Instant::now();
    let (jobs, pages): (Vec<usize>, Vec<StoredPage>) = in_flight
        .into_iter()
        .map(|page| (page.job, page.record))
        .unzip();
    let outcomes = recorder.store.upsert(&pages)?;
    let each = start.elapsed() / pages.len().max(1) as u32;
    for ((job, page), (id, outcome)) in jobs.into_iter().zip(&pages).zip(outcomes) {
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
    recorder.record_finished();
    collector.emit(Event::Done(Stage::Store, pages.len() as u32));
    Ok(())
}
