//! The prepare stage: digest, thumbnail, model input and text vectors of each page, in parallel on all cores.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::embed::meaning::Meaning;
use crate::page::{PageError, says_little};
use crate::patch::Prepared;
use crate::store::{
    Fingerprint, StoredPage, TextUpdate, has_text_profile, is_read, read_digest, text_digest,
};

use super::super::content::content_digest;
use super::super::text_model::TextModel;
use super::super::thumbnail::thumbnail;
use super::super::{Error, Event, FlowContext, InFlightPage, Item, Settings, Stage};
use super::render::RenderedPage;

/// A page with its model input; `None` if it keeps its stored vectors.
pub(in crate::pipeline) type PreparedPage<'t> = (InFlightPage<'t>, Option<Prepared>);

pub(in crate::pipeline) fn run<'t>(
    flow: FlowContext<'_>,
    meaning: Option<&TextModel>,
    input: &Receiver<Item<RenderedPage<'t>>>,
    out: &SyncSender<Item<PreparedPage<'t>>>,
) -> Result<(), Error> {
    let cores = rayon::current_num_threads();
    while let Ok(first) = input.recv() {
        let items = std::iter::once(first).chain(input.try_iter().take(cores - 1));
        let (mut pages, mut is_last) = (Vec::new(), false);
        for item in items {
            match item {
                Item::Page(page) => pages.push(page),
                Item::Flush => {
                    is_last = true;
                    break;
                }
            }
        }
        pages.retain(|(page, _)| !page.task.is_stopped());
        let has_text = pages.iter().any(|(page, _)| !page.record.text.is_empty());
        let meaning = meaning
            .filter(|_| has_text)
            .map(TextModel::get)
            .transpose()?;
        let prepared: Vec<_> = pages
            .into_par_iter()
            .map(|page| timed(|| prepare(flow, meaning, page)))
            .collect();
        for (page, time) in prepared {
            match page {
                Ok(prepared_page) => {
                    let InFlightPage { task, job, .. } = &prepared_page.0;
                    task.collector.add_time(*job, Stage::Prepare, time);
                    task.collector.emit(Event::Done(Stage::Prepare, 1));
                    if out.send(Item::Page(prepared_page)).is_err() {
                        return Ok(());
                    }
                }
                Err(failed) => {
                    let (page, error) = *failed;
                    let collector = &page.task.collector;
                    collector.page_failed(page.job, &page.record.id, error);
                }
            }
        }
        if is_last && out.send(Item::Flush).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

/// A page that failed.
type FailedPage<'t> = (InFlightPage<'t>, PageError);

fn prepare<'t>(
    flow: FlowContext<'_>,
    meaning: Option<&Meaning>,
    (mut page, rendered): RenderedPage<'t>,
) -> Result<PreparedPage<'t>, Box<FailedPage<'t>>> {
    page.record.content = content_digest(&rendered);
    page.record.thumbnail = thumbnail(&rendered.image);
    let number = page.record.id.number;
    let task = Arc::clone(&page.task);
    let job = task.job(page.job);
    let stored = job.and_then(|job| job.fingerprints.get(&number));
    if let Some(profile) = job.and_then(|job| job.text_profile) {
        match text_update(flow.settings, (profile, meaning), &page.record, stored) {
            Ok(update) => page.record.text_vectors = update,
            Err(error) => return Err(Box::new((page, error))),
        }
    }
    let is_same = stored.is_some_and(|stored| stored.content == page.record.content);
    if is_same && !is_to_be_read(&page.record) {
        return Ok((page, None));
    }
    match flow.settings.prepare.prepare(&rendered.image) {
        Ok(prepared) => Ok((page, Some(prepared))),
        Err(e) => Err(Box::new((page, PageError::Shape(e.to_string())))),
    }
}

/// Whether the words of a page are read from its vectors, which the embed stage does.
pub(super) fn is_to_be_read(page: &StoredPage) -> bool {
    match &page.text_vectors {
        TextUpdate::Replace { digest, .. } => is_read(digest),
        TextUpdate::Keep => false,
    }
}

/// The text vectors of a page, unless the embed stage reads it; those that are stored for the same text or picture stay.
fn text_update(
    settings: &Settings,
    (profile, meaning): (&str, Option<&Meaning>),
    page: &StoredPage,
    stored: Option<&Fingerprint>,
) -> Result<TextUpdate, PageError> {
    let digest = match &settings.reads_with {
        Some(model) if says_little(&page.text) => read_digest(profile, model),
        _ => text_digest(profile, &page.text),
    };
    let is_kept = |stored: &Fingerprint| match is_read(&stored.text) {
        // Also if this run reads no pages.
        true => stored.content == page.content && has_text_profile(&stored.text, profile),
        false => stored.text == digest,
    };
    if stored.is_some_and(is_kept) {
        return Ok(TextUpdate::Keep);
    }
    let vectors = match meaning {
        Some(meaning) if !is_read(&digest) => meaning.embed_page(&page.text),
        _ => Ok(None),
    };
    let vectors = vectors.map_err(|why| PageError::Shape(why.to_string()))?;
    Ok(TextUpdate::Replace {
        digest,
        vectors,
        words_read: String::new(),
    })
}
