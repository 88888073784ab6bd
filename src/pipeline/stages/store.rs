//! The store stage: pages into the store, a verdict a page.

use std::sync::mpsc::Receiver;
use std::time::Instant;

use crate::store::{Outbox, StoredPage, Vectors, Verdict, Writer};

use super::super::batch_writer::ship;
use super::super::stats::Ledger;
use super::super::{Error, Event, Sheet, Stage};

/// Stores what comes, and at the end once more tries what could not be delivered.
pub(in crate::pipeline) fn run(
    ledger: &Ledger<'_>,
    store: &(dyn Writer + Sync),
    input: Receiver<Vec<Sheet>>,
) -> Result<(), Error> {
    let size = |sheet: &Sheet| sheet.record.bytes();
    let shipped = ship(store.pace(), input, size, |sheets| {
        upsert(ledger, store, sheets)
    });
    let delivered = store.outbox().map(Outbox::deliver).transpose();
    let settled = delivered.map(|verdicts| {
        for (id, verdict) in verdicts.into_iter().flatten() {
            ledger.settle(&id, verdict);
        }
    });
    shipped.and(settled.map_err(Error::from))
}

fn upsert(
    ledger: &Ledger<'_>,
    store: &(dyn Writer + Sync),
    sheets: Vec<Sheet>,
) -> Result<(), Error> {
    let start = Instant::now();
    let (jobs, pages): (Vec<usize>, Vec<StoredPage>) =
        sheets.into_iter().map(|s| (s.job, s.record)).unzip();
    let verdicts = store.upsert(&pages)?;
    let each = start.elapsed() / pages.len().max(1) as u32;
    for ((job, page), (id, verdict)) in jobs.into_iter().zip(&pages).zip(verdicts) {
        ledger.spend(job, Stage::Store, each);
        match verdict {
            Ok(Verdict::Stored) => ledger.manual(job, |m| {
                m.stored += 1;
                m.kept += u32::from(page.vectors == Vectors::Kept);
                m.blank += u32::from(page.blank);
            }),
            Ok(Verdict::Waiting(why)) => ledger.waits(job, &why),
            Err(error) => ledger.page_failed(job, &id, error),
        }
    }
    ledger.tell(Event::Done(Stage::Store, pages.len() as u32));
    Ok(())
}
