//! Jobs: files that are being added to the library, in their order, on a thread of their own.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::events::{Event, Events};
use super::job::{JobState, JobView};
use super::job_flow::{JobFlow, Queue};
use super::job_list::{Job, State};
use super::job_run::{Change, TakenJob};
use super::journal::{Journal, Kept};
use super::librarian::Librarian;
use super::problem::Problem;
use super::shelf::Shelf;
use crate::config::Settings;
use crate::library::{self, Library};
use crate::page::PageSet;
use crate::store::{ManualCard, Mode};

/// Least time between two events of a running job.
const EVENT_INTERVAL: Duration = Duration::from_millis(200);
/// How long a removal waits for the running job of the manual to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// What jobs share with the rest of the server.
pub(super) struct Parts {
    pub(super) journal: Journal,
    pub(super) events: Arc<Events>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) librarian: Arc<Librarian>,
}

/// All jobs, the oldest first.
pub(super) struct Jobs {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the server ends: no further job is started.
    ending: AtomicBool,
    /// Held while the library is written to.
    writing: Mutex<()>,
    parts: Parts,
    settings: Settings,
    /// Passwords of protected files. Never printed.
    passwords: Vec<String>,
}

impl Jobs {
    /// With the jobs that an earlier server could not finish.
    pub(super) fn new(settings: &Settings, passwords: &[String], parts: Parts) -> Self {
        let jobs = Self {
            state: Mutex::new(State {
                started: UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
                ..State::default()
            }),
            changed: Condvar::new(),
            ending: AtomicBool::new(false),
            writing: Mutex::new(()),
            parts,
            settings: settings.clone(),
            passwords: passwords.to_vec(),
        };
        let mut state = jobs.lock();
        for path in jobs.parts.journal.kept().to_add {
            state.push(&path);
        }
        drop(state);
        jobs
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All jobs, the oldest first.
    pub(super) fn views(&self) -> Vec<JobView> {
        self.lock()
            .jobs
            .iter()
            .map(|job| job.view.clone())
            .collect()
    }

    /// A job.
    ///
    /// # Errors
    /// If there is none with that id.
    pub(super) fn view(&self, id: &str) -> Result<JobView, Problem> {
        let state = self.lock();
        let job = state.jobs.iter().find(|job| job.view.id == id);
        job.map(|job| job.view.clone()).ok_or_else(|| no_job(id))
    }

    /// Adds a file to the queue; a file that waits there already is not added twice.
    ///
    /// # Errors
    /// If the queue cannot be saved.
    pub(super) fn add(&self, path: &Path) -> Result<JobView, Problem> {
        let mut state = self.lock();
        let waiting = state
            .jobs
            .iter()
            .find(|job| job.path == path && job.view.state == JobState::Queued);
        if let Some(job) = waiting {
            return Ok(job.view.clone());
        }
        let view = state.push(path);
        self.save(&state)?;
        drop(state);
        self.parts.events.send(Event::Job(Box::new(view.clone())));
        self.changed.notify_all();
        Ok(view)
    }

    /// Stops a job: at once if it waits, else after the batch in hand. The server's own copy of a file that could not be stored
    /// is removed.
    ///
    /// # Errors
    /// If there is none with that id.
    pub(super) fn stop(&self, id: &str) -> Result<(), Problem> {
        let mut state = self.lock();
        let job = state.jobs.iter_mut().find(|job| job.view.id == id);
        let job = job.ok_or_else(|| no_job(id))?;
        if job.view.state == JobState::Failed {
            let path = job.path.clone();
            return self.remove_failed(state, &path);
        }
        job.stop.store(true, Ordering::Relaxed);
        job.is_paused = false;
        if job.view.state == JobState::Queued {
            job.view.state = JobState::Stopped;
            self.parts
                .events
                .send(Event::Job(Box::new(job.view.clone())));
            self.save(&state)?;
        }
        self.changed.notify_all();
        Ok(())
    }

    /// Removes the server's own copy of a file that could not be stored, unless it is that of a manual or of another job.
    fn remove_failed(&self, state: MutexGuard<'_, State>, path: &Path) -> Result<(), Problem> {
        let mut jobs = state.jobs.iter();
        let has_job = jobs.any(|job| job.path == path && job.view.state != JobState::Failed);
        drop(state);
        let manuals = match self.parts.shelf.library_if_any()? {
            Some(library) => library.store.manuals()?,
            None => Vec::new(),
        };
        let is_own = path.starts_with(self.parts.shelf.uploads()?);
        if is_own && !has_job && manuals.iter().all(|manual| manual.card.path != path) {
            // It may be gone already.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }

    /// Removes a manual from the library, after its jobs have stopped; the server's own copy of its file too.
    ///
    /// # Errors
    /// If its job does not stop, or the store fails.
    pub(super) fn remove(&self, library: &Library, card: &ManualCard) -> Result<(), Problem> {
        self.stop_those_of(card)?;
        let own = self.parts.shelf.uploads()?;
        let file = card.path.starts_with(&own).then(|| card.path.clone());
        self.parts
            .journal
            .removal_begins(card.id.as_str(), file.as_deref())?;
        let removed = self.between_jobs(|| self.remove_now(library, card, file.as_deref()));
        // A removal that failed was told; it is not tried again behind the user's back.
        self.parts.journal.removal_ended(card.id.as_str())?;
        removed
    }

    /// Changes the library while no job does. The running one is stopped for it and goes on then, with the pages that are not
    /// stored yet.
    pub(super) fn between_jobs<T>(&self, change: impl FnOnce() -> T) -> T {
        self.pause();
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change();
        drop(writing);
        self.lock().changes -= 1;
        self.changed.notify_all();
        changed
    }

    fn pause(&self) {
        let mut state = self.lock();
        state.changes += 1;
        let running = |job: &&mut Job| job.view.state == JobState::Running;
        for job in state.jobs.iter_mut().filter(running) {
            if !job.stop.swap(true, Ordering::Relaxed) {
                job.is_paused = true;
            }
        }
    }

    fn remove_now(
        &self,
        library: &Library,
        card: &ManualCard,
        file: Option<&Path>,
    ) -> Result<(), Problem> {
        let config = &self.settings.store;
        let opened = library::open_for_writing(config, &library.profile, Mode::Write, |_| {})?;
        opened.store.remove(&card.id, &PageSet::all())?;
        // Space that is not given back now is used again later.
        let _ = opened.store.release_space();
        if let Some(file) = file {
            let _ = std::fs::remove_file(file);
        }
        Ok(())
    }

    /// Finishes the removals that an earlier server began.
    fn finish_removals(&self) {
        for Kept { manual, file } in self.parts.journal.kept().to_remove {
            let library = self.parts.shelf.library();
            let found = library.and_then(|library| {
                let card = library::manual_named(&*library.store, &manual)?;
                Ok((library, card))
            });
            match (found, file) {
                (Ok((library, card)), _) => drop(self.remove(&library, &card)),
                // Its pages are gone already.
                (Err(_), Some(file)) => drop(std::fs::remove_file(file)),
                (Err(_), None) => {}
            }
            // One that failed now stays, as it would have with an answer.
            let _ = self.parts.journal.removal_ended(&manual);
        }
    }

    /// Stops the jobs of a manual, and waits until they have.
    fn stop_those_of(&self, card: &ManualCard) -> Result<(), Problem> {
        let of_manual = |job: &Job| {
            let is_named = job.view.manual == card.id.as_str();
            !job.view.state.is_over() && (job.path == card.path || is_named)
        };
        let ids: Vec<String> = {
            let state = self.lock();
            let jobs = state.jobs.iter().filter(|job| of_manual(job));
            jobs.map(|job| job.view.id.clone()).collect()
        };
        for id in &ids {
            self.stop(id)?;
        }
        let running = |state: &mut State| {
            let mut jobs = state.jobs.iter();
            jobs.any(|job| ids.contains(&job.view.id) && !job.view.state.is_over())
        };
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), STOP_TIMEOUT, running);
        match waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            false => Ok(()),
            true => {
                let detail = format!("the job that stores {} has not stopped yet", card.id);
                let problem = Problem::new(axum::http::StatusCode::CONFLICT, "job-running", detail);
                Err(problem.hint("try again when it has"))
            }
        }
    }

