//! The end of a run: its index is repaired if the store was away, and what was done is recorded.

use std::time::{Duration, Instant};

use super::runs::set_state;
use super::{Coordinator, Outcome, Shared, TICK, lock};
use crate::distributed::messages::{RunManual, RunState};
use crate::distributed::{Error, keys, parse};
use crate::page::ManualId;
use crate::pipeline::{self, Inputs, Job, RunStats};
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

    /// Reads the manuals of a run that has ended.
    pub(super) fn recall_manuals(&self, shared: &Shared<'_>) -> Result<(), Error> {
        let entries = self.queue.runs().entries(&keys::manuals(&shared.run.id))?;
        let manuals = entries
            .iter()
            .filter_map(|(_, entry)| parse::<RunManual>(&entry.value));
        manuals.for_each(|manual| lock(&shared.tally).add_manual(manual));
        Ok(())
    }

    /// Whether the files of this run can be removed from the queue: no other run may need them.
    pub(super) fn may_remove_files(&self, shared: &Shared<'_>) -> bool {
        let active = self.queue.runs().entries("active.");
        let is_ours = |id: &[u8]| id == shared.run.id.as_bytes();
        self.settings.queue.files != FileAccess::Shared
            && active.is_ok_and(|active| active.iter().all(|(_, entry)| is_ours(&entry.value)))
    }

    /// Writes the statistics; of a run that ended here also repairs the index, records what was done with each manual, and
    /// removes its files from the queue.
    pub(super) fn finish(
        &self,
        shared: &Shared<'_>,
        outcome: Outcome,
        inputs: &Inputs,
        stats: &mut RunStats,
    ) -> Result<(), Error> {
        let store_was_away = {
            let tally = lock(&shared.tally);
            for (index, job) in jobs(inputs) {
                tally.finish(&job.file, &mut stats.manuals[index]);
            }
            tally.store_was_away
        };
        pipeline::count_twins(&inputs.items, stats);
        stats.stopped = outcome == Outcome::Cancelled;
        let state = match outcome {
            Outcome::Detached => return Ok(()),
            _ if shared.run.state != RunState::Running => return Ok(()),
            Outcome::Finished => RunState::Finished,
            Outcome::Cancelled => RunState::Cancelled,
        };
        set_state(self.queue, &shared.run, state)?;
        if store_was_away {
            self.repair(inputs)?;
        }
        let may_remove_files = self.may_remove_files(shared);
        for (index, job) in jobs(inputs) {
            let manual = &stats.manuals[index];
            if manual.stored as usize + manual.failed.len() > 0 {
                let elapsed = Duration::from_secs_f64(stats.wall);
                let run = pipeline::last_run(manual, elapsed);
                self.store.record_run(&job.source.manual, &run)?;
            }
            if may_remove_files {
                self.queue.remove_file(&job.file)?;
            }
        }
        Ok(())
    }

    /// Repairs the index of the run's manuals, which may lack pages.
    fn repair(&self, inputs: &Inputs) -> Result<(), Error> {
        let Some(index) = self.store.index() else {
            return Ok(());
        };
        let ids: Vec<&ManualId> = jobs(inputs).map(|(_, job)| &job.source.manual).collect();
        let mut cards = self.store.cards()?;
        cards.retain(|card| ids.contains(&&card.id));
        index.repair(&cards)?;
        Ok(())
    }
}

/// The jobs, with the index of each.
fn jobs(inputs: &Inputs) -> impl Iterator<Item = (usize, &Job)> {
    let all = inputs.items.iter().enumerate();
    all.filter_map(|(index, input)| Some((index, input.job()?)))
}
