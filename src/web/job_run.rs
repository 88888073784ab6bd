//! The run of one job: the pipeline of `ingest FILE`, with its progress told to the clients.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::job::{FailureView, JobState, JobView};
use super::librarian::Librarian;
use super::shared_model::SharedModel;
use super::shelf::Shelf;
use crate::config::Settings;
use crate::diagnostic::{Diagnostic, input_hint};
use crate::embed::{self, BUILT_IN, Card};
use crate::library::{self, Indexing, Openers};
use crate::page::PageSet;
use crate::pipeline::{self, Event, ManualStats, PageNote, Profiles, Request, RunStats, Stage};
use crate::store::{self, Catalogue, Mode, Store};

/// Time between two attempts to write to a library that cannot be written to.
const RETRY: Duration = Duration::from_secs(2);
/// Failed pages of a job that are named.
const MAX_FAILURES: usize = 100;
/// Parts of that time, in which a job can be stopped.
const RETRY_STEPS: u32 = 10;

/// A change of a job.
pub(super) type Change<'a> = Box<dyn FnOnce(&mut JobView) + 'a>;

/// A file that is being stored.
pub(super) struct Run<'a> {
    pub(super) settings: &'a Settings,
    pub(super) passwords: &'a [String],
    pub(super) shelf: &'a Shelf,
    pub(super) librarian: &'a Arc<Librarian>,
    pub(super) path: &'a Path,
    pub(super) stop: &'a AtomicBool,
    /// Called with what becomes of its job.
    pub(super) update: &'a (dyn Fn(Change<'_>) + Sync),
    pub(super) start: Instant,
}

fn fail(job: &mut JobView, error: Diagnostic) {
    job.state = JobState::Failed;
    job.message = Some(error.message);
    job.hints = error.hints;
}

fn finish(job: &mut JobView, stats: &RunStats) {
    job.message = None;
    let manuals = &stats.manuals;
    let Some(first) = manuals.first() else {
        return fail(job, Diagnostic::new("nothing in it can be stored"));
    };
    // The manuals of a folder are one job, with the name of the folder.
    let is_one = manuals.len() == 1;
    if is_one {
        job.manual = first.stored_as().to_owned();
    }
    let told = |manual: &ManualStats, why: &str| match is_one {
        true => why.to_owned(),
        false => format!("{}: {why}", manual.stored_as()),
    };
    job.pages = Some(manuals.iter().map(|manual| manual.pages).sum());
    job.done = manuals.iter().map(|m| m.stored + m.unchanged).sum();
    job.failed = manuals.iter().map(|m| m.failed.len() as u32).sum();
    let failures = manuals
        .iter()
        .flat_map(|manual| manual.failed.iter().map(move |failure| (manual, failure)));
    job.failures = failures
        .take(MAX_FAILURES)
        .map(|(manual, failure)| FailureView {
            page: failure.page,
            reason: told(manual, &failure.reason),
        })
        .collect();
    let waiting: u32 = manuals.iter().map(|manual| manual.waiting).sum();
    if waiting > 0 {
        job.message = Some(format!(
            "{waiting} pages wait for the server of the library"
        ));
    }
    let error = manuals
        .iter()
        .find_map(|manual| Some(told(manual, manual.error.as_ref()?)));
    job.state = match error {
        Some(why) => {
            job.message = Some(why);
            JobState::Failed
        }
        None if stats.stopped => JobState::Stopped,
        None if job.failed > 0 => JobState::Failed,
        None => JobState::Done,
    };
}

