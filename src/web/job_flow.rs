//! The flow of jobs: the pipeline of `ingest FILE`, opened for the first job that waits and closed when none is left, so that
//! other programs can write to the library in between.

use std::borrow::Cow;
use std::mem::take;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::job::{JobState, JobView};
use super::job_run::{Change, Outcome, TakenJob, progress};
use super::librarian::Librarian;
use super::shared_model::SharedModel;
use super::shelf::Shelf;
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::embed::{self, BUILT_IN, Card};
use crate::library::{self, Indexing, Openers};
use crate::page::{ManualId, PageSet};
use crate::pipeline::{
    self, Client, Event, Input, NextTask, Plan, Profiles, Request, RunStats, Task, TaskSource,
};
use crate::store::{self, Catalogue, Mode, Store};

/// Time between two attempts to write to a library that cannot be written to.
const RETRY: Duration = Duration::from_secs(2);
/// Parts of that time, in which a job can be stopped.
const RETRY_STEPS: u32 = 10;

/// The queue of jobs as a flow uses it.
pub(super) trait Queue: Sync {
    /// Takes the next job, unless jobs must wait.
    fn take(&self) -> Option<TakenJob>;

    /// Whether jobs must wait: the server ends, or the library is changed.
    fn is_interrupted(&self) -> bool;

    /// Waits until something changed, up to `timeout`.
    fn wait(&self, timeout: Duration);

    /// Ends the wait.
    fn wake(&self);

    /// Changes the view of a job.
    fn update(&self, id: &str, change: Change<'_>);
}

/// What jobs are stored with.
pub(super) struct JobFlow<'a> {
    pub(super) settings: &'a Settings,
    pub(super) passwords: &'a [String],
    pub(super) shelf: &'a Shelf,
    pub(super) librarian: &'a Arc<Librarian>,
    pub(super) queue: &'a dyn Queue,
    /// Called after each job.
    pub(super) on_done: &'a (dyn Fn() + Sync),
    pub(super) state: Mutex<State>,
}

/// The jobs of a flow.
#[derive(Default)]
pub(super) struct State {
    /// Those that are being stored, each with its manuals once they are known.
    in_hand: Vec<(String, Vec<ManualId>)>,
    /// Those whose end is told when the library is closed, or when another job begins or ends.
    ended: Vec<(TakenJob, Outcome)>,
    /// Those that the flow broke off.
    aborted: Vec<TakenJob>,
}

/// The library, opened for writing.
struct Opened {
    card: Card,
    plan: Plan,
    store: Box<dyn Store>,
}

