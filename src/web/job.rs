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
}
