//! Statistics of files that have the bytes of another one: each is accounted for, its pages are stored once.

use std::path::Path;

use super::discover::{Input, Job};
use super::stats::{ManualStats, RunStats};

/// The statistics of each input before the run.
pub(super) fn empty_stats(inputs: &[Input]) -> Vec<ManualStats> {
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
