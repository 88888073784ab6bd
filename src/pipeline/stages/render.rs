//! The render stage: opens one manual after another and renders the pages that are not up to date.

use std::sync::mpsc::SyncSender;
use std::time::Instant;

use crate::page::{PageId, PageSet};
use crate::render::{Error as RenderError, Manual, Rendered, Renderer};
use crate::store::{ManualCard, StoredPage, TextUpdate, VectorUpdate, Writer};

use super::super::discover::FileStamp;
use super::super::{
    Availability, Error, Event, InFlightPage, Input, Job, Opener, RunContext, Stage,
};

/// A page with its image and text layer.
pub(in crate::pipeline) type RenderedPage = (InFlightPage, Rendered);

pub(in crate::pipeline) fn run(
    context: &RunContext<'_>,
    opener: Opener<'_, dyn Renderer, RenderError>,
    store: &(dyn Writer + Sync),
    out: &SyncSender<RenderedPage>,
) -> Result<(), Error> {
    let mut opener = Some(opener);
    let mut renderer: Option<Box<dyn Renderer>> = None;
    for (index, input) in context.inputs.iter().enumerate() {
        if context.stopped() {
            break;
        }
        let job = match input {
            Input::Job(job) => job,
            Input::Twin(_) => continue,
            Input::Rejected(rejected) => {
                context.collector.manual_failed(index, &rejected.why);
                continue;
            }
        };
        if let Some(path) = &job.copy {
            let manual = &job.source.manual;
            context
                .collector
                .emit_same(path, manual, Availability::Stored);
        }
        if let Some(pages) = job.unchanged {
            skip_unchanged(context, store, index, job, pages)?;
            continue;
        }
        if let Some(opener) = opener.take() {
            renderer = Some(opener()?);
        }
        let Some(renderer) = renderer.as_deref_mut() else {
            break;
        };
        let downstream = ManualReader {
            context,
            store,
            index,
            job,
            out,
        }
        .read(renderer)?;
        if downstream == Downstream::Closed {
            break;
        }
    }
    Ok(())
}

/// Counts a manual whose requested pages are all up to date; updates its path if it moved.
fn skip_unchanged(
    context: &RunContext<'_>,
    store: &(dyn Writer + Sync),
    index: usize,
    job: &Job,
    pages: u32,
) -> Result<(), Error> {
    if job.moved {
        store.upsert_manual(&manual_card(context, job, job.pages.unwrap_or(pages)))?;
    }
    context
        .collector
        .update_manual(index, |m| (m.pages, m.unchanged) = (pages, pages));
    Ok(())
}

fn manual_card(context: &RunContext<'_>, job: &Job, pages: u32) -> ManualCard {
    ManualCard {
        id: job.source.manual.clone(),
        path: job.path.clone(),
        file: job.file.clone(),
        render: context.settings.render.clone(),
        pages,
    }
}

/// Whether the next stage still receives pages.
#[derive(PartialEq)]
enum Downstream {
    Open,
    Closed,
}

/// Reads one manual.
struct ManualReader<'a> {
    context: &'a RunContext<'a>,
    store: &'a (dyn Writer + Sync),
    index: usize,
    job: &'a Job,
    out: &'a SyncSender<RenderedPage>,
}

