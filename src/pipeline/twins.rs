//! Statistics of files that have the bytes of another one: each is accounted for, its pages are stored once.

use std::path::Path;

use super::discover::{Input, Job, Twin};
use super::event::Availability;
use super::stats::{ManualStats, RunStats};
use super::task::OpenTask;

/// The statistics of each input before it is read.
pub fn empty_stats(inputs: &[Input]) -> Vec<ManualStats> {
    let same_as = |job: &Job| Some(job.source.manual.to_string());
    let stats = |input: &Input| match input {
        Input::Job(job) => match &job.copy {
            Some(path) => ManualStats::of_path(path, same_as(job)),
            None => ManualStats {
                manual: job.source.manual.to_string(),
                path: job.source.path.clone(),
                ..ManualStats::default()
            },
        },
        Input::Twin(twin) => {
            ManualStats::of_path(&twin.path, inputs[twin.of].job().and_then(same_as))
        }
        Input::Rejected(rejected) => ManualStats::of_path(&rejected.path, None),
    };
    inputs.iter().map(stats).collect()
}

/// Counts and reports the files that were read as another input, once all pages are stored, deferred or failed.
pub(super) fn finish_twins(task: &OpenTask<'_>) {
    for (index, input) in task.inputs.iter().enumerate() {
        if let Input::Twin(twin) = input {
            finish_twin(task, index, twin);
        }
    }
}

/// Writes what became of files with the same bytes as another input into the statistics of a run that has no task.
pub fn count_twins(inputs: &[Input], stats: &mut RunStats) {
    for (index, input) in inputs.iter().enumerate() {
        if let Input::Twin(twin) = input {
            stats.count_twin(index, twin.of);
            stats.manuals[index].error = stats.manuals[twin.of].error.clone();
        }
    }
}

/// A file that was read as another input failed if that one did.
fn finish_twin(task: &OpenTask<'_>, index: usize, twin: &Twin) {
    let Some(job) = task.job(twin.of) else {
        return;
    };
    let mut availability = Availability::Missing;
    task.collector.update(|stats| {
        stats.count_twin(index, twin.of);
        availability = availability_of(job, &stats.manuals[twin.of]);
    });
    let (collector, manual) = (&task.collector, &job.source.manual);
    match collector.failure(twin.of) {
        Some(why) => collector.manual_failed(index, &why),
        None => collector.emit_same(&twin.path, manual, availability),
    }
}

/// What the store has of a manual after the run, which may have been stopped before it was read.
fn availability_of(job: &Job, stats: &ManualStats) -> Availability {
    let mut before = job.fingerprints.values();
    match stats {
        stats if stats.waiting > 0 => Availability::Queued,
        stats if stats.stored + stats.unchanged > 0 => Availability::Stored,
        _ if before.any(|page| page.origin == job.origin) => Availability::Stored,
        _ => Availability::Missing,
    }
}

impl ManualStats {
    /// Those of a path given that names no manual of its own.
    pub(super) fn of_path(path: &Path, same_as: Option<String>) -> Self {
        Self {
            manual: path.display().to_string(),
            path: path.to_owned(),
            same_as,
            ..Self::default()
        }
    }

    /// The name under which its pages are stored.
    pub fn stored_as(&self) -> &str {
        self.same_as.as_deref().unwrap_or(&self.manual)
    }
}

impl RunStats {
    /// Counts the pages of input `original` for a file with the same bytes: what is stored of them was not stored for it.
    pub(super) fn count_twin(&mut self, twin: usize, original: usize) {
        let (pages, available, failed) = {
            let original = &self.manuals[original];
            let available = original.stored + original.unchanged;
            (original.pages, available, original.failed.clone())
        };
        let twin = &mut self.manuals[twin];
        (twin.pages, twin.unchanged, twin.failed) = (pages, available, failed);
    }
}
