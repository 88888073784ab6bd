//! The end of a run: its index is repaired if the store was away, and what was done is recorded.

use std::time::{Duration, Instant};

use super::runs::set_state;
use super::workload::{Candidate, RunFile, Workload};
use super::{Coordinator, Outcome, Shared, TICK, lock};
use crate::distributed::Error;
use crate::distributed::messages::RunState;
use crate::queue::FileAccess;

impl Coordinator<'_> {
    /// Takes back what is queued, and waits until no worker has an item in hand: at most as long as a lease.
    pub(super) fn cancel_queued(&self, shared: &Shared<'_>) -> Result<(), Error> {
        if lock(&shared.failure).is_some() {
            return Ok(());
        }
        self.queue.cancel(&shared.run.id)?;
        let start = Instant::now();
        let patience = Duration::from_secs(self.settings.queue.lease_s);
        let is_busy = || {
            lock(&shared.workers)
                .iter()
                .any(|worker| worker.in_hand > 0)
        };
        // The workers tell every two seconds what they have in hand.
        let told = Duration::from_secs(5);
        while start.elapsed() < patience && (is_busy() || start.elapsed() < told) {
            if lock(&shared.tally).missing == 0 {
                break;
            }
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// Whether the files of this run can be removed from the queue: no other run may need them.
    pub(super) fn may_remove_files(&self, shared: &Shared<'_>) -> bool {
        let active = self.queue.runs().entries("active.");
        let is_ours = |id: &[u8]| id == shared.run.id.as_bytes();
        self.settings.queue.files != FileAccess::Shared
            && active.is_ok_and(|active| active.iter().all(|(_, entry)| is_ours(&entry.value)))
    }

    /// Ends a run: repairs the index, records what was done with each manual, and removes its files from the queue.
    pub(super) fn finish(
        &self,
        shared: &Shared<'_>,
        outcome: Outcome,
        work: &impl Workload,
    ) -> Result<(), Error> {
        let state = match outcome {
            Outcome::Detached => return Ok(()),
            _ if shared.run.state != RunState::Running => return Ok(()),
            Outcome::Finished => RunState::Finished,
            Outcome::Cancelled => RunState::Cancelled,
        };
        set_state(self.queue, &shared.run, state)?;
        let files: Vec<RunFile> = files(work).collect();
        if lock(&shared.tally).store_was_away {
            self.repair(&files)?;
        }
        let may_remove_files = self.may_remove_files(shared);
        for file in &files {
            work.record(file)?;
            if may_remove_files {
                self.queue.remove_file(&file.digest)?;
            }
        }
        Ok(())
    }

    /// Repairs the index of the run's manuals, which may lack pages.
    fn repair(&self, files: &[RunFile]) -> Result<(), Error> {
        let Some(index) = self.store.index() else {
            return Ok(());
        };
        let mut cards = self.store.cards()?;
        cards.retain(|card| files.iter().any(|file| file.manual == card.id));
        index.repair(&cards)?;
        Ok(())
    }
}

/// The files that may be part of a run.
pub(super) fn files(work: &impl Workload) -> impl Iterator<Item = RunFile> {
    let candidates = work.candidates().into_iter();
    candidates.filter_map(|candidate| match candidate {
        Candidate::File(file) => Some(file),
        Candidate::Rejected(..) => None,
    })
}
