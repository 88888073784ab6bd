//! The prepare stage: digest, thumbnail, and what the model eats; as many pages at once as there are cores.

use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::page::{PageError, PageId};
use crate::patch::Prepared;

use super::super::discover::digest;
use super::super::thumbnail::thumbnail;
use super::super::{Event, InFlightPage, Run, Stage};
use super::render::RenderedPage;

/// A page ready for the model; `None` where it keeps the vectors it has.
pub(in crate::pipeline) type PreparedPage = (InFlightPage, Option<Prepared>);

pub(in crate::pipeline) fn run(
    run: &Run<'_>,
    input: &Receiver<RenderedPage>,
    out: &SyncSender<PreparedPage>,
) {
    let cores = rayon::current_num_threads();
    while let Ok(first) = input.recv() {
        let pages: Vec<RenderedPage> = std::iter::once(first)
            .chain(input.try_iter().take(cores - 1))
            .collect();
        let done: Vec<_> = pages
            .into_par_iter()
            .map(|page| timed(|| prepare(run, page)))
            .collect();
        for (page, time) in done {
            match page {
                Ok(ready) => {
                    run.collector.spend(ready.0.job, Stage::Prepare, time);
                    run.collector.emit(Event::Done(Stage::Prepare, 1));
                    if out.send(ready).is_err() {
                        return;
                    }
                }
                Err((job, id, error)) => run.collector.page_failed(job, &id, error),
            }
        }
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

fn prepare(
    run: &Run<'_>,
    (mut sheet, seen): RenderedPage,
) -> Result<PreparedPage, (usize, PageId, PageError)> {
    let size = seen.image.size();
    let shape = [size.width.to_le_bytes(), size.height.to_le_bytes()].concat();
    sheet.record.content = digest(&[&shape, seen.image.rgb(), seen.text.as_bytes()]);
    sheet.record.thumbnail = thumbnail(&seen.image);
    let number = sheet.record.id.number;
    let before = run.jobs[sheet.job]
        .as_ref()
        .ok()
        .and_then(|job| job.fingerprints.get(&number));
    if before.is_some_and(|(_, content)| *content == sheet.record.content) {
        return Ok((sheet, None));
    }
    match run.settings.prepare.prepare(&seen.image) {
        Ok(prepared) => Ok((sheet, Some(prepared))),
        Err(e) => Err((sheet.job, sheet.record.id, PageError::Shape(e.to_string()))),
    }
}
