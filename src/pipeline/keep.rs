//! The store stage: one upsert a batch, a verdict a page.

use std::sync::mpsc::Receiver;
use std::time::Instant;

use crate::store::{StoredPage, Vectors, Verdict, Writer};

use super::{Error, Event, Run, Sheet, Stage};

/// Pages that keep their vectors are tiny: so many of them go into one transaction.
const KEPT_AT_ONCE: usize = 64;

/// Takes the receiver for itself: when the store fails, the stages before must see that nobody listens.
pub(super) fn run(
    run: &Run<'_>,
    store: &(dyn Writer + Sync),
    input: Receiver<Vec<Sheet>>,
) -> Result<(), Error> {
    while let Ok(mut sheets) = input.recv() {
        while sheets.len() < KEPT_AT_ONCE
            && sheets.iter().all(|s| s.record.vectors == Vectors::Kept)
        {
            match input.try_recv() {
                Ok(more) => sheets.extend(more),
                Err(_) => break,
            }
        }
        upsert(run, store, sheets)?;
    }
    Ok(())
}

fn upsert(run: &Run<'_>, store: &(dyn Writer + Sync), sheets: Vec<Sheet>) -> Result<(), Error> {
    let start = Instant::now();
    let (jobs, pages): (Vec<usize>, Vec<StoredPage>) =
        sheets.into_iter().map(|s| (s.job, s.record)).unzip();
    let verdicts = store.upsert(&pages)?;
    let each = start.elapsed() / pages.len().max(1) as u32;
    for ((job, page), (id, verdict)) in jobs.into_iter().zip(&pages).zip(verdicts) {
        run.ledger.spend(job, Stage::Store, each);
        match verdict {
            Ok(Verdict::Stored) => run.ledger.manual(job, |m| {
                m.stored += 1;
                m.kept += u32::from(page.vectors == Vectors::Kept);
                m.blank += u32::from(page.blank);
            }),
            Ok(Verdict::Waiting) => run.ledger.manual(job, |m| m.waiting += 1),
            Err(error) => run.ledger.page_failed(job, &id, error),
        }
    }
    run.ledger
        .tell(Event::Done(Stage::Store, pages.len() as u32));
    Ok(())
}