impl Run<'_> {
    /// Stores the file; its job is over then.
    pub(super) fn execute(&self) {
        self.change(JobView::begin);
        let outcome = self.index();
        self.change(|job| match outcome {
            Err(error) => fail(job, error),
            Ok(None) => job.state = JobState::Stopped,
            Ok(Some(stats)) => finish(job, &stats),
        });
    }

    /// Changes the job.
    fn change(&self, change: impl FnOnce(&mut JobView)) {
        (self.update)(Box::new(|job| {
            job.seconds = self.start.elapsed().as_secs_f64();
            change(job);
            if job.state != JobState::Running {
                job.seconds_left = None;
            }
        }));
    }

    /// Opens the library for writing and runs the pipeline; `None` if the job was stopped before.
    fn index(&self) -> Result<Option<RunStats>, Diagnostic> {
        let settings = self.settings;
        let card = embed::card(&settings.embed)?;
        let plan = library::memory_plan(settings, &card)?;
        embed::fetch(&settings.embed, &mut |_, _, _| {})?;
        let Some(store) = self.open(&card)? else {
            return Ok(None);
        };
        let render = settings.render.profile();
        let profiles = Profiles {
            render: &render,
            text: settings.embed.text_profile(),
        };
        let request = Request {
            paths: vec![self.path.to_owned()],
            pages: PageSet::all(),
            passwords: self.passwords.to_vec(),
        };
        let catalogue = Some(&*store as &dyn Catalogue);
        let inputs = pipeline::discover(&request, catalogue, profiles)?;
        let indexing = Indexing {
            settings,
            card: &card,
            plan: &plan,
            store: &*store,
        };
        let on_event = |event: Event| self.change(|job| progress(job, self.path, &event));
        let openers = self.openers(&card);
        let (mut stats, result) = indexing.run_with(openers, &inputs, self.stop, &on_event);
        result?;
        self.flush(&*store, &mut stats)?;
        Ok(Some(stats))
    }

    /// The renderer and the model of the job. A model that is large is that of the librarian: opened a second time it would
    /// need its memory twice. The built-in one is small, and with one of its own the job does not delay questions. So has a
    /// job with another model than that of the library, whose questions must be answered meanwhile.
    fn openers<'a>(&'a self, card: &'a Card) -> Openers<'a> {
        let own = Openers::new(self.settings);
        let profile = &card.profile;
        let is_of_library = || match self.shelf.library_if_any() {
            Ok(library) => library.is_none_or(|library| library.profile.id == profile.id),
            Err(_) => false,
        };
        if profile.model == BUILT_IN || !is_of_library() {
            return own;
        }
        Openers {
            embedder: Box::new(|| SharedModel::open(self.librarian, profile)),
            ..own
        }
    }

    /// The store, as soon as no other run writes to it; `None` if the job was stopped while it waited.
    fn open(&self, card: &Card) -> Result<Option<Box<dyn Store>>, Diagnostic> {
        let config = &self.settings.store;
        loop {
            match library::open_for_writing(config, &card.profile, Mode::Write, |_| {}) {
                Ok(opened) => {
                    self.change(|job| job.message = None);
                    return Ok(Some(opened.store));
                }
                Err(store::Error::Locked { .. }) => {
                    self.waits("another run writes to the library: this file waits for it");
                }
                Err(error @ store::Error::Unavailable { .. }) => {
                    self.waits(&format!("{error}: this file waits for it"));
                }
                Err(error) => return Err(error.into()),
            }
            if self.is_stopped_after_pause() {
                return Ok(None);
            }
        }
    }

    /// Sends the pages that wait for a server, as soon as it takes them.
    fn flush(&self, store: &dyn Store, stats: &mut RunStats) -> Result<(), Diagnostic> {
        let Some(outbox) = store.outbox() else {
            return Ok(());
        };
        while outbox.pending()? > 0 {
            let why = outbox.outage().unwrap_or_default();
            self.waits(&format!("pages wait for the server of the library: {why}"));
            if self.is_stopped_after_pause() {
                return Ok(());
            }
            library::flush(store)?;
        }
        for manual in &mut stats.manuals {
            manual.stored += std::mem::take(&mut manual.waiting);
        }
        Ok(())
    }

    fn waits(&self, message: &str) {
        self.change(|job| job.message = Some(message.to_owned()));
    }

    /// Waits until the next attempt; returns whether the job was stopped meanwhile.
    fn is_stopped_after_pause(&self) -> bool {
        let is_stopped = |_| {
            thread::sleep(RETRY / RETRY_STEPS);
            self.stop.load(Ordering::Relaxed)
        };
        (0..RETRY_STEPS).any(is_stopped)
    }
}

fn progress(job: &mut JobView, path: &Path, event: &Event) {
    match event {
        Event::Opened { manual, todo } => {
            if !path.is_dir() {
                job.manual = manual.to_string();
            }
            job.pages = Some(job.pages.unwrap_or(0) + todo);
        }
        Event::Done(stage, pages) => {
            *job.stages.entry(stage.name().to_owned()).or_default() += pages;
            if *stage == Stage::Store {
                job.done += pages;
                if !path.is_dir() {
                    job.estimate();
                }
            }
        }
        Event::Pages {
            pages,
            count,
            note: PageNote::Failed(reason),
            ..
        } => {
            job.failed += count;
            let room = MAX_FAILURES.saturating_sub(job.failures.len());
            let numbers = pages
                .ranges()
                .into_iter()
                .flatten()
                .flat_map(|(a, b)| *a..=*b);
            job.failures
                .extend(numbers.take(room).map(|page| FailureView {
                    page,
                    reason: reason.to_string(),
                }));
        }
        Event::ManualFailed { cause, .. } => {
            let hint = input_hint(path, cause.as_deref());
            job.hints.extend(hint.map(str::to_owned));
        }
        Event::Deferred(why) => job.message = Some(why.to_string()),
        _ => {}
    }
}
