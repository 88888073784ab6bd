//! The runs of a queue: listed, cancelled, ended.

use crate::distributed::messages::{Run, RunState, Worker};
use crate::distributed::{Error, keys, parse, to_json};
use crate::queue::Queue;

/// The runs in the queue, and the workers that live.
///
/// # Errors
/// When the queue fails.
pub fn runs(queue: &Queue) -> Result<(Vec<Run>, Vec<Worker>), Error> {
    let entries = queue.runs().entries(keys::RUN)?;
    let runs = entries.iter().filter_map(|(_, entry)| parse(&entry.value));
    let workers = queue.workers().entries(keys::WORKER)?;
    let workers = workers.iter().filter_map(|(_, entry)| parse(&entry.value));
    Ok((runs.collect(), workers.collect()))
}

/// Cancels a run: its queued items are removed; its coordinator, if it lives, waits for those in hand. Returns the number of
/// removed items.
///
/// # Errors
/// [`Error::NoRun`], or when the queue fails.
pub fn cancel(queue: &Queue, run: &str) -> Result<u64, Error> {
    let entry = queue.runs().get(&keys::run(run))?;
    let found: Option<Run> = entry.and_then(|entry| parse(&entry.value));
    let Some(found) = found else {
        return Err(Error::NoRun(run.to_owned()));
    };
    if found.state == RunState::Running {
        set_state(queue, &found, RunState::Cancelled)?;
    }
    Ok(queue.cancel(run)?)
}

/// Removes what the queue keeps of runs that have ended; returns their number. They are kept for 30 days otherwise.
///
/// # Errors
/// When the queue fails.
pub fn forget_ended(queue: &Queue) -> Result<usize, Error> {
    let (all, _) = runs(queue)?;
    let ended = all.iter().filter(|run| run.state != RunState::Running);
    let mut count = 0;
    for run in ended {
        queue.remove_results(&run.id)?;
        for prefix in [keys::manuals(&run.id), keys::all_begun(&run.id)] {
            for (key, _) in queue.runs().entries(&prefix)? {
                queue.runs().delete(&key)?;
            }
        }
        queue.runs().delete(&keys::run(&run.id))?;
        count += 1;
    }
    Ok(count)
}

/// Changes the state of a run that ends.
pub(super) fn set_state(queue: &Queue, run: &Run, state: RunState) -> Result<(), Error> {
    let run = Run {
        state,
        ..run.clone()
    };
    queue.runs().put(&keys::run(&run.id), &to_json(&run))?;
    if let Some((command, _)) = run.id.rsplit_once('-') {
        queue.runs().delete(&keys::active(command))?;
    }
    Ok(())
}
