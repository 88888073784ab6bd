//! A second pass over stored pages: each is rendered again, described by a vision-language model, and stored with that.
//!
//! Pages that need no model are told apart first: blank ones, and twins of pages already described. The others wait for
//! lanes, each of which asks about one page, or a few, at a time.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::page::PageId;
use crate::render::{self, Renderer};
use crate::store::{self, Store};
use crate::vlm::{self, Runner};

mod benchmark;
mod canary;
mod client;
mod describe_pages;
mod duplicates;
mod memory_guard;
mod produce;
mod select;

pub use benchmark::{Round, Said, Trial};
pub use select::{Redo, Request};

use canary::Canary;
use client::Line;
use describe_pages::{Answer, Asker, Sight};
use memory_guard::Guard;

/// Between two glances at the memory.
const GLANCE: Duration = Duration::from_millis(250);

/// How pages are asked about.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests at once.
    pub lanes: usize,
    /// Pages in one request.
    pub interleave: usize,
    /// Tokens that the description of a page may take.
    pub max_tokens: u32,
    /// How long a page may take.
    pub deadline: Duration,
    /// Times a page is asked before it has failed.
    pub attempts: u32,
    /// Pages after which the model's memory is freed, so that it is loaded anew; 0: never.
    pub unload_every: usize,
    /// Pages after which the same page is asked about again, to see whether the model says the same; 0: never.
    pub canary_every: usize,
    /// Bytes of memory that the model may take.
    pub memory: u64,
}

/// Tells the bytes that the model takes; none where nobody can tell.
pub type Gauge<'a> = dyn Fn() -> Option<u64> + Sync + 'a;

/// What a run works with.
pub struct Parts<'a> {
    /// Opens the renderer.
    pub renderer: Box<dyn FnOnce() -> Result<Box<dyn Renderer>, render::Error> + Send + 'a>,
    /// The model.
    pub runner: &'a dyn Runner,
    /// Where pages are.
    pub store: &'a dyn Store,
    /// The memory that the model takes.
    pub gauge: &'a Gauge<'a>,
}

/// A part that failed as a whole: the run ends, what is stored stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No page can be rendered.
    #[error(transparent)]
    Render(#[from] render::Error),
    /// The model is away.
    #[error(transparent)]
    Describe(#[from] vlm::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What happens, as it happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// So many pages will be looked at.
    Found(usize),
    /// A page is done: described, failed, blank or a twin.
    Done(PageId),
    /// A page is asked again, for this reason.
    Again(PageId, String),
    /// A question was answered.
    Asked(Exchange),
    /// Something a person should know.
    Note(String),
}

/// A question and its answer, as a stopwatch and the runner saw them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exchange {
    /// Seconds to the first word.
    pub first: f64,
    /// Seconds to the end.
    pub seconds: f64,
    /// Tokens of question and answer, where the runner tells.
    pub end: vlm::Finish,
}

/// What became of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Pages that were described.
    pub described: u32,
    /// Pages that took the description of a twin.
    pub twins: u32,
    /// Blank pages, which are not asked about.
    pub blank: u32,
    /// Pages that had a description.
    pub kept: u32,
    /// Pages that failed, and why.
    pub failed: Vec<Failure>,
    /// Manuals that could not be read, and why.
    pub manuals: BTreeMap<String, String>,
    /// Times that a page was asked again, by class.
    pub retries: BTreeMap<String, u32>,
    /// Tokens that were made.
    pub tokens: u64,
    /// Seconds from the first question to the last answer.
    pub seconds: f64,
    /// The most bytes of memory that the model was seen to take; none where nobody can tell.
    pub memory: Option<u64>,
    /// Whether the run was stopped before its end.
    pub stopped: bool,
}

/// A page that has no description.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The page.
    pub page: String,
    /// The class of its failure.
    pub class: String,
    /// What happened, in words.
    pub why: String,
}

impl Tally {
    /// The exit code: 0 nothing failed, 1 something did, 2 something did and nothing asked for has a description.
    pub fn exit_code(&self) -> u8 {
        let failed = self.stopped || !self.failed.is_empty() || !self.manuals.is_empty();
        match (failed, self.described + self.twins + self.blank + self.kept) {
            (false, _) => 0,
            (true, 0) => 2,
            (true, _) => 1,
        }
    }
}

/// Describes stored pages. `stop`, once true, ends the run after the pages in hand. What happens is told to `watch`.
///
/// The tally is complete also when a part failed: what it counts as described is in the store.
pub fn annotate(
    parts: Parts<'_>,
    request: &Request,
    settings: &Settings,
    stop: &AtomicBool,
    watch: &(dyn Fn(Event) + Sync),
) -> (Tally, Result<(), Error>) {
    let start = Instant::now();
    let mut tally = Tally::default();
    let how = How {
        settings,
        stop,
        watch,
    };
    let result = flow(parts, request, &how, &mut tally);
    tally.seconds = start.elapsed().as_secs_f64();
    tally.stopped = stop.load(Ordering::Relaxed);
    (tally, result)
}

/// How a run works, and who is told.
struct How<'a> {
    settings: &'a Settings,
    stop: &'a AtomicBool,
    watch: &'a (dyn Fn(Event) + Sync),
}

