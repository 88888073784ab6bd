//! The render stage: opens manual after manual and hands on the pages that must be made.

use std::sync::mpsc::SyncSender;
use std::time::Instant;

use crate::page::PageSet;
use crate::render::{Error as RenderError, Manual, Rendered, Renderer};
use crate::store::{ManualCard, StoredPage, Vectors, Writer};

use super::super::{Error, Event, Job, Recipe, Run, Sheet, Stage};

/// A page with its picture.
pub(in crate::pipeline) type Seen = (Sheet, Rendered);

pub(in crate::pipeline) fn run(
    run: &Run<'_>,
    recipe: Recipe<'_, dyn Renderer, RenderError>,
    store: &(dyn Writer + Sync),
    out: &SyncSender<Seen>,
) -> Result<(), Error> {
    let mut recipe = Some(recipe);
    let mut renderer: Option<Box<dyn Renderer>> = None;
    for (index, job) in run.jobs.iter().enumerate() {
        if run.stopped() {
            break;
        }
        let job = match job {
            Ok(job) => job,
            Err(misfit) => {
                run.ledger.manual_failed(index, &misfit.why);
                continue;
            }
        };
        if let Some(pages) = job.unchanged {
            unchanged(run, store, index, job, pages)?;
            continue;
        }
        if let Some(recipe) = recipe.take() {
            renderer = Some(recipe()?);
        }
        let Some(renderer) = renderer.as_deref_mut() else {
            break;
        };
        let done = Desk {
            run,
            store,
            index,
            job,
            out,
        }
        .read(renderer)?;
        if done == Downstream::Gone {
            break;
        }
    }
    Ok(())
}

/// Everything asked for is stored; only the path may be new.
fn unchanged(
    run: &Run<'_>,
    store: &(dyn Writer + Sync),
    index: usize,
    job: &Job,
    pages: u32,
) -> Result<(), Error> {
    if job.moved {
        store.enter(&card(run, job, job.pages.unwrap_or(pages)))?;
    }
    run.ledger
        .manual(index, |m| (m.pages, m.unchanged) = (pages, pages));
    Ok(())
}

fn card(run: &Run<'_>, job: &Job, pages: u32) -> ManualCard {
    ManualCard {
        id: job.source.manual.clone(),
        path: job.source.path.clone(),
        file: job.file.clone(),
        render: run.settings.render.clone(),
        pages,
    }
}

#[derive(PartialEq)]
enum Downstream {
    Listening,
    Gone,
}

/// One manual on the desk.
struct Desk<'a> {
    run: &'a Run<'a>,
    store: &'a (dyn Writer + Sync),
    index: usize,
    job: &'a Job,
    out: &'a SyncSender<Seen>,
}

impl Desk<'_> {
    fn read(&self, renderer: &mut dyn Renderer) -> Result<Downstream, Error> {
        let start = Instant::now();
        let manual = match renderer.open(&self.job.source) {
            Ok(manual) => manual,
            Err(e @ RenderError::Library(_)) => return Err(e.into()),
            Err(e) => {
                self.run.ledger.manual_failed(self.index, &e.to_string());
                return Ok(Downstream::Listening);
            }
        };
        let Some(todo) = self.enter(&manual)? else {
            return Ok(Downstream::Listening);
        };
        self.run
            .ledger
            .spend(self.index, Stage::Render, start.elapsed());
        self.hand_on(renderer, &manual, &todo)
    }

    /// Enters the manual, drops pages it no longer has, and tells which pages must be made.
    fn enter(&self, manual: &Manual) -> Result<Option<PageSet>, Error> {
        let asked = self.run.settings.pages.within(manual.pages);
        if asked.is_empty() {
            let why = format!("none of the pages asked for: it has only {}", manual.pages);
            self.run.ledger.manual_failed(self.index, &why);
            return Ok(None);
        }
        self.store.enter(&card(self.run, self.job, manual.pages))?;
        if self.job.known.keys().any(|&n| n > manual.pages) {
            self.store.remove(
                &self.job.source.manual,
                &PageSet::starting_at(manual.pages + 1),
            )?;
        }
        let current = |n: &u32| {
            self.job
                .known
                .get(n)
                .is_some_and(|(origin, _)| *origin == self.job.origin)
        };
        let (there, todo): (Vec<u32>, Vec<u32>) = asked.iter().partition(|n| current(n));
        self.run.ledger.manual(self.index, |m| {
            m.pages = asked.len() as u32;
            m.unchanged = there.len() as u32;
        });
        let event = Event::Opened {
            manual: self.job.source.manual.clone(),
            todo: todo.len() as u32,
        };
        self.run.ledger.tell(event);
        Ok(Some(PageSet::of(todo)))
    }

    fn hand_on(
        &self,
        renderer: &mut dyn Renderer,
        manual: &Manual,
        todo: &PageSet,
    ) -> Result<Downstream, Error> {
        let mut pages = renderer.pages(todo)?;
        loop {
            let start = Instant::now();
            let Some((id, page)) = pages.next() else {
                return Ok(Downstream::Listening);
            };
            self.run
                .ledger
                .spend(self.index, Stage::Render, start.elapsed());
            self.run.ledger.tell(Event::Done(Stage::Render, 1));
            match page {
                Ok(rendered) => {
                    let sheet = Sheet {
                        job: self.index,
                        record: self.record(manual, id, &rendered),
                    };
                    if self.out.send((sheet, rendered)).is_err() {
                        return Ok(Downstream::Gone);
                    }
                }
                Err(error) => {
                    if self.job.known.contains_key(&id.number) {
                        // What is stored under this id shows a page that the file no longer has.
                        self.store.remove(&id.manual, &PageSet::of([id.number]))?;
                    }
                    self.run.ledger.page_failed(self.index, &id, error);
                }
            }
            if self.run.stopped() {
                return Ok(Downstream::Listening);
            }
        }
    }

    fn record(&self, manual: &Manual, id: crate::page::PageId, rendered: &Rendered) -> StoredPage {
        StoredPage {
            origin: self.job.origin.clone(),
            content: String::new(),
            label: manual.label(id.number).map(str::to_owned),
            section: manual.section(id.number).map(str::to_owned),
            text: rendered.text.clone(),
            description: None,
            blank: rendered.blank,
            thumbnail: Vec::new(),
            vectors: Vectors::Kept,
            id,
        }
    }
}
