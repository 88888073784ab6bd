//! The prepare stage: digest, thumbnail and model input of each page, in parallel on all cores.

use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::page::{PageError, PageId};
use crate::patch::Prepared;

use super::super::content::content_digest;
use super::super::thumbnail::thumbnail;
use super::super::{Event, InFlightPage, RunContext, Stage};
use super::render::RenderedPage;

/// A page with its model input; `None` if it keeps its stored vectors.
pub(in crate::pipeline) type PreparedPage = (InFlightPage, Option<Prepared>);

pub(in crate::pipeline) fn run(
    context: &RunContext<'_>,
    input: &Receiver<RenderedPage>,
    out: &SyncSender<PreparedPage>,
) {
    let cores = rayon::current_num_threads();
    while let Ok(first) = input.recv() {
        let pages: Vec<RenderedPage> = std::iter::once(first)
            .chain(input.try_iter().take(cores - 1))
            .collect();
        let prepared: Vec<_> = pages
            .into_par_iter()
            .map(|page| timed(|| prepare(context, page)))
            .collect();
        for (page, time) in prepared {
            match page {
                Ok(prepared_page) => {
                    context
                        .collector
                        .add_time(prepared_page.0.job, Stage::Prepare, time);
                    context.collector.emit(Event::Done(Stage::Prepare, 1));
                    if out.send(prepared_page).is_err() {
                        return;
                    }
                }
                Err((job, id, error)) => context.collector.page_failed(job, &id, error),
            }
        }
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

fn prepare(
    context: &RunContext<'_>,
    (mut page, rendered): RenderedPage,
) -> Result<PreparedPage, (usize, PageId, PageError)> {
    page.record.content = content_digest(&rendered);
    page.record.thumbnail = thumbnail(&rendered.image);
    let number = page.record.id.number;
    let stored = context.inputs[page.job]
        .job()
        .and_then(|job| job.fingerprints.get(&number));
    if stored.is_some_and(|(_, content)| *content == page.record.content) {
        return Ok((page, None));
    }
    match context.settings.prepare.prepare(&rendered.image) {
        Ok(prepared) => Ok((page, Some(prepared))),
        Err(e) => Err((page.job, page.record.id, PageError::Shape(e.to_string()))),
    }
}