impl ManualReader<'_> {
    fn read(&self, renderer: &mut dyn Renderer) -> Result<Downstream, Error> {
        let start = Instant::now();
        self.context.recorder.manual_opened(self.index);
        let manual = match renderer.open(&self.job.source) {
            Ok(manual) => manual,
            Err(e @ RenderError::Library(_)) => return Err(e.into()),
            Err(_) if self.has_changed() => return Ok(self.changed_while_read()),
            Err(e) => {
                self.context.collector.open_failed(self.index, e);
                return Ok(Downstream::Open);
            }
        };
        if self.has_changed() {
            return Ok(self.changed_while_read());
        }
        for content in &manual.missing {
            self.context.collector.emit(Event::ContentMissing {
                manual: self.job.source.manual.clone(),
                content: content.clone(),
            });
        }
        let Some(todo) = self.upsert_manual(&manual)? else {
            return Ok(Downstream::Open);
        };
        self.context
            .collector
            .add_time(self.index, Stage::Render, start.elapsed());
        let downstream = self.render_pages(renderer, &manual, &todo);
        self.context.collector.emit_notes(self.index);
        downstream
    }

    /// Whether the file is no longer the one whose digest was taken.
    fn has_changed(&self) -> bool {
        FileStamp::of(&self.job.source.path) != self.job.stamp
    }

    /// Fails the manual: neither its pages nor the renderer are to blame, and the next run reads all of it.
    fn changed_while_read(&self) -> Downstream {
        let why = "changed while it was read; run the same command again";
        self.context.collector.manual_failed(self.index, why);
        Downstream::Open
    }

    /// Upserts the manual, removes stored pages that the file no longer has, and returns the pages to render.
    fn upsert_manual(&self, manual: &Manual) -> Result<Option<PageSet>, Error> {
        let requested = self.job.selection.within(manual.pages);
        if requested.is_empty() {
            let why = format!(
                "has none of the requested pages (page count: {})",
                manual.pages
            );
            self.context.collector.manual_failed(self.index, &why);
            return Ok(None);
        }
        self.store
            .upsert_manual(&manual_card(self.context, self.job, manual.pages))?;
        if self.job.fingerprints.keys().any(|&n| n > manual.pages) {
            self.store.remove(
                &self.job.source.manual,
                &PageSet::starting_at(manual.pages + 1),
            )?;
        }
        let (up_to_date, todo): (Vec<u32>, Vec<u32>) =
            requested.iter().partition(|n| self.job.is_current(**n));
        self.context.collector.update_manual(self.index, |m| {
            m.pages = requested.len() as u32;
            m.unchanged = up_to_date.len() as u32;
        });
        let event = Event::Opened {
            manual: self.job.source.manual.clone(),
            todo: todo.len() as u32,
        };
        self.context.collector.emit(event);
        Ok(Some(PageSet::of(todo)))
    }

    fn render_pages(
        &self,
        renderer: &mut dyn Renderer,
        manual: &Manual,
        todo: &PageSet,
    ) -> Result<Downstream, Error> {
        let mut pages = renderer.pages(todo)?;
        loop {
            let start = Instant::now();
            let Some((id, page)) = pages.next() else {
                return Ok(Downstream::Open);
            };
            self.context
                .collector
                .add_time(self.index, Stage::Render, start.elapsed());
            if self.has_changed() {
                return Ok(self.changed_while_read());
            }
            self.context.collector.emit(Event::Done(Stage::Render, 1));
            match page {
                Ok(rendered) => {
                    let collector = self.context.collector;
                    collector.page_rendered(self.index, id.number, &rendered);
                    let page = InFlightPage {
                        job: self.index,
                        record: self.record(manual, id, &rendered),
                    };
                    if self.out.send((page, rendered)).is_err() {
                        return Ok(Downstream::Closed);
                    }
                }
                Err(error) => {
                    if self.job.fingerprints.contains_key(&id.number) {
                        // The stored page with this id is one that the file no longer has.
                        self.store.remove(&id.manual, &PageSet::of([id.number]))?;
                    }
                    self.context.collector.page_failed(self.index, &id, error);
                }
            }
            if self.context.stopped() {
                return Ok(Downstream::Open);
            }
        }
    }

    fn record(&self, manual: &Manual, id: PageId, rendered: &Rendered) -> StoredPage {
        StoredPage {
            origin: self.job.origin.clone(),
            content: String::new(),
            label: manual.label(id.number).map(str::to_owned),
            section: manual.section(id.number),
            text: rendered.text.clone(),
            description: None,
            blank: rendered.blank && rendered.undrawn.is_empty(),
            thumbnail: Vec::new(),
            vectors: VectorUpdate::Keep,
            text_vectors: TextUpdate::Keep,
            id,
        }
    }
}
