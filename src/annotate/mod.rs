//! Describing: renders stored pages again, describes them with a vision-language model, and stores the descriptions.
//!
//! Blank pages and near-duplicates need no model. The others are queued for workers, each of which sends one page, or a
//! few, per request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;

use crate::chat::{self, Exchange, Gauge, MemoryGuard, RetryingClient};
use crate::page::PageId;
use crate::render::{self, Renderer};
use crate::store::{self, Store};
use crate::vlm::{self, Runner};

mod benchmark;
mod canary;
mod describe_pages;
mod duplicates;
mod produce;
mod record;
mod select;
mod workers;

pub use benchmark::{DescribeResult, Round, Trial};
pub use select::{Redo, Request};

use canary::Canary;
use describe_pages::Describer;

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Concurrent requests.
    pub lanes: usize,
    /// Pages per request.
    pub interleave: usize,
    /// Settings of the requests.
    pub chat: chat::Settings,
    /// Attempts per page before it has failed.
    pub attempts: u32,
    /// Pages after which the model is unloaded, and so reloaded; 0: never.
    pub unload_every: usize,
    /// Pages between two checks that the model still describes the canary page the same way; 0: never.
    pub canary_every: usize,
}

/// The renderer, the model, the store and the memory gauge of a run.
pub struct Components<'a> {
    /// Opens the renderer.
    pub renderer: Box<dyn FnOnce() -> Result<Box<dyn Renderer>, render::Error> + Send + 'a>,
    /// The model.
    pub runner: &'a dyn Runner,
    /// The store with the pages.
    pub store: &'a dyn Store,
    /// Measures the memory of the model.
    pub gauge: &'a Gauge<'a>,
}

/// A component failed: the run ends, stored descriptions stay.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The renderer failed.
    #[error(transparent)]
    Render(#[from] render::Error),
    /// The runner failed.
    #[error(transparent)]
    Describe(#[from] vlm::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// An event of a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// This many pages were selected.
    Selected(usize),
    /// A page is done: described, failed, blank or a near-duplicate.
    Done(PageId),
    /// A page is tried again, for this reason.
    Retried(PageId, String),
    /// A request was completed.
    Completed(Exchange),
    /// A message for the user.
    Note(String),
}

impl From<chat::Event> for Event {
    fn from(event: chat::Event) -> Self {
        match event {
            chat::Event::Completed(exchange) => Self::Completed(exchange),
            chat::Event::Note(text) => Self::Note(text),
        }
    }
}

/// Statistics of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DescribeStats {
    /// Pages described.
    pub described: u32,
    /// Near-duplicates that received the description of their original.
    #[serde(rename = "twins")]
    pub duplicates: u32,
    /// Blank pages, which need no description.
    pub blank: u32,
    /// Pages that had a description already.
    #[serde(rename = "kept")]
    pub unchanged: u32,
    /// Those among them that failed in an earlier run.
    #[serde(skip)]
    pub failed_before: u32,
    /// Pages that failed.
    pub failed: Vec<Failure>,
    /// Manuals that could not be read, with the reason.
    pub manuals: BTreeMap<String, String>,
    /// Whether one of them is protected by a password that was not given.
    #[serde(skip)]
    pub needs_password: bool,
    /// Number of retries by failure class.
    pub retries: BTreeMap<String, u32>,
    /// Tokens generated.
    pub tokens: u64,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Peak memory of the model in bytes; `None` if unknown.
    pub memory: Option<u64>,
    /// Whether the run was stopped before its end.
    pub stopped: bool,
}

/// A page that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The page.
    pub page: String,
    /// The failure class.
    pub class: String,
    /// The reason, for people.
    pub why: String,
}

impl DescribeStats {
    /// The exit code: 0 if nothing failed, 1 if something did, 2 if something did and no requested page has a
    /// description. `ended`: an error ended the run; then descriptions of earlier runs do not count.
    pub fn exit_code(&self, ended: bool) -> u8 {
        let failed = ended || self.stopped || !self.failed.is_empty() || !self.manuals.is_empty();
        let earlier = match ended {
            true => 0,
            false => self.unchanged - self.failed_before,
        };
        match (failed, self.described + self.duplicates + earlier) {
            (false, _) => 0,
            (true, 0) => 2,
            (true, _) => 1,
        }
    }
}

/// Describes stored pages. `stop`, once true, ends the run after the pages in flight.
///
/// The statistics are valid on errors too: pages counted as described are in the store.
pub fn annotate(
    components: Components<'_>,
    request: &Request,
    settings: &Settings,
    stop: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> (DescribeStats, Result<(), Error>) {
    let start = Instant::now();
    let mut stats = DescribeStats::default();
    let context = RunContext {
        settings,
        stop,
        on_event,
    };
    let result = run(components, request, &context, &mut stats);
    stats.seconds = start.elapsed().as_secs_f64();
    stats.stopped = stop.load(Ordering::Relaxed);
    (stats, result)
}

/// Settings, stop flag and event callback of a run.
struct RunContext<'a> {
    settings: &'a Settings,
    stop: &'a AtomicBool,
    on_event: &'a (dyn Fn(Event) + Sync),
}

fn run(
    components: Components<'_>,
    request: &Request,
    context: &RunContext<'_>,
    stats: &mut DescribeStats,
) -> Result<(), Error> {
    let &RunContext {
        settings,
        stop,
        on_event,
    } = context;
    let selection = select::select_pages(components.store, request)?;
    stats.unchanged = selection.unchanged;
    stats.failed_before = selection.failed_before;
    let jobs = selection.jobs;
    let selected = jobs.iter().map(|job| job.pages.len()).sum();
    on_event(Event::Selected(selected));
    let unloads = components.runner.card().can_unload;
    if settings.unload_every > 0 && !unloads {
        let why = "this server cannot unload its model: `unload_every` has no effect";
        on_event(Event::Note(why.to_owned()));
    }
    let guard = MemoryGuard::new(components.gauge, settings.chat.memory, unloads);
    let aborted = AtomicBool::new(false);
    let on_chat = |event: chat::Event| on_event(event.into());
    let client = RetryingClient::new(components.runner, settings.chat, &guard, &aborted, &on_chat);
    let describer = Describer::new(client, settings, on_event);
    // With too few pages for one interval the check has no effect.
    let every = settings.canary_every;
    let canary = Canary::new(if selected > every { every } else { 0 });
    let (stop_flags, renderer) = ([stop, &aborted], components.renderer);
    let result = workers::run_workers(
        &describer,
        canary,
        |task_sender, outcome_sender| {
            let producer = produce::PageProducer {
                interleave: settings.interleave,
                passwords: &request.passwords,
                stop: stop_flags,
                task_sender,
                outcome_sender,
            };
            producer.run(renderer, &jobs)
        },
        |outcomes| {
            let model = &components.runner.card().model;
            record::record_results(components.store, model, outcomes, stats, on_event)
        },
    );
    stats.memory = guard.peak();
    result
}
