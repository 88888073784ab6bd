//! The main flow: render → prepare → embed → store, each stage a thread, bounded channels between them.
//!
//! A flow receives recipes and opens each part on the thread that uses it, so a model need not be `Send`. What is not
//! needed is not opened: an unchanged library opens neither PDFium nor the weights.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use crate::batch::Limits;
use crate::embed::{self, Embedder};
use crate::patch::{Prepare, Prepared};
use crate::render::{self, Renderer};
use crate::store::{self, StoredPage, Writer};

mod batch_writer;
mod discover;
mod plan;
mod stages;
mod stats;
mod sync;
mod thumbnail;

pub use discover::{Inputs, Job, RejectedInput, Request, discover};
pub use plan::{MemoryBudget, Plan, PlanError, plan};
pub use stats::{Batch, Event, Failure, ManualStats, RunStats, Stage};
pub use sync::sync;

use stats::StatsCollector;

/// Opens a part on the thread that will use it.
pub type Opener<'a, T, E> = Box<dyn FnOnce() -> Result<Box<T>, E> + Send + 'a>;

/// What a run works with.
pub struct Components<'a> {
    /// Opens the renderer, when the first manual must be opened.
    pub renderer: Opener<'a, dyn Renderer, render::Error>,
    /// Opens the model, when the first page must be embedded.
    pub embedder: Opener<'a, dyn Embedder, embed::Error>,
    /// Where pages go.
    pub store: &'a (dyn Writer + Sync),
}

/// How a run works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the model wants its pages.
    pub prepare: Prepare,
    /// How pages are rendered: [`render::Config::profile`].
    pub render: String,
    /// Which pages of each manual.
    pub pages: crate::page::PageSet,
    /// What a batch may hold.
    pub limits: Limits,
    /// Rendered pages that may wait between rendering and preparing.
    pub queue: usize,
}

/// A part that failed as a whole: the run ends, what is stored stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No worker could be started.
    #[error(transparent)]
    Render(#[from] render::Error),
    /// The model cannot be opened, or failed.
    #[error(transparent)]
    Embed(#[from] embed::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A page between two stages: what will be stored of it, but for its vectors.
struct InFlightPage {
    /// Which manual of the run it belongs to.
    job: usize,
    record: StoredPage,
}

/// What all stages see of a run.
struct Run<'a> {
    jobs: &'a [Result<Job, RejectedInput>],
    settings: &'a Settings,
    collector: &'a StatsCollector<'a>,
    stop: &'a AtomicBool,
}

impl Run<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Stores every page of `jobs`. `stop`, once true, ends the run after the batch in hand. What happens is told to
/// `on_event`, from several threads.
///
/// The tally is complete also when a part failed: what it counts as stored is in the store.
pub fn ingest(
    parts: Components<'_>,
    jobs: &Inputs,
    settings: &Settings,
    stop: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> (RunStats, Result<(), Error>) {
    let start = Instant::now();
    let collector = StatsCollector::new(jobs.iter().map(empty_stats).collect(), on_event);
    let run = Run {
        jobs,
        settings,
        collector: &collector,
        stop,
    };
    let result = flow(parts, &run);
    let mut stats = collector.close();
    stats.wall = start.elapsed().as_secs_f64();
    stats.stopped = stop.load(Ordering::Relaxed);
    (stats, result)
}

fn empty_stats(job: &Result<Job, RejectedInput>) -> ManualStats {
    let (manual, path) = match job {
        Ok(job) => (job.source.manual.to_string(), job.source.path.clone()),
        Err(rejected) => (rejected.path.display().to_string(), rejected.path.clone()),
    };
    ManualStats {
        manual,
        path,
        ..ManualStats::default()
    }
}

/// Runs the four stages. Queues hold one batch each, so that the model never waits for a batch to be put together, and
/// few batches are in flight: one being prepared, one in the model, and on the way into the store what its pace says.
fn flow(parts: Components<'_>, run: &Run<'_>) -> Result<(), Error> {
    let Components {
        renderer,
        embedder,
        store,
    } = parts;
    let batch = run.settings.limits.pages.max(1);
    let (rendered, to_prepare) = sync_channel(run.settings.queue.max(1));
    let (prepared, to_embed) = sync_channel::<(InFlightPage, Option<Prepared>)>(batch);
    let (embedded, to_store) = sync_channel::<Vec<InFlightPage>>(1);
    thread::scope(|scope| {
        let render = scope.spawn(move || stages::render::run(run, renderer, store, &rendered));
        scope.spawn(move || stages::prepare::run(run, &to_prepare, &prepared));
        let embed = scope.spawn(move || stages::embed::run(run, embedder, &to_embed, &embedded));
        let kept = stages::store::run(run.collector, store, to_store);
        let embed = joined(embed);
        let render = joined(render);
        kept.and(embed).and(render)
    })
}

/// The result of a stage; its panic goes on here.
fn joined<T>(stage: thread::ScopedJoinHandle<'_, T>) -> T {
    stage
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
