//! Describes the pages of items: one item after the other, with a model that stays open.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::files::Files;
use super::held::HeldItem;
use super::page_writer::PageWriter;
use super::pull::{Fingerprints, ReadyItem};
use super::report::{EndedItem, ItemEnd};
use super::session::{LATER, Session, WorkerParts};
use super::{WorkerEvent, deaths, flow};
use crate::annotate::{self, DescribeStats, Event, Pages, Request};
use crate::distributed::Error;
use crate::distributed::group::Group;
use crate::distributed::messages::{Descriptions, Item, ItemResult};
use crate::library;
use crate::measure;
use crate::page::{Annotation, Outcome, PageSet};
use crate::pipeline::FileStamp;
use crate::queue::WorkGroup;
use crate::store::{self, FailedPage, Scope};
use crate::vlm::Runner;

/// The file of an item on this machine.
struct LocalFile {
    path: PathBuf,
    /// What it was when its digest was taken.
    stamp: FileStamp,
}

/// Describes items until the session ends; returns the pages per second, if known.
pub(super) fn work<'q>(
    worker: WorkerParts<'_, 'q>,
    (place, group): (&WorkGroup<'q>, Group),
    runner: &dyn Runner,
) -> (Option<f64>, Result<(), Error>) {
    let run = worker.run;
    let session = Session::new(worker, group, (runner.card().name.clone(), None));
    let files = Files::new(run.queue, &run.settings.queue);
    let prepare = |held: &HeldItem<'_>, _: &mut Fingerprints| {
        let path = files.locate(&held.item, &session.held.files());
        let path = path.map_err(|cause| session.later(&cause))?;
        session.set_problem(None);
        let stamp = FileStamp::of(&path);
        Ok(LocalFile { path, stamp })
    };
    let settings = library::describe_settings(run.settings, &run.settings.describe);
    let gauge = || runner.process().and_then(measure::process_memory);
    let model = annotate::Session::new(runner, settings.for_runner(runner.card()), &gauge);
    flow::work(&session, place, &prepare, |writer, ready, ended| {
        let describer = ItemDescriber {
            session: &session,
            model: &model,
            model_name: &runner.card().model,
            writer,
        };
        describer.run(&ready, &ended)
    })
}

/// Describes items.
struct ItemDescriber<'a, 'q> {
    session: &'a Session<'a, 'q>,
    model: &'a annotate::Session<'a>,
    model_name: &'a str,
    writer: &'a PageWriter<'a>,
}