    /// No further job is started, and the running one ends after the batch in hand.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
        for job in &self.lock().jobs {
            if job.view.state == JobState::Running {
                job.stop.store(true, Ordering::Relaxed);
            }
        }
        self.changed.notify_all();
    }

    /// Works until [`Jobs::end`]; calls `on_done` after each job.
    pub(super) fn work(&self, on_done: impl Fn() + Sync) {
        self.finish_removals();
        while self.has_next() {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let flow = JobFlow {
                settings: &self.settings,
                passwords: &self.passwords,
                shelf: &self.parts.shelf,
                librarian: &self.parts.librarian,
                queue: self,
                on_done: &on_done,
                state: Mutex::default(),
            };
            flow.run();
        }
    }

    /// Waits for a job; `false` when the server ends.
    fn has_next(&self) -> bool {
        let idle = |state: &mut State| {
            let mut jobs = state.jobs.iter();
            let waits = jobs.any(|job| job.view.state == JobState::Queued);
            (!waits || state.changes > 0) && !self.ending.load(Ordering::Relaxed)
        };
        drop(self.changed.wait_while(self.lock(), idle));
        !self.ending.load(Ordering::Relaxed)
    }

    fn must_wait(&self, state: &State) -> bool {
        state.changes > 0 || self.ending.load(Ordering::Relaxed)
    }

    /// Saves the files that are not stored yet. Those of a server that is ending stay for the next one.
    fn save(&self, state: &State) -> Result<(), Problem> {
        let ending = self.ending.load(Ordering::Relaxed);
        let is_due = |job: &&Job| {
            !job.view.state.is_over() || (ending && job.view.state == JobState::Stopped)
        };
        let paths = state.jobs.iter().filter(is_due).map(|job| job.path.clone());
        self.parts.journal.save_additions(paths.collect())
    }
}

