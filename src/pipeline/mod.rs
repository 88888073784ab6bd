//! The ingest pipeline: render → prepare → embed → store, one thread per stage, connected by bounded channels.
//!
//! A flow ([`run`]) processes one task after another with the same components; [`ingest`] is a flow with one task. Each
//! component is opened on the thread that uses it, so a model need not be `Send`, and only when it is needed: an unchanged
//! library opens neither PDFium nor the weights.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::batch::Limits;
use crate::embed::meaning::Meaning;
use crate::embed::{self, Embedder};
use crate::patch::Prepare;
use crate::render::{self, Renderer};
use crate::store::{self, StoredPage, Writer};

mod batch_writer;
mod content;
mod discover;
mod event;
mod flow;
mod folder;
mod last_run;
mod memory_plan;
mod notes;
mod stages;
mod stats;
mod sync;
mod task;
mod text_model;
mod thumbnail;
mod twins;

pub use content::content_digest;
pub use discover::{
    FileStamp, Input, Inputs, Job, Profiles, Request, Twin, absolute_path, discover,
};
pub use event::{Availability, Event, Stage};
pub use flow::run;
pub use folder::{EXTENSIONS, LeftOut, RejectedInput};
pub use last_run::last_run;
pub use memory_plan::{MemoryBudget, Plan, PlanError, plan};
pub use notes::PageNote;
pub use stats::{Batch, ManualStats, RunStats};
pub use sync::sync;
pub use twins::{count_twins, empty_stats};

use last_run::Recorder;
use task::TaskInHand;

/// Opens a component on the thread that uses it.
pub type Opener<'a, T, E> = Box<dyn FnOnce() -> Result<Box<T>, E> + Send + 'a>;

/// The renderer, the model and the store of a flow.
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

/// Settings of a flow.
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

/// A component failed: the flow ends, stored pages stay.
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

/// The inputs of a run, and who is told what happens to them.
pub struct Task<'t> {
    /// The inputs, in the order of their statistics.
    pub inputs: Cow<'t, [Input]>,
    /// Who gave the task.
    pub client: Box<dyn Client + 't>,
}

/// Who gave a task: can stop it, and is told what happens to it. Called from several threads.
pub trait Client: Send + Sync {
    /// Whether the task is to end after the batch in hand. Pages of other tasks go on.
    fn is_stopped(&self) -> bool;

    /// Something happened to the task.
    fn on_event(&self, event: Event);

    /// The task ended: each requested page is stored, unchanged, deferred or failed, as the statistics say, or the task was
    /// stopped ([`RunStats::stopped`]).
    fn on_end(&self, stats: RunStats);

    /// The flow failed before all pages of the task had a verdict; [`run`] returns the error. Pages counted as stored are in
    /// the store.
    fn on_abort(&self, stats: RunStats);
}

/// Where a flow takes its tasks from. The next one is taken when all pages of the last one were rendered, and the records of
/// its manuals are in the store.
pub trait TaskSource<'t> {
    /// The next task; waits for one up to `timeout`.
    fn next(&mut self, timeout: Duration) -> NextTask<'t>;
}

/// What a source of tasks has.
pub enum NextTask<'t> {
    /// A task.
    Task(Task<'t>),
    /// No task yet.
    Later,
    /// No task any more: the flow ends when all that were taken have ended.
    End,
}

impl<'t> TaskSource<'t> for Receiver<Task<'t>> {
    fn next(&mut self, timeout: Duration) -> NextTask<'t> {
        match self.recv_timeout(timeout) {
            Ok(task) => NextTask::Task(task),
            Err(RecvTimeoutError::Timeout) => NextTask::Later,
            Err(RecvTimeoutError::Disconnected) => NextTask::End,
        }
    }
}

/// A page between two stages: its record, as far as it is known.
struct InFlightPage<'t> {
    task: Arc<TaskInHand<'t>>,
    /// Index of its manual in the inputs of its task.
    job: usize,
    record: StoredPage,
}

/// What passes through the queues before the model.
enum Item<T> {
    Page(T),
    /// No page follows for now: a batch that is not full is processed.
    Flush,
}

/// What the stages of a flow share.
#[derive(Clone, Copy)]
struct FlowContext<'a> {
    settings: &'a Settings,
    recorder: &'a Recorder<'a>,
    /// Set when a stage has ended: no further task is taken.
    is_closing: &'a AtomicBool,
}

/// The client of a run with one task.
struct RunClient<'a> {
    stop: &'a AtomicBool,
    on_event: &'a (dyn Fn(Event) + Sync),
    stats: Mutex<RunStats>,
}

impl<'a> RunClient<'a> {
    fn new(stop: &'a AtomicBool, on_event: &'a (dyn Fn(Event) + Sync)) -> Self {
        Self {
            stop,
            on_event,
            stats: Mutex::default(),
        }
    }
}

impl Client for &RunClient<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn on_event(&self, event: Event) {
        (self.on_event)(event);
    }

    fn on_end(&self, stats: RunStats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    fn on_abort(&self, stats: RunStats) {
        self.on_end(stats);
    }
}

/// Ingests every page of `inputs`: a flow with one task. `stop`, once true, ends the run after the current batch. `on_event`
/// is called from several threads.
///
/// The statistics are valid on errors too: pages counted as stored are in the store.
pub fn ingest(
    components: Components<'_>,
    inputs: &Inputs,
    settings: &Settings,
    stop: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> (RunStats, Result<(), Error>) {
    let client = RunClient::new(stop, on_event);
    let task = Task {
        inputs: Cow::Borrowed(&inputs.items),
        client: Box::new(&client),
    };
    let result = run(components, settings, OneTask(Some(task)));
    let stats = client.stats.into_inner();
    (stats.unwrap_or_else(PoisonError::into_inner), result)
}

/// A source of one task.
struct OneTask<'t>(Option<Task<'t>>);

impl<'t> TaskSource<'t> for OneTask<'t> {
    fn next(&mut self, _timeout: Duration) -> NextTask<'t> {
        self.0.take().map_or(NextTask::End, NextTask::Task)
    }
}

/// Returns the result of a stage; resumes its panic here.
fn joined<T>(stage: thread::ScopedJoinHandle<'_, T>) -> T {
    stage
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