impl JobFlow<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the files of the jobs that wait, until none is left.
    pub(super) fn run(&self) {
        let Some(first) = self.queue.take() else {
            return;
        };
        self.begin(&first);
        match self.open(&first) {
            Ok(Some(opened)) => self.index(&opened, first),
            Ok(None) => self.end(first, Outcome::Stopped),
            Err(error) => self.end(first, Outcome::Failed(error)),
        }
        // The library is closed: who hears of the end can write to it.
        self.tell(|_| true);
    }

    fn index(&self, opened: &Opened, first: TakenJob) {
        let (card, store) = (&opened.card, &*opened.store);
        let indexing = Indexing {
            settings: self.settings,
            card,
            plan: &opened.plan,
            store,
        };
        let source = JobSource {
            flow: self,
            store,
            first: Some(first),
            must_wait: false,
        };
        let flowed = indexing.run_flow(self.openers(card), source);
        let result = flowed.map_err(Diagnostic::from);
        if let Err(error) = result.and_then(|()| self.flush(store)) {
            let mut state = self.state();
            for job in take(&mut state.aborted) {
                state.ended.push((job, Outcome::Failed(error.clone())));
            }
            let waits = |(_, outcome): &&mut (TakenJob, Outcome)| outcome.waiting() > 0;
            for (_, outcome) in state.ended.iter_mut().filter(waits) {
                *outcome = Outcome::Failed(error.clone());
            }
        }
    }

    /// Notes that a job is being stored.
    fn begin(&self, job: &TakenJob) {
        self.state().in_hand.push((job.id.clone(), Vec::new()));
        self.tell(|outcome| outcome.waiting() == 0);
        self.change(job, JobView::begin);
    }

    /// Notes which manuals a job stores; returns `false`, and that it is not stored now, if another one stores one of them.
    fn claim(&self, job: &TakenJob, manuals: Vec<ManualId>) -> bool {
        let mut state = self.state();
        let is_taken = |manual: &ManualId| state.in_hand.iter().any(|(_, of)| of.contains(manual));
        let is_free = !manuals.iter().any(is_taken);
        match state.in_hand.iter().position(|(id, _)| *id == job.id) {
            Some(index) if is_free => state.in_hand[index].1 = manuals,
            Some(index) => drop(state.in_hand.remove(index)),
            None => {}
        }
        is_free
    }

    /// Ends a job. While others go on, everybody hears of it now, else when the library is closed.
    fn end(&self, job: TakenJob, outcome: Outcome) {
        let mut state = self.state();
        state.in_hand.retain(|(id, _)| *id != job.id);
        let is_last = state.in_hand.is_empty() || outcome.waiting() > 0;
        state.ended.push((job, outcome));
        drop(state);
        match is_last {
            true => self.queue.wake(),
            false => self.tell(|outcome| outcome.waiting() == 0),
        }
    }

    /// Tells how some jobs ended.
    fn tell(&self, which: impl Fn(&Outcome) -> bool) {
        let mut state = self.state();
        let ended = take(&mut state.ended).into_iter();
        let (told, kept): (Vec<_>, Vec<_>) = ended.partition(|(_, outcome)| which(outcome));
        state.ended = kept;
        drop(state);
        for (job, outcome) in told {
            self.change(&job, |view| outcome.tell(view));
            (self.on_done)();
        }
    }

    fn change(&self, job: &TakenJob, change: impl FnOnce(&mut JobView)) {
        self.queue.update(&job.id, job.timed(change));
    }

    /// The renderer and the model of the jobs. A model that is large is that of the librarian: opened a second time it would
    /// need its memory twice. The built-in one is small, and with one of their own the jobs do not delay questions. So have
    /// jobs with another model than that of the library, whose questions must be answered meanwhile.
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

    /// Opens the library for writing, as soon as no other run writes to it; `None` if the job was stopped while it waited.
    fn open(&self, job: &TakenJob) -> Result<Option<Opened>, Diagnostic> {
        let settings = self.settings;
        let card = embed::card(&settings.embed)?;
        let plan = library::memory_plan(settings, &card)?;
        embed::fetch(&settings.embed, &mut |_, _, _| {})?;
        loop {
            let why = match library::open_for_writing(
                &settings.store,
                &card.profile,
                Mode::Write,
                |_| {},
            ) {
                Ok(opened) => {
                    self.change(job, |view| view.message = None);
                    let store = opened.store;
                    return Ok(Some(Opened { card, plan, store }));
                }
                Err(store::Error::Locked { .. }) => {
                    "another run writes to the library: this file waits for it".to_owned()
                }
                Err(error @ store::Error::Unavailable { .. }) => {
                    format!("{error}: this file waits for it")
                }
                Err(error) => return Err(error.into()),
            };
            self.change(job, |view| view.message = Some(why));
            if are_stopped_after_pause(&[job]) {
                return Ok(None);
            }
        }
    }

    /// Sends the pages that wait for a server, as soon as it takes them.
    fn flush(&self, store: &dyn Store) -> Result<(), Diagnostic> {
        let mut ended = take(&mut self.state().ended);
        let flushed = self.flush_pages_of(store, &mut ended);
        self.state().ended = ended;
        flushed
    }

    fn flush_pages_of(
        &self,
        store: &dyn Store,
        ended: &mut [(TakenJob, Outcome)],
    ) -> Result<(), Diagnostic> {
        let (Some(outbox), true) = (store.outbox(), ended.iter().any(|(_, o)| o.waiting() > 0))
        else {
            return Ok(());
        };
        let waiting = ended.iter().filter(|(_, outcome)| outcome.waiting() > 0);
        let jobs: Vec<&TakenJob> = waiting.map(|(job, _)| job).collect();
        while outbox.pending()? > 0 {
            let why = outbox.outage().unwrap_or_default();
            for job in &jobs {
                let message = format!("pages wait for the server of the library: {why}");
                self.change(job, |view| view.message = Some(message));
            }
            if are_stopped_after_pause(&jobs) {
                return Ok(());
            }
            library::flush(store)?;
        }
        for (_, outcome) in ended {
            if let Outcome::Ended(stats) = outcome {
                for manual in &mut stats.manuals {
                    manual.stored += take(&mut manual.waiting);
                }
            }
        }
        Ok(())
    }
}

