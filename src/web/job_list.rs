//! The list of jobs: those that wait, those that run and the last ones that are over.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::job::JobView;

/// Finished jobs that are remembered.
const KEPT_JOBS: usize = 200;

/// A job with what only the server needs.
pub(super) struct Job {
    pub(super) view: JobView,
    pub(super) path: PathBuf,
    pub(super) stop: Arc<AtomicBool>,
    /// Whether it is stopped only until a change of the library is done.
    pub(super) is_paused: bool,
    pub(super) last_event: Option<Instant>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) jobs: VecDeque<Job>,
    /// Changes that wait for the library: no job is started before them.
    pub(super) changes: usize,
    /// When the server started, in seconds: makes ids differ from those of an earlier server.
    pub(super) started: u64,
    pub(super) next_id: u64,
}

impl State {
    /// Adds a job and forgets old ones that are over.
    pub(super) fn push(&mut self, path: &Path) -> JobView {
        self.next_id += 1;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let id = format!("{}-{}", self.started, self.next_id);
        let view = JobView::queued(id, name.into_owned());
        self.jobs.push_back(Job {
            view: view.clone(),
            path: path.to_owned(),
            stop: Arc::new(AtomicBool::new(false)),
            is_paused: false,
            last_event: None,
        });
        let is_over = |job: &Job| job.view.state.is_over();
        while self.jobs.iter().filter(|job| is_over(job)).count() > KEPT_JOBS {
            let oldest = self.jobs.iter().position(is_over);
            oldest.map(|oldest| self.jobs.remove(oldest));
        }
        view
    }
}
