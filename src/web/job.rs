//! A job as clients see it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum JobState {
    /// It waits for others.
    Queued,
    /// Its pages are being stored.
    Running,
    /// All its pages are stored, or were already.
    Done,
    /// Pages failed, or the file cannot be read.
    Failed,
    /// It was stopped; the pages stored until then stay.
    Stopped,
}

impl JobState {
    pub(super) const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Stopped,
    ];

    /// The name in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Whether it has ended.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Stopped)
    }
}

/// A page that failed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct FailureView {
    /// The page, from 1.
    pub(super) page: u32,
    /// The reason.
    pub(super) reason: String,
}

/// A file that is being added.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct JobView {
    /// Its id.
    pub(super) id: String,
    /// The name of the manual; that of the file until it is known.
    pub(super) manual: String,
    /// Its state.
    pub(super) state: JobState,
    /// Pages to process, once the file is open.
    pub(super) pages: Option<u32>,
    /// Pages stored.
    pub(super) done: u32,
    /// Pages that failed.
    pub(super) failed: u32,
    /// Pages that passed each stage.
    pub(super) stages: BTreeMap<String, u32>,
    /// Pages that failed, the first ones.
    pub(super) failures: Vec<FailureView>,
    /// What to know about it: why it failed or waits.
    pub(super) message: Option<String>,
    /// What can be done.
    pub(super) hints: Vec<String>,
    /// Seconds since it started.
    pub(super) seconds: f64,
    /// Seconds that its other pages will take at the rate of those that were stored; null as long as there is no rate, and
    /// for a folder, whose files are opened one after the other.
    pub(super) seconds_left: Option<f64>,
    /// Where the rate is measured from: `seconds` and the pages processed when the first batch was stored, since the model
    /// is loaded before.
    #[serde(skip)]
    first_batch: Option<(f64, u32)>,
}

impl JobView {
    /// A job that waits.
    pub(super) fn queued(id: String, manual: String) -> Self {
        Self {
            id,
            manual,
            state: JobState::Queued,
            pages: None,
            done: 0,
            failed: 0,
            stages: BTreeMap::new(),
            failures: Vec::new(),
            message: None,
            hints: Vec::new(),
            seconds: 0.0,
            seconds_left: None,
            first_batch: None,
        }
    }

    /// Forgets the counts: a job that was paused begins again, with the pages that are not stored yet.
    pub(super) fn begin(&mut self) {
        *self = Self {
            state: JobState::Running,
            ..Self::queued(self.id.clone(), self.manual.clone())
        };
    }

    /// Estimates the time left, after a batch was stored.
    pub(super) fn estimate(&mut self) {
        let processed = self.done + self.failed;
        let (start, first) = *self.first_batch.get_or_insert((self.seconds, processed));
        let (pages, seconds) = (processed - first, self.seconds - start);
        let todo = self.pages.unwrap_or(0).saturating_sub(processed);
        let left = seconds / f64::from(pages) * f64::from(todo);
        self.seconds_left = (pages > 0).then_some(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_the_rate_since_the_first_batch() {
        let mut job = JobView::queued("1".to_owned(), "pump.pdf".to_owned());
        job.begin();
        job.pages = Some(100);
        // The model was loaded for 40 seconds.
        for (seconds, done, failed, left) in [
            (40.0, 10, 0, None),
            (45.0, 20, 0, Some(40.0)),
            (60.0, 29, 1, Some(70.0)),
            (90.0, 99, 1, Some(0.0)),
        ] {
            (job.seconds, job.done, job.failed) = (seconds, done, failed);
            job.estimate();
            assert_eq!(job.seconds_left, left, "{seconds}");
        }
        job.begin();
        assert_eq!((job.done, job.pages, job.seconds_left), (0, None, None));
    }
}