impl Queue for Jobs {
    fn take(&self) -> Option<TakenJob> {
        let mut state = self.lock();
        if self.must_wait(&state) {
            return None;
        }
        let mut jobs = state.jobs.iter_mut();
        let job = jobs.find(|job| job.view.state == JobState::Queued)?;
        job.view.state = JobState::Running;
        Some(TakenJob {
            id: job.view.id.clone(),
            path: job.path.clone(),
            stop: job.stop.clone(),
            start: Instant::now(),
        })
    }

    fn is_interrupted(&self) -> bool {
        self.must_wait(&self.lock())
    }

    fn wait(&self, timeout: Duration) {
        drop(self.changed.wait_timeout(self.lock(), timeout));
    }

    fn wake(&self) {
        self.changed.notify_all();
    }

    /// Changes a job and tells the clients, running jobs not too often.
    fn update(&self, id: &str, change: Change<'_>) {
        let mut state = self.lock();
        let Some(job) = state.jobs.iter_mut().find(|job| job.view.id == id) else {
            return;
        };
        change(&mut job.view);
        if job.is_paused && job.view.state == JobState::Stopped {
            job.is_paused = false;
            job.view.state = JobState::Queued;
            job.stop.store(false, Ordering::Relaxed);
        }
        let is_over = job.view.state.is_over();
        let is_due = job
            .last_event
            .is_none_or(|last| last.elapsed() >= EVENT_INTERVAL);
        if is_over || is_due {
            job.last_event = Some(Instant::now());
            self.parts
                .events
                .send(Event::Job(Box::new(job.view.clone())));
        }
        if is_over {
            // What is not saved now is stored again by the next server, which changes nothing.
            let _ = self.save(&state);
            self.changed.notify_all();
        }
    }
}

fn no_job(id: &str) -> Problem {
    let detail = format!("there is no job `{id}`");
    Problem::new(axum::http::StatusCode::NOT_FOUND, "no-such-job", detail)
        .hint("jobs that ended long ago, or before the server started, are forgotten")
}