impl<'q> ItemDescriber<'_, 'q> {
    /// Describes all items that are ready. After an error the others are handed back.
    fn run(
        &self,
        ready: &Receiver<ReadyItem<'q, LocalFile>>,
        ended: &Sender<EndedItem<'q>>,
    ) -> Result<(), Error> {
        let session = self.session;
        let mut result: Result<(), Error> = Ok(());
        for ReadyItem { held, job } in ready {
            let end = if session.is_stopped() || result.is_err() {
                ItemEnd::HandedBack(None)
            } else {
                // One after the other: each may enter.
                session.held.enter(&held);
                // Without this note the death of this process is not counted, and the item is tried once more.
                let process = session.worker.process;
                session.note(deaths::begin(session.queue, &held.item, process));
                let described = self.describe(&held.item, &job);
                session.held.leave(held.item.numbers().len() as u32);
                described.unwrap_or_else(|cause| {
                    result = Err(cause.into());
                    session.end();
                    ItemEnd::Failed
                })
            };
            // Nobody waits for it any more if the worker ended with a panic.
            let _ = ended.send(EndedItem { held, end });
        }
        result
    }

    /// Describes the pages of an item.
    fn describe(&self, item: &Item, file: &LocalFile) -> Result<ItemEnd, annotate::Error> {
        let run = self.session.worker.run;
        let done = Mutex::new(BTreeSet::new());
        let pages = Pages {
            renderer: Box::new(library::upright_renderer(run.settings)),
            catalogue: run.store,
            writer: self.writer,
        };
        let request = Request {
            manuals: vec![item.manual.clone()],
            pages: PageSet::of(item.numbers()),
            redo: item.redo,
            path: Some(file.path.clone()),
            model: self.model_name.to_owned(),
            ..Request::default()
        };
        let on_event = |event| self.on_event(event, (item, &done));
        let (stats, result) = self.model.describe(pages, &request, run.stop, &on_event);
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let is_changed = !stats.manuals.is_empty() && FileStamp::of(&file.path) != file.stamp;
        match result {
            Err(annotate::Error::Store(cause @ store::Error::Unavailable { .. })) => {
                Ok(ItemEnd::HandedBack(self.session.later(&cause)))
            }
            Err(cause) => Err(cause),
            Ok(()) if stats.stopped => Ok(ItemEnd::HandedBack(None)),
            // The file must be found or fetched again if it changed meanwhile.
            Ok(()) if is_changed || stats.deferred => Ok(ItemEnd::HandedBack(Some(LATER))),
            Ok(()) => match self.result(item, file, (stats, &done)) {
                Ok(result) => Ok(ItemEnd::Done(Box::new(result))),
                Err(cause) => Ok(ItemEnd::HandedBack(self.session.later(&cause))),
            },
        }
    }

    /// Notes what moves, and passes the event on.
    fn on_event(&self, event: Event, (item, done): (&Item, &Mutex<BTreeSet<u32>>)) {
        let held = &self.session.held;
        match &event {
            Event::Done(page) => {
                // Pages of earlier items are described again if the model has degraded.
                if page.manual == item.manual {
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.insert(page.number);
                }
                held.moved();
            }
            Event::Completed(exchange) => {
                let time = Duration::try_from_secs_f64(exchange.seconds);
                held.batch_took(time.unwrap_or_default());
                held.moved();
            }
            Event::Retried(..) => held.moved(),
            Event::Selected(_) | Event::Note(_) => {}
        }
        (self.session.worker.run.on_event)(WorkerEvent::Annotate(event));
    }

    /// What became of an item, as the store has it.
    fn result(
        &self,
        item: &Item,
        file: &LocalFile,
        (stats, done): (DescribeStats, &BTreeSet<u32>),
    ) -> Result<ItemResult, store::Error> {
        let scope = Scope {
            manuals: vec![item.manual.clone()],
            pages: PageSet::of(item.numbers()),
        };
        let mut stored = BTreeMap::new();
        for page in self.session.worker.run.store.records(&scope)? {
            let page = page?;
            let annotation = page.description.as_deref().and_then(Annotation::from_json);
            stored.insert(page.id.number, annotation);
        }
        let blank: BTreeSet<u32> = stats.blank_pages.iter().map(|page| page.number).collect();
        // The copy of the file is named as the file.
        let copy = file.path.display().to_string();
        let of_manual = stats.manuals.values().next();
        let of_manual = of_manual.map(|why| why.replace(&copy, &item.path));
        let reason = |page: u32| match stored.get(&page) {
            _ if blank.contains(&page) => None,
            None => Some("it is not stored any more".to_owned()),
            // What was to be described again has its old description.
            Some(_) if item.redo.is_some() && !done.contains(&page) => of_manual.clone(),
            Some(Some(annotation)) => match &annotation.outcome {
                Outcome::Described(_) => None,
                Outcome::Failed { class, why } => Some(format!("{class}: {why}")),
            },
            Some(None) => {
                let reason = of_manual.clone();
                Some(reason.unwrap_or_else(|| "the store did not take its description".to_owned()))
            }
        };
        let failed = |page| Some((page, reason(page)?));
        let failed = item.numbers().into_iter().filter_map(failed);
        let failed = failed.map(|(page, reason)| FailedPage { page, reason });
        Ok(ItemResult {
            failed: failed.collect(),
            descriptions: Descriptions {
                blank,
                retries: stats.retries,
                tokens: stats.tokens,
                memory: stats.memory,
            },
            ..ItemResult::failed(item, self.session.worker.process, "")
        })
    }
}
