//! The render stage: takes one task after another, opens its manuals and renders the pages that are not up to date.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::{Duration, Instant};

use crate::page::{PageId, PageSet};
use crate::render::{Error as RenderError, Manual, Rendered, Renderer};
use crate::store::{ManualCard, StoredPage, TextUpdate, VectorUpdate};

use super::super::discover::FileStamp;
use super::super::stats::StatsCollector;
use super::super::task::{OpenTask, TaskInHand};
use super::super::twins::empty_stats;
use super::super::{
    Availability, Error, Event, FlowContext, InFlightPage, Input, Item, Job, NextTask, Opener,
    Settings, Stage, Task, TaskSource,
};

/// Time between two looks whether the flow has failed, while no task is there.
const TICK: Duration = Duration::from_millis(100);

/// A page with its image and text layer.
pub(in crate::pipeline) type RenderedPage<'t> = (InFlightPage<'t>, Rendered);

type Out<'t> = SyncSender<Item<RenderedPage<'t>>>;

pub(in crate::pipeline) fn run<'t>(
    flow: FlowContext<'_>,
    opener: Opener<'_, dyn Renderer, RenderError>,
    mut tasks: impl TaskSource<'t>,
    (out, ended): (&Out<'t>, &Sender<Arc<OpenTask<'t>>>),
) -> Result<(), Error> {
    let mut stage = RenderStage {
        flow,
        opener: Some(opener),
        renderer: None,
        out,
    };
    while let Some(Task { inputs, client }) = stage.next_task(&mut tasks) {
        let collector = StatsCollector::new(empty_stats(&inputs), client);
        let task = Arc::new(OpenTask::new(inputs, collector));
        if stage.read(&TaskInHand::new(task, ended.clone()))? == Downstream::Closed {
            break;
        }
    }
    Ok(())
}

/// State of the render stage.
struct RenderStage<'a, 't> {
    flow: FlowContext<'a>,
    opener: Option<Opener<'a, dyn Renderer, RenderError>>,
    renderer: Option<Box<dyn Renderer>>,
    out: &'a Out<'t>,
}

impl<'t> RenderStage<'_, 't> {
    /// Waits for a task. While none is there, the pages that wait for more of them to fill a batch go on without.
    fn next_task(&self, tasks: &mut impl TaskSource<'t>) -> Option<Task<'t>> {
        let mut timeout = Duration::ZERO;
        loop {
            match tasks.next(timeout) {
                NextTask::Task(task) => return Some(task),
                NextTask::End => return None,
                NextTask::Later if timeout.is_zero() => self.out.send(Item::Flush).ok()?,
                NextTask::Later => {}
            }
            if self.flow.is_closing.load(Ordering::Relaxed) {
                return None;
            }
            timeout = TICK;
        }
    }

    fn read(&mut self, task: &Arc<TaskInHand<'t>>) -> Result<Downstream, Error> {
        for (index, input) in task.inputs.iter().enumerate() {
            if task.is_stopped() {
                break;
            }
            let job = match input {
                Input::Job(job) => job,
                Input::Twin(_) => continue,
                Input::Rejected(rejected) => {
                    task.collector.manual_failed(index, &rejected.why);
                    continue;
                }
            };
            if let Some(path) = &job.copy {
                let manual = &job.source.manual;
                task.collector.emit_same(path, manual, Availability::Stored);
            }
            if let Some(pages) = job.unchanged {
                skip_unchanged(self.flow, (task, index), job, pages)?;
                continue;
            }
            if let Some(opener) = self.opener.take() {
                self.renderer = Some(opener()?);
            }
            let Some(renderer) = self.renderer.as_deref_mut() else {
                return Ok(Downstream::Closed);
            };
            let reader = ManualReader {
                flow: self.flow,
                task,
                index,
                job,
                out: self.out,
            };
            if reader.read(renderer)? == Downstream::Closed {
                return Ok(Downstream::Closed);
            }
        }
        Ok(Downstream::Open)
    }
}

