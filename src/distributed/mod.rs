//! Many machines fill one library: a coordinator queues the pages that a store lacks, or that have no description, workers take
//! them in items of some pages and store them. The queue is a list of what is left; what the store has is the truth.
//!
//! An item may be processed more than once, after the death of a worker for example: pages have fixed ids, and a worker asks
//! the store for those that are up to date.

mod coordinator;
mod group;
mod messages;
pub mod schedule;
mod worker;

use std::sync::Arc;

pub use coordinator::{
    Coordinated, Coordinator, Event, Indexed, Outcome, WorkerShare, cancel, forget_ended, runs,
};
pub use group::{Group, Work};
pub use messages::{Process, Run, RunState, Worker};
pub use worker::{Indexer, WorkerEvent, WorkerRun, WorkerStats};

use crate::config::Settings;
use crate::embed::Card;
use crate::queue::{self, Queue};
use crate::store::{self, Address, CollectionSelector, Mode, Opened, digest};
use crate::vlm::{Part, prompt};
use crate::{annotate, pipeline, render};

/// Error of a coordinator or a worker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The renderer failed as a whole.
    #[error(transparent)]
    Render(#[from] render::Error),
    /// The pipeline of a worker failed.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// The descriptions of a worker failed.
    #[error(transparent)]
    Annotate(#[from] annotate::Error),
    /// The store is a file, which one machine writes.
    #[error("the store {0} is a file, which only one machine can fill")]
    NotAServer(String),
    /// Another run fills the store.
    #[error("the store {store} is being filled by another run, which {host} coordinates: {run}")]
    Busy {
        /// The store.
        store: String,
        /// The other run; that it has none yet while it is being prepared.
        run: String,
        /// The machine of its coordinator.
        host: String,
    },
    /// Another coordinator has taken the run over.
    #[error("{host} coordinates the run now: this machine did not answer for some seconds")]
    LeadLost {
        /// The machine of the other coordinator.
        host: String,
    },
    /// Runs wait, and none of them can be done with the settings of this worker.
    #[error("this worker cannot do the work of run {run}: {differences}")]
    Mismatch {
        /// A run.
        run: String,
        /// What differs.
        differences: String,
    },
    /// There is no such run.
    #[error("there is no run `{0}` in the queue")]
    NoRun(String),
}

/// Connects to the queue of the settings.
///
/// # Errors
/// [`Error::Queue`] if none is set, or it cannot be reached.
pub fn connect(settings: &Settings) -> Result<Queue, Error> {
    Ok(Queue::connect(&settings.queue)?)
}

/// Opens the store of the settings without an outbox: pages that it does not take stay in the queue.
///
/// # Errors
/// [`Error::NotAServer`], or [`Error::Store`] if it cannot be opened, or holds pages of another model than the selected one.
pub fn open_store(settings: &Settings, selector: CollectionSelector<'_>) -> Result<Opened, Error> {
    if let Address::File(_) = settings.store.url {
        return Err(Error::NotAServer(store::name(&settings.store)?));
    }
    Ok(store::open(&settings.store, selector, Mode::Direct)?)
}

/// The group of machines that index pages with these settings.
pub fn index_group(settings: &Settings, card: &Card, opened: &Opened) -> Group {
    let work = Work::Pages {
        profile: card.profile.id.clone(),
        render: settings.render.profile(),
        text_profile: settings.embed.text_profile().map(str::to_owned),
    };
    Group::new(&opened.location, &card.profile.model, work)
}

/// The group of machines that describe pages with these settings. `model`: its full name; `location`: of the store.
pub fn describe_group(settings: &Settings, model: &str, location: &str) -> Group {
    let config = &settings.describe;
    let work = Work::Describe {
        runner: config.runner,
        prompt: digest_of_prompts(),
        pixels: config.pixels(),
        max_tokens: config.max_tokens,
    };
    Group::new(location, model, work)
}

/// Digest of all prompts for a description.
fn digest_of_prompts() -> String {
    let page = |page| prompt::PageImagePrompt {
        page,
        page_count: 2,
        manual: "manual".to_owned(),
        jpeg: Arc::from([]),
    };
    let parts = [
        prompt::one_page(&page(1)),
        prompt::one_page_short(&page(1)),
        prompt::several_pages(&[page(1), page(2)]),
    ];
    let text = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Image(_) => "image".to_owned(),
    };
    let texts: Vec<String> = parts.iter().flatten().map(text).collect();
    let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    group::shortened(&digest(&texts))
}

/// Reads a message; `None` for one of another version.
fn parse<T: serde::de::DeserializeOwned>(message: &[u8]) -> Option<T> {
    serde_json::from_slice(message).ok()
}

/// Writes a message.
fn to_json(message: &impl serde::Serialize) -> Vec<u8> {
    serde_json::json!(message).to_string().into_bytes()
}

/// Keys of the bucket of runs, and of workers.
mod keys {
    pub(super) const RUN: &str = "run.";
    pub(super) const WORKER: &str = "worker.";

    pub(super) fn run(run: &str) -> String {
        format!("{RUN}{run}")
    }

    /// The id of the run of the same files with the same model that has not ended.
    pub(super) fn active(base: &str) -> String {
        format!("active.{base}")
    }

    pub(super) fn manuals(run: &str) -> String {
        format!("manual.{run}.")
    }

    pub(super) fn manual(run: &str, file: &str) -> String {
        format!("manual.{run}.{file}")
    }

    /// The workers that have begun an item.
    pub(super) fn begun(run: &str, item: &str) -> String {
        format!("{}{item}", all_begun(run))
    }

    pub(super) fn all_begun(run: &str) -> String {
        format!("begun.{run}.")
    }

    pub(super) fn worker(id: &str) -> String {
        format!("{WORKER}{id}")
    }

    pub(super) fn lead(store: &str) -> String {
        format!("lead.{store}")
    }
}
