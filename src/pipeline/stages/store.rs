//! The store stage: pages into the store, a verdict a page.

use std::sync::mpsc::Receiver;
use std::time::Instant;

use crate::store::{Outbox, StoredPage, VectorUpdate, WriteOutcome, Writer};

use super::super::batch_writer::write_batched;
use super::super::stats::StatsCollector;
use super::super::{Error, Event, InFlightPage, Stage};

/// Stores what comes, and at the end once more tries what could not be delivered.
pub(in crate::pipeline) fn run(
    collector: &StatsCollector<'_>,
    store: &(dyn Writer + Sync),
    input: Receiver<Vec<InFlightPage>>,
) -> Result<(), Error> {
    let size = |sheet: &InFlightPage| sheet.record.bytes();
    let shipped = write_batched(store.batch_policy(), input, size, |sheets| {
        upsert(collector, store, sheets)
    });
    let delivered = store.outbox().map(Outbox::flush).transpose();
    let settled = delivered.map(|verdicts| {
        for (id, verdict) in verdicts.into_iter().flatten() {
            collector.settle(&id, verdict);
        }
    });
    shipped.and(settled.map_err(Error::from))
}

fn upsert(
    collector: &StatsCollector<'_>,
    store: &(dyn Writer + Sync),
    sheets: Vec<InFlightPage>,
) -> Result<(), Error> {
    let start = Instant::now();
    let (jobs, pages): (Vec<usize>, Vec<StoredPage>) =
        sheets.into_iter().map(|s| (s.job, s.record)).unzip();
    let verdicts = store.upsert(&pages)?;
    let each = start.elapsed() / pages.len().max(1) as u32;
    for ((job, page), (id, verdict)) in jobs.into_iter().zip(&pages).zip(verdicts) {
        collector.spend(job, Stage::Store, each);
        match verdict {
            Ok(WriteOutcome::Stored) => collector.manual(job, |m| {
                m.stored += 1;
                m.kept += u32::from(page.vectors == VectorUpdate::Keep);
                m.blank += u32::from(page.blank);
            }),
            Ok(WriteOutcome::Deferred(why)) => collector.waits(job, &why),
            Err(error) => collector.page_failed(job, &id, error),
        }
    }
    collector.emit(Event::Done(Stage::Store, pages.len() as u32));
    Ok(())
}