/// Counts a manual whose requested pages are all up to date; updates its path if it moved.
fn skip_unchanged(
    flow: FlowContext<'_>,
    (task, index): (&OpenTask<'_>, usize),
    job: &Job,
    pages: u32,
) -> Result<(), Error> {
    if job.moved {
        let card = manual_card(flow.settings, job, job.pages.unwrap_or(pages));
        let recorder = flow.recorder;
        recorder.checked(recorder.store.upsert_manual(&card))?;
    }
    task.collector
        .update_manual(index, |m| (m.pages, m.unchanged) = (pages, pages));
    Ok(())
}

fn manual_card(settings: &Settings, job: &Job, pages: u32) -> ManualCard {
    ManualCard {
        id: job.source.manual.clone(),
        path: job.path.clone(),
        file: job.file.clone(),
        render: settings.render.clone(),
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
struct ManualReader<'a, 't> {
    flow: FlowContext<'a>,
    task: &'a Arc<TaskInHand<'t>>,
    index: usize,
    job: &'a Job,
    out: &'a Out<'t>,
}

impl ManualReader<'_, '_> {
    fn read(&self, renderer: &mut dyn Renderer) -> Result<Downstream, Error> {
        let start = Instant::now();
        self.task.opened().insert(self.index, start);
        let manual = match renderer.open(&self.job.source) {
            Ok(manual) => manual,
            Err(e @ RenderError::Library(_)) => return Err(e.into()),
            Err(_) if self.has_changed() => return Ok(self.changed_while_read()),
            Err(e) => {
                self.task.collector.open_failed(self.index, e);
                return Ok(Downstream::Open);
            }
        };
        if self.has_changed() {
            return Ok(self.changed_while_read());
        }
        for content in &manual.missing {
            self.task.collector.emit(Event::ContentMissing {
                manual: self.job.source.manual.clone(),
                content: content.clone(),
            });
        }
        let Some(todo) = self.upsert_manual(&manual)? else {
            return Ok(Downstream::Open);
        };
        self.task
            .collector
            .add_time(self.index, Stage::Render, start.elapsed());
        let downstream = self.render_pages(renderer, &manual, &todo);
        self.task.collector.emit_notes(self.index);
        downstream
    }

    /// Whether the file is no longer the one whose digest was taken.
    fn has_changed(&self) -> bool {
        FileStamp::of(&self.job.source.path) != self.job.stamp
    }

    /// Fails the manual: neither its pages nor the renderer are to blame, and the next run reads all of it.
    fn changed_while_read(&self) -> Downstream {
        let why = "changed while it was read; run the same command again";
        self.task.collector.manual_failed(self.index, why);
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
            self.task.collector.manual_failed(self.index, &why);
            return Ok(None);
        }
        let recorder = self.flow.recorder;
        let card = manual_card(self.flow.settings, self.job, manual.pages);
        recorder.checked(recorder.store.upsert_manual(&card))?;
        if self.job.fingerprints.keys().any(|&n| n > manual.pages) {
            self.remove(&PageSet::starting_at(manual.pages + 1))?;
        }
        let (up_to_date, todo): (Vec<u32>, Vec<u32>) =
            requested.iter().partition(|n| self.job.is_current(**n));
        self.task.collector.update_manual(self.index, |m| {
            m.pages = requested.len() as u32;
            m.unchanged = up_to_date.len() as u32;
        });
        let event = Event::Opened {
            manual: self.job.source.manual.clone(),
            todo: todo.len() as u32,
        };
        self.task.collector.emit(event);
        Ok(Some(PageSet::of(todo)))
    }

    fn remove(&self, pages: &PageSet) -> Result<(), Error> {
        let recorder = self.flow.recorder;
        let removed = recorder.store.remove(&self.job.source.manual, pages);
        Ok(recorder.checked(removed).map(drop)?)
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
            self.task
                .collector
                .add_time(self.index, Stage::Render, start.elapsed());
            if self.has_changed() {
                return Ok(self.changed_while_read());
            }
            self.task.collector.emit(Event::Done(Stage::Render, 1));
            match page {
                Ok(rendered) => {
                    let collector = &self.task.collector;
                    collector.page_rendered(self.index, id.number, &rendered);
                    let page = InFlightPage {
                        task: Arc::clone(self.task),
                        job: self.index,
                        record: self.record(manual, id, &rendered),
                    };
                    if self.out.send(Item::Page((page, rendered))).is_err() {
                        return Ok(Downstream::Closed);
                    }
                }
                Err(error) => {
                    if self.job.fingerprints.contains_key(&id.number) {
                        // The stored page with this id is one that the file no longer has.
                        self.remove(&PageSet::of([id.number]))?;
                    }
                    self.task.collector.page_failed(self.index, &id, error);
                }
            }
            if self.task.is_stopped() {
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