/// Waits until the next attempt; returns whether all jobs were stopped meanwhile.
fn are_stopped_after_pause(jobs: &[&TakenJob]) -> bool {
    let are_stopped = |_| {
        thread::sleep(RETRY / RETRY_STEPS);
        jobs.iter().all(|job| job.stop.load(Ordering::Relaxed))
    };
    (0..RETRY_STEPS).any(are_stopped)
}

/// The jobs of the queue as tasks.
struct JobSource<'f, 'a> {
    flow: &'f JobFlow<'a>,
    store: &'f dyn Store,
    first: Option<TakenJob>,
    /// Whether the next job must wait for those in hand.
    must_wait: bool,
}

impl<'f> JobSource<'f, '_> {
    /// The next job if it can begin now.
    fn take(&mut self) -> Option<TakenJob> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let state = self.flow.state();
        let waits_for_server = state.ended.iter().any(|(_, o)| o.waiting() > 0);
        if waits_for_server || (self.must_wait && !state.in_hand.is_empty()) {
            return None;
        }
        drop(state);
        self.must_wait = false;
        let job = self.flow.queue.take()?;
        self.flow.begin(&job);
        Some(job)
    }

    /// The task of a job; `None` if it failed, or must wait because another one stores the same manual.
    fn task(&mut self, job: TakenJob) -> Option<Task<'f>> {
        let flow = self.flow;
        let render = flow.settings.render.profile();
        let profiles = Profiles {
            render: &render,
            text: flow.settings.embed.text_profile(),
        };
        let request = Request {
            paths: vec![job.path.clone()],
            pages: PageSet::all(),
            passwords: flow.passwords.to_vec(),
        };
        let catalogue = Some(self.store as &dyn Catalogue);
        let inputs = match pipeline::discover(&request, catalogue, profiles) {
            Ok(inputs) => inputs.items,
            Err(error) => {
                flow.end(job, Outcome::Failed(error.into()));
                return None;
            }
        };
        let jobs = inputs.iter().filter_map(Input::job);
        let manuals = jobs.map(|job| job.source.manual.clone()).collect();
        if !flow.claim(&job, manuals) {
            self.must_wait = true;
            flow.change(&job, |view| view.state = JobState::Queued);
            return None;
        }
        Some(Task {
            inputs: Cow::Owned(inputs),
            client: Box::new(JobClient { flow, job }),
        })
    }
}

impl<'f> TaskSource<'f> for JobSource<'f, '_> {
    fn next(&mut self, timeout: Duration) -> NextTask<'f> {
        let mut may_wait = !timeout.is_zero();
        loop {
            if let Some(job) = self.take() {
                if let Some(task) = self.task(job) {
                    return NextTask::Task(task);
                }
                continue;
            }
            let is_done = self.flow.state().in_hand.is_empty();
            if is_done || self.flow.queue.is_interrupted() {
                return NextTask::End;
            }
            if !take(&mut may_wait) {
                return NextTask::Later;
            }
            self.flow.queue.wait(timeout);
        }
    }
}

/// A job as the pipeline knows it.
struct JobClient<'f, 'a> {
    flow: &'f JobFlow<'a>,
    job: TakenJob,
}

impl Client for JobClient<'_, '_> {
    fn is_stopped(&self) -> bool {
        self.job.is_stopped()
    }

    fn on_event(&self, event: Event) {
        let path: &Path = &self.job.path;
        self.flow
            .change(&self.job, |view| progress(view, path, &event));
    }

    fn on_end(&self, stats: RunStats) {
        self.flow.end(self.job.clone(), Outcome::Ended(stats));
    }

    fn on_abort(&self, _stats: RunStats) {
        let mut state = self.flow.state();
        state.in_hand.retain(|(id, _)| *id != self.job.id);
        state.aborted.push(self.job.clone());
    }
}
