//! Which run a worker works for: one that needs no other settings than its own. It does one kind of work at a time.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Indexer, WorkerEvent, WorkerRun, sleep_until};
use crate::distributed::group::Group;
use crate::distributed::messages::{Run, RunState};
use crate::distributed::{Error, describe_group, keys, parse};
use crate::queue::{self, Kind, WorkGroup};
use crate::vlm::Runner;

/// Time between two looks for work while there is none.
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// Time after which a model is opened again that could not be opened.
const REOPEN: Duration = Duration::from_secs(30);

/// The work that was chosen.
pub(super) enum Choice<'r, 'a> {
    /// Pages are indexed.
    Index(WorkGroup<'a>, &'r Indexer<'a>),
    /// Pages are described.
    Describe(WorkGroup<'a>, Group, Box<dyn Runner>),
}

/// Chooses work.
pub(super) struct Chooser<'r, 'a> {
    run: &'r WorkerRun<'a>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// With what this worker describes pages, as soon as the name of its model is known.
    describes_as: Option<Group>,
    /// When its model could not be opened last.
    failed: Option<Instant>,
}

impl<'r, 'a> Chooser<'r, 'a> {
    pub(super) fn new(run: &'r WorkerRun<'a>) -> Self {
        let config = &run.settings.describe;
        let model = config.full_model();
        let state = State {
            describes_as: model.map(|model| describe_group(run.settings, &model, run.location)),
            failed: None,
        };
        Self {
            run,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work; `None` if the worker is stopped before.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if runs wait and this worker can do none of them.
    pub(super) fn next(&self) -> Result<Option<Choice<'r, 'a>>, Error> {
        let mut is_idle = false;
        while !self.run.stop.load(Ordering::Relaxed) {
            let running = self.running()?;
            if let Some(choice) = self.choose(&running)? {
                return Ok(Some(choice));
            }
            if !running.iter().any(|run| self.may_do(run))
                && let Some(mismatch) = self.mismatch(&running)
            {
                return Err(mismatch);
            }
            if !is_idle {
                (self.run.on_event)(WorkerEvent::Idle);
                is_idle = true;
            }
            sleep_until(self.run.stop, LOOK);
        }
        Ok(None)
    }

    /// Whether items of another kind wait that this worker can do.
    pub(super) fn has_other_work(&self, kind: Kind) -> Result<bool, Error> {
        for run in self.running()? {
            let group = &run.group;
            if group.kind() != kind && self.may_do(&run) && self.can_open(group.kind()) {
                let found = self.run.queue.group(group.kind(), &group.id())?;
                if has_queued(found.as_ref())? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The runs that have not ended.
    fn running(&self) -> Result<Vec<Run>, Error> {
        // Before the first run of a queue nothing is there.
        let runs = match self.run.queue.runs().entries(keys::RUN) {
            Err(queue::Error::Missing { .. }) => Vec::new(),
            runs => runs?,
        };
        let runs = runs
            .iter()
            .filter_map(|(_, entry)| parse::<Run>(&entry.value));
        Ok(runs.filter(|run| run.state == RunState::Running).collect())
    }

    /// The place of a group in the queue, which the first coordinator makes.
    fn group(&self, group: &Group) -> Result<Option<WorkGroup<'a>>, Error> {
        match self.run.queue.group(group.kind(), &group.id()) {
            Err(queue::Error::Missing { .. }) => Ok(None),
            group => Ok(group?),
        }
    }

    /// Whether this worker can do a run, as far as is known without opening its model.
    fn may_do(&self, run: &Run) -> bool {
        match (run.group.kind(), &self.state().describes_as) {
            (Kind::Pages, _) => {
                let indexing = self.run.indexing.as_ref();
                indexing.is_some_and(|indexer| indexer.group == run.group)
            }
            (Kind::Describe, Some(own)) => *own == run.group,
            (Kind::Describe, None) => run.group.store == self.run.location,
        }
    }

    /// Whether the model for a kind of work may be opened: not so soon after that failed.
    fn can_open(&self, kind: Kind) -> bool {
        let failed = self.state().failed;
        kind == Kind::Pages || failed.is_none_or(|failed| failed.elapsed() > REOPEN)
    }

    /// Chooses between the runs: first one whose items wait, and pages before descriptions.
    fn choose(&self, running: &[Run]) -> Result<Option<Choice<'r, 'a>>, Error> {
        let may_do = |kind| {
            let mut running = running.iter();
            running.find(|run| run.group.kind() == kind && self.may_do(run))
        };
        // Without any run it waits where it was needed before.
        let indexing = self.run.indexing.as_ref();
        let indexing = indexing.filter(|_| running.is_empty() || may_do(Kind::Pages).is_some());
        let index = match indexing {
            Some(indexer) => self.group(&indexer.group)?.map(|group| (group, indexer)),
            None => None,
        };
        let describe = match may_do(Kind::Describe).filter(|_| self.can_open(Kind::Describe)) {
            Some(run) => self.group(&run.group)?.map(|group| (group, run)),
            None => None,
        };
        let is_index_first = match &index {
            Some((group, _)) => {
                let describe = describe.as_ref().map(|(group, _)| group);
                has_queued(Some(group))? || !has_queued(describe)?
            }
            None => false,
        };
        match (index, describe) {
            (Some((group, indexer)), _) if is_index_first => {
                Ok(Some(Choice::Index(group, indexer)))
            }
            (index, Some((group, run))) => Ok(match self.open(run) {
                Some(runner) => Some(Choice::Describe(group, run.group.clone(), runner)),
                None => index.map(|(group, indexer)| Choice::Index(group, indexer)),
            }),
            (_, None) => Ok(None),
        }
    }

    /// Opens the model that describes pages; `None` if it cannot be opened, or is another one than that of the run.
    fn open(&self, run: &Run) -> Option<Box<dyn Runner>> {
        let runner = match (self.run.runner)() {
            Ok(runner) => runner,
            Err(cause) => {
                self.state().failed = Some(Instant::now());
                let problem = format!("run {} waits to be described: {cause}", run.id);
                (self.run.on_event)(WorkerEvent::Problem(problem));
                return None;
            }
        };
        let model = &runner.card().model;
        let mut state = self.state();
        let own = state
            .describes_as
            .get_or_insert_with(|| describe_group(self.run.settings, model, self.run.location));
        (*own == run.group).then_some(runner)
    }

    /// Why this worker can do none of the runs; `None` if it knows of none that it should be able to do.
    fn mismatch(&self, running: &[Run]) -> Option<Error> {
        let own = |kind| match kind {
            Kind::Pages => {
                let indexing = self.run.indexing.as_ref();
                indexing.map(|indexer| indexer.group.clone())
            }
            Kind::Describe => self.state().describes_as.clone(),
        };
        running.iter().find_map(|run| {
            let own = own(run.group.kind())?;
            let differences = own.differences(&run.group);
            let lines: Vec<String> = differences
                .iter()
                .map(|(name, here, there)| format!("{name} is `{here}` here and `{there}` there"))
                .collect();
            Some(Error::Mismatch {
                run: run.id.clone(),
                differences: lines.join("; "),
            })
        })
    }
}

/// Whether items of a group wait.
fn has_queued(group: Option<&WorkGroup<'_>>) -> Result<bool, Error> {
    Ok(match group {
        Some(group) => group.backlog()?.queued > 0,
        None => false,
    })
}
