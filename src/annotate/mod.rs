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
use crate::store::{self, Catalogue, Store, Writer};
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
pub use select::{Redo, Request, Selected, SelectedPage, list, take_least_text};

use canary::Canary;
use describe_pages::Describer;
use select::Selection;
use workers::Upkeep;

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Concurrent requests; 0: as the runner's card says.
    pub lanes: usize,
    /// Pages per request; 0: as the runner's card says.
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

impl Settings {
    /// With what the card of a runner says where nothing is set.
    #[must_use]
    pub fn for_runner(self, card: &vlm::Card) -> Self {
        let or_default = |set: usize, default: usize| if set == 0 { default } else { set };
        Self {
            lanes: or_default(self.lanes, card.lanes),
            interleave: or_default(self.interleave, card.interleave),
            ..self
        }
    }
}

/// Opens the renderer of a run.
pub type Opener<'a> = Box<dyn FnOnce() -> Result<Box<dyn Renderer>, render::Error> + Send + 'a>;

/// The renderer, the model, the store and the memory gauge of a run.
pub struct Components<'a> {
    /// Opens the renderer.
    pub renderer: Opener<'a>,
    /// The model.
    pub runner: &'a dyn Runner,
    /// The store with the pages.
    pub store: &'a dyn Store,
    /// Measures the memory of the model.
    pub gauge: &'a Gauge<'a>,
}

/// Where the pages of a run come from, and where their descriptions go.
pub struct Pages<'a> {
    /// Opens the renderer.
    pub renderer: Opener<'a>,
    /// Lists the pages.
    pub catalogue: &'a dyn Catalogue,
    /// Takes the descriptions.
    pub writer: &'a dyn Writer,
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
    /// These pages.
    #[serde(skip)]
    pub blank_pages: Vec<PageId>,
    /// Whether the store did not take a description, but the writer keeps it for later.
    #[serde(skip)]
    pub deferred: bool,
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
    let Components {
        renderer,
        runner,
        store,
        gauge,
    } = components;
    let pages = Pages {
        renderer,
        catalogue: store,
        writer: store,
    };
    let context = RunContext { stop, on_event };
    context.measured(|stats| {
        let selection = select::select_pages(store, request)?;
        if settings.unload_every > 0 && !runner.card().can_unload {
            let why = "this server cannot unload its model: `unload_every` has no effect";
            on_event(Event::Note(why.to_owned()));
        }
        // With too few pages for one interval the check has no effect.
        let has_interval = selection.count() > settings.canary_every;
        let settings = Settings {
            canary_every: if has_interval {
                settings.canary_every
            } else {
                0
            },
            ..settings.clone()
        };
        let session = Session::new(runner, settings, gauge);
        session.run(pages, (selection, &request.passwords), &context, stats)
    })
}

/// A model that describes pages in one run after another: its memory guard and its checks last as long as it does.
pub struct Session<'a> {
    runner: &'a dyn Runner,
    settings: Settings,
    guard: MemoryGuard<'a>,
    upkeep: Upkeep,
    has_answered: AtomicBool,
}

impl<'a> Session<'a> {
    /// A session with a model.
    pub fn new(runner: &'a dyn Runner, settings: Settings, gauge: &'a Gauge<'a>) -> Self {
        Self {
            guard: MemoryGuard::new(gauge, settings.chat.memory, runner.card().can_unload),
            upkeep: Upkeep::new(Canary::new(settings.canary_every)),
            has_answered: AtomicBool::new(false),
            runner,
            settings,
        }
    }

    /// Describes stored pages, as [`annotate`] does.
    pub fn describe(
        &self,
        pages: Pages<'_>,
        request: &Request,
        stop: &AtomicBool,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> (DescribeStats, Result<(), Error>) {
        let context = RunContext { stop, on_event };
        context.measured(|stats| {
            let selection = select::select_pages(pages.catalogue, request)?;
            self.run(pages, (selection, &request.passwords), &context, stats)
        })
    }

    fn run(
        &self,
        pages: Pages<'_>,
        (selection, passwords): (Selection, &[String]),
        &RunContext { stop, on_event }: &RunContext<'_>,
        stats: &mut DescribeStats,
    ) -> Result<(), Error> {
        on_event(Event::Selected(selection.count()));
        stats.unchanged = selection.unchanged;
        stats.failed_before = selection.failed_before;
        let (settings, aborted) = (&self.settings, AtomicBool::new(false));
        let on_chat = |event: chat::Event| on_event(event.into());
        let (guard, chat) = (&self.guard, settings.chat);
        let client = RetryingClient::new(self.runner, chat, guard, &aborted, &on_chat);
        let client = match self.has_answered.load(Ordering::Relaxed) {
            true => client.already_answered(),
            false => client,
        };
        let describer = Describer::new(client, settings, on_event);
        let (stop_flags, renderer) = ([stop, &aborted], pages.renderer);
        let result = workers::run_workers(
            &describer,
            &self.upkeep,
            |task_sender, outcome_sender| {
                let producer = produce::PageProducer {
                    interleave: settings.interleave,
                    passwords,
                    stop: stop_flags,
                    task_sender,
                    outcome_sender,
                };
                producer.run(renderer, &selection.jobs)
            },
            |outcomes| {
                let model = &self.runner.card().model;
                let store = (pages.catalogue, pages.writer);
                record::record_results(store, model, outcomes, stats, on_event)
            },
        );
        let has_answered = describer.client.has_answered();
        self.has_answered.store(has_answered, Ordering::Relaxed);
        stats.memory = self.guard.peak();
        result
    }
}

/// Stop flag and event callback of a run.
struct RunContext<'a> {
    stop: &'a AtomicBool,
    on_event: &'a (dyn Fn(Event) + Sync),
}

impl RunContext<'_> {
    /// Runs, and notes the time that it took and whether it was stopped.
    fn measured(
        &self,
        run: impl FnOnce(&mut DescribeStats) -> Result<(), Error>,
    ) -> (DescribeStats, Result<(), Error>) {
        let start = Instant::now();
        let mut stats = DescribeStats::default();
        let result = run(&mut stats);
        stats.seconds = start.elapsed().as_secs_f64();
        stats.stopped = self.stop.load(Ordering::Relaxed);
        (stats, result)
    }
}
