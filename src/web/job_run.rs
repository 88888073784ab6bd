//! What becomes of a job: its view follows the events of the pipeline.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::job::{FailureView, JobState, JobView};
use crate::diagnostic::{Diagnostic, input_hint};
use crate::pipeline::{Event, ManualStats, PageNote, RunStats, Stage};

/// Failed pages of a job that are named.
const MAX_FAILURES: usize = 100;

/// A change of a job.
pub(super) type Change<'a> = Box<dyn FnOnce(&mut JobView) + 'a>;

/// A job that was taken from the queue.
#[derive(Clone)]
pub(super) struct TakenJob {
    pub(super) id: String,
    pub(super) path: PathBuf,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) start: Instant,
}

impl TakenJob {
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The same change, with the time that the job takes.
    pub(super) fn timed<'a>(&'a self, change: impl FnOnce(&mut JobView) + 'a) -> Change<'a> {
        Box::new(|view| {
            view.seconds = self.start.elapsed().as_secs_f64();
            change(view);
            if view.state != JobState::Running {
                view.seconds_left = None;
            }
        })
    }
}

/// How a job ended.
pub(super) enum Outcome {
    /// All its pages have a verdict, or it was stopped.
    Ended(RunStats),
    /// It failed as a whole.
    Failed(Diagnostic),
    /// It was stopped before it began.
    Stopped,
}

impl Outcome {
    /// Pages that wait for the server of the library.
    pub(super) fn waiting(&self) -> u32 {
        match self {
            Self::Ended(stats) => stats.total(|manual| manual.waiting),
            Self::Failed(_) | Self::Stopped => 0,
        }
    }

    /// Writes it into the view.
    pub(super) fn tell(self, view: &mut JobView) {
        match self {
            Self::Ended(stats) => finish(view, &stats),
            Self::Failed(error) => fail(view, error),
            Self::Stopped => view.state = JobState::Stopped,
        }
    }
}

fn fail(job: &mut JobView, error: Diagnostic) {
    job.state = JobState::Failed;
    job.message = Some(error.message);
    job.hints = error.hints;
}

fn finish(job: &mut JobView, stats: &RunStats) {
    job.message = None;
    let manuals = &stats.manuals;
    let Some(first) = manuals.first() else {
        return fail(job, Diagnostic::new("nothing in it can be stored"));
    };
    // The manuals of a folder are one job, with the name of the folder.
    let is_one = manuals.len() == 1;
    if is_one {
        job.manual = first.stored_as().to_owned();
    }
    let told = |manual: &ManualStats, why: &str| match is_one {
        true => why.to_owned(),
        false => format!("{}: {why}", manual.stored_as()),
    };
    job.pages = Some(manuals.iter().map(|manual| manual.pages).sum());
    job.done = manuals.iter().map(|m| m.stored + m.unchanged).sum();
    job.failed = manuals.iter().map(|m| m.failed.len() as u32).sum();
    let failures = manuals
        .iter()
        .flat_map(|manual| manual.failed.iter().map(move |failure| (manual, failure)));
    job.failures = failures
        .take(MAX_FAILURES)
        .map(|(manual, failure)| FailureView {
            page: failure.page,
            reason: told(manual, &failure.reason),
        })
        .collect();
    let waiting: u32 = manuals.iter().map(|manual| manual.waiting).sum();
    if waiting > 0 {
        job.message = Some(format!(
            "{waiting} pages wait for the server of the library"
        ));
    }
    let error = manuals
        .iter()
        .find_map(|manual| Some(told(manual, manual.error.as_ref()?)));
    job.state = match error {
        Some(why) => {
            job.message = Some(why);
            JobState::Failed
        }
        None if stats.stopped => JobState::Stopped,
        None if job.failed > 0 => JobState::Failed,
        None => JobState::Done,
    };
}

/// What an event changes.
pub(super) fn progress(job: &mut JobView, path: &Path, event: &Event) {
    match event {
        Event::Opened { manual, todo } => {
            if !path.is_dir() {
                job.manual = manual.to_string();
            }
            job.pages = Some(job.pages.unwrap_or(0) + todo);
        }
        Event::Done(stage, pages) => {
            *job.stages.entry(stage.name().to_owned()).or_default() += pages;
            if *stage == Stage::Store {
                job.done += pages;
                if !path.is_dir() {
                    job.estimate();
                }
            }
        }
        Event::Pages {
            pages,
            count,
            note: PageNote::Failed(reason),
            ..
        } => {
            job.failed += count;
            let room = MAX_FAILURES.saturating_sub(job.failures.len());
            let numbers = pages
                .ranges()
                .into_iter()
                .flatten()
                .flat_map(|(a, b)| *a..=*b);
            job.failures
                .extend(numbers.take(room).map(|page| FailureView {
                    page,
                    reason: reason.to_string(),
                }));
        }
        Event::ManualFailed { cause, .. } => {
            let hint = input_hint(path, cause.as_deref());
            job.hints.extend(hint.map(str::to_owned));
        }
        Event::Deferred(why) => job.message = Some(why.to_string()),
        _ => {}
    }
}
