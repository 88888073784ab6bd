//! The ingest pipeline: render → prepare → embed → store, one thread per stage, connected by bounded channels.
//!
//! Each component is opened on the thread that uses it, so a model need not be `Send`, and only when it is needed: an
//! unchanged library opens neither PDFium nor the weights.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use crate::batch::Limits;
use crate::embed::meaning::Meaning;
use crate::embed::{self, Embedder};
use crate::patch::{Prepare, Prepared};
use crate::render::{self, Renderer};
use crate::store::{self, StoredPage, Writer};

mod batch_writer;
mod content;
mod discover;
mod event;
mod folder;
mod last_run;
mod memory_plan;
mod notes;
mod stages;
mod stats;
mod sync;
mod text_model;
mod thumbnail;
mod twins;

pub use content::content_digest;
pub use discover::{
    FileStamp, Input, Inputs, Job, Profiles, Request, Twin, absolute_path, discover,
};
pub use event::{Availability, Event, Stage};
pub use folder::{EXTENSIONS, LeftOut, RejectedInput};
pub use memory_plan::{MemoryBudget, Plan, PlanError, plan};
pub use notes::PageNote;
pub use stats::{Batch, ManualStats, RunStats};
pub use sync::sync;

use last_run::Recorder;
use stats::StatsCollector;
use text_model::TextModel;
use twins::{empty_stats, finish_twins};

/// Opens a component on the thread that uses it.
pub type Opener<'a, T, E> = Box<dyn FnOnce() -> Result<Box<T>, E> + Send + 'a>;

/// The renderer, the model and the store of a run.
pub struct Components<'a> {
    /// Opens the renderer; called for the first manual that must be read.
    pub renderer: Opener<'a, dyn Renderer, render::Error>,
    /// Opens the model; called for the first page that must be embedded.
    pub embedder: Opener<'a, dyn Embedder, embed::Error>,
    /// Opens the text model; called for the first page with a text layer, or the first that is read. `None`: pages get no
    /// text vectors.
    pub meaning: Option<Opener<'static, Meaning, embed::Error>>,
    /// Stores the pages.
    pub store: &'a (dyn Writer + Sync),
}

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How pages are prepared for the model.
    pub prepare: Prepare,
    /// The render profile: [`render::Config::profile`].
    pub render: String,
    /// Limits of a batch.
    pub limits: Limits,
    /// Id of the model's profile if its rows can be read as words ([`embed::reading`]): then pages whose text layer says
    /// little are, if pages get text vectors.
    pub reads_with: Option<String>,
    /// Capacity of the queue of rendered pages, between render and prepare.
    pub queue: usize,
}

/// A component failed: the run ends, stored pages stay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The renderer failed.
    #[error(transparent)]
    Render(#[from] render::Error),
    /// The model cannot be loaded, or failed.
    #[error(transparent)]
    Embed(#[from] embed::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A page between two stages: its record, as far as it is known.
struct InFlightPage {
    /// Index of its manual in the run's inputs.
    job: usize,
    record: StoredPage,
}

/// Inputs, settings, statistics and stop flag of a run; shared by all stages.
struct RunContext<'a> {
    inputs: &'a [Input],
    settings: &'a Settings,
    collector: &'a StatsCollector<'a>,
    recorder: &'a Recorder<'a>,
    stop: &'a AtomicBool,
}

impl RunContext<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Ingests every page of `inputs`. `stop`, once true, ends the run after the current batch. `on_event` is called from
/// several threads.
///
/// The statistics are valid on errors too: pages counted as stored are in the store.
pub fn ingest(
    components: Components<'_>,
    inputs: &Inputs,
    settings: &Settings,
    stop: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> (RunStats, Result<(), Error>) {
    let start = Instant::now();
    let collector = StatsCollector::new(empty_stats(&inputs.items), on_event);
    let recorder = Recorder::new(&collector, components.store);
    let context = RunContext {
        inputs: &inputs.items,
        settings,
        collector: &collector,
        recorder: &recorder,
        stop,
    };
    let result = run_stages(components, &context);
    if !matches!(result, Err(Error::Store(_))) {
        recorder.record_all();
    }
    finish_twins(&context);
    let mut stats = collector.finish();
    stats.wall = start.elapsed().as_secs_f64();
    stats.stopped = stop.load(Ordering::Relaxed);
    (stats, result)
}

/// Runs the four stages. Each queue holds one batch, so that the model never waits for a batch to be assembled and few
/// batches are in flight: one being prepared, one in the model, and on the way into the store what its batch policy
/// allows.
fn run_stages(components: Components<'_>, context: &RunContext<'_>) -> Result<(), Error> {
    let Components {
        renderer,
        embedder,
        meaning,
        store,
    } = components;
    let meaning = meaning.map(TextModel::new);
    let meaning = meaning.as_ref();
    let batch = context.settings.limits.pages.max(1);
    let (rendered, to_prepare) = sync_channel(context.settings.queue.max(1));
    let (prepared, to_embed) = sync_channel::<(InFlightPage, Option<Prepared>)>(batch);
    let (embedded, to_store) = sync_channel::<Vec<InFlightPage>>(1);
    thread::scope(|scope| {
        let render = scope.spawn(move || stages::render::run(context, renderer, store, &rendered));
        let prepare =
            scope.spawn(move || stages::prepare::run(context, meaning, &to_prepare, &prepared));
        let embed = scope
            .spawn(move || stages::embed::run(context, embedder, meaning, &to_embed, &embedded));
        let stored = stages::store::run(context.recorder, to_store);
        let embed = joined(embed);
        let (prepare, render) = (joined(prepare), joined(render));
        stored.and(embed).and(prepare).and(render)
    })
}

/// Returns the result of a stage; resumes its panic here.
fn joined<T>(stage: thread::ScopedJoinHandle<'_, T>) -> T {
    stage
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