fn flow(
    parts: Parts<'_>,
    request: &Request,
    how: &How<'_>,
    tally: &mut Tally,
) -> Result<(), Error> {
    let &How {
        settings,
        stop,
        watch,
    } = how;
    let (jobs, kept) = select::list(parts.store, request)?;
    tally.kept = kept;
    let found = jobs.iter().map(|job| job.pages.len()).sum();
    watch(Event::Found(found));
    let unloads = parts.runner.card().can_unload;
    if settings.unload_every > 0 && !unloads {
        let why = "this server cannot unload its model: `unload_every` changes nothing";
        watch(Event::Note(why.to_owned()));
    }
    let guard = Guard::new(parts.gauge, settings.memory, unloads);
    let over = AtomicBool::new(false);
    let asker = Asker {
        line: Line::new(parts.runner, settings, &guard, &over, watch),
    };
    // A page asked about once more tells nothing where there are few.
    let every = settings.canary_every;
    let canary = Canary::new(if found > every { every } else { 0 });
    let (stops, renderer) = ([stop, &over], parts.renderer);
    let result = lanes(
        &asker,
        canary,
        |out, answered| {
            let desk = produce::Desk {
                interleave: settings.interleave,
                stop: stops,
                out,
                answered,
            };
            desk.run(renderer, &jobs)
        },
        |answers| {
            let model = &parts.runner.card().model;
            produce::store(parts.store, model, answers, tally, watch)
        },
    );
    tally.memory = guard.peak();
    result
}

/// Lets lanes ask about the groups that `feed` sends them, and `drain` take what comes of it.
fn lanes(
    asker: &Asker<'_>,
    canary: Canary,
    feed: impl FnOnce(SyncSender<Vec<Sight>>, SyncSender<Answer>) -> Result<(), Error> + Send,
    drain: impl FnOnce(Receiver<Answer>) -> Result<(), Error>,
) -> Result<(), Error> {
    let settings = asker.line.settings;
    let (out, groups) = sync_channel(settings.lanes);
    let (answered, answers) = sync_channel(settings.lanes * settings.interleave);
    // Shared by the lanes alone: when the last one ends, by whatever, nobody feeds them any more.
    let groups = Arc::new(Mutex::new(groups));
    let done = AtomicBool::new(false);
    let care = Care {
        asker,
        canary,
        asked: AtomicUsize::new(0),
    };
    thread::scope(|scope| {
        let told = answered.clone();
        let feeding = scope.spawn(move || feed(out, told));
        let glances = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                asker.line.guard.glance();
                thread::park_timeout(GLANCE);
            }
        });
        let lanes: Vec<_> = (0..settings.lanes)
            .map(|_| {
                let (groups, answered, care) = (Arc::clone(&groups), answered.clone(), &care);
                scope.spawn(move || lane(&groups, &answered, care))
            })
            .collect();
        drop((answered, groups));
        let drained = drain(answers);
        let asked: Result<Vec<()>, Error> = lanes.into_iter().map(joined).collect();
        let fed = joined(feeding);
        done.store(true, Ordering::Relaxed);
        glances.thread().unpark();
        let given_up = asker.line.outcome().map_err(Error::from);
        drained.and(asked.map(drop)).and(fed).and(given_up)
    })
}

/// What lanes share besides the groups.
struct Care<'a> {
    asker: &'a Asker<'a>,
    canary: Canary,
    /// Pages that were asked about.
    asked: AtomicUsize,
}

/// Asks about group after group. Once the server is given up, by whichever lane, what still waits is let go.
fn lane(
    groups: &Mutex<Receiver<Vec<Sight>>>,
    answered: &SyncSender<Answer>,
    care: &Care<'_>,
) -> Result<(), Error> {
    let mut result = Ok(());
    while let Some(group) = next(groups) {
        if let Err(cause) = care.group(group, answered) {
            result = result.and(Err(cause.into()));
        }
    }
    result
}

impl Care<'_> {
    /// Asks about a group, hands the answers on, and sees after the model.
    fn group(
        &self,
        mut group: Vec<Sight>,
        answered: &SyncSender<Answer>,
    ) -> Result<(), vlm::Error> {
        let (answers, asked) = self.asker.ask(group.clone());
        let described: HashSet<PageId> = answers.iter().filter_map(Answer::described).collect();
        self.hand_on(answers, answered);
        let pages = group.len();
        group.retain(|sight| described.contains(&sight.id));
        // Pages are noted once they are on their way: what is said of them later comes after.
        asked?;
        let (again, looked) = self.canary.described(group, self.asker);
        self.hand_on(again, answered);
        looked?;
        let every = self.asker.line.settings.unload_every;
        let before = self.asked.fetch_add(pages, Ordering::Relaxed);
        if every > 0 && before / every < (before + pages) / every {
            self.asker.line.clean_up();
        }
        Ok(())
    }

    fn hand_on(&self, answers: Vec<Answer>, answered: &SyncSender<Answer>) {
        if answers
            .into_iter()
            .any(|answer| answered.send(answer).is_err())
        {
            // Nobody stores any more.
            self.asker.line.give_up(None);
        }
    }
}

/// The next group that waits; none at the end.
fn next<T>(groups: &Mutex<Receiver<T>>) -> Option<T> {
    let groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
    groups.recv().ok()
}

/// The result of a thread; its panic goes on here.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
