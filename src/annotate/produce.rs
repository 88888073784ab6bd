//! Page producer: renders pages again, sorts out those that need no model, and feeds the others to the workers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use crate::chat::jpeg;
use crate::page::{PageId, PageImage, PageSet};
use crate::render::{self, Renderer, Source};
use crate::vlm::prompt;
use crate::vlm::reply::FailureClass;

use super::Error;
use super::describe_pages::{ManualError, PageOutcome, PageTask};
use super::duplicates::DuplicateIndex;
use super::select::Job;

/// Renders pages and sends groups of them to the workers.
pub(super) struct PageProducer<'a> {
    /// Pages per group.
    pub(super) interleave: usize,
    /// Passwords of protected manuals.
    pub(super) passwords: &'a [String],
    /// Each of these flags ends it.
    pub(super) stop: [&'a AtomicBool; 2],
    pub(super) task_sender: SyncSender<Vec<PageTask>>,
    pub(super) outcome_sender: SyncSender<PageOutcome>,
}

/// The receivers are gone, or the run was stopped.
struct Closed;

impl PageProducer<'_> {
    /// Renders the pages of all jobs. A manual that cannot be read is an outcome.
    ///
    /// # Errors
    /// [`Error::Render`] when the renderer cannot be opened.
    pub(super) fn run(
        self,
        renderer: impl FnOnce() -> Result<Box<dyn Renderer>, render::Error>,
        jobs: &[Job],
    ) -> Result<(), Error> {
        if jobs.is_empty() {
            return Ok(());
        }
        let mut renderer = renderer()?;
        let mut duplicates = DuplicateIndex::default();
        for job in jobs {
            match self.produce_manual(&mut *renderer, &mut duplicates, job) {
                Ok(Ok(())) => {}
                Ok(Err(Closed)) => break,
                Err(why) => {
                    let outcome = PageOutcome::Manual(job.card.id.clone(), why);
                    if self.outcome_sender.send(outcome).is_err() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Renders the pages of a manual; the error is the reason why the manual as a whole failed.
    fn produce_manual(
        &self,
        renderer: &mut dyn Renderer,
        duplicates: &mut DuplicateIndex,
        job: &Job,
    ) -> Result<Result<(), Closed>, ManualError> {
        let path = &job.card.path;
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        job.card.verify_file().map_err(|e| e.to_string())?;
        if !job.outdated.is_empty() {
            let why = job.card.changed_since(&job.outdated).to_string();
            let outcome = PageOutcome::Manual(job.card.id.clone(), why.into());
            if self.outcome_sender.send(outcome).is_err() {
                return Ok(Err(Closed));
            }
        }
        if job.pages.is_empty() {
            return Ok(Ok(()));
        }
        let source = Source {
            manual: job.card.id.clone(),
            path: path.clone(),
            passwords: self.passwords.to_vec(),
        };
        renderer.open(&source).map_err(|e| ManualError {
            is_protected: matches!(e, render::Error::Password { .. }),
            why: failed(&e),
        })?;
        let wanted = PageSet::of(job.pages.keys().copied());
        let mut group = Vec::new();
        for (id, page) in renderer.pages(&wanted).map_err(|e| failed(&e))? {
            if self.stop.iter().any(|stop| stop.load(Ordering::Relaxed)) {
                return Ok(Err(Closed));
            }
            let text = job.pages.get(&id.number).cloned().unwrap_or_default();
            let outcome = match page {
                Err(cause) => Some(PageOutcome::Failed(
                    id,
                    FailureClass::NotSent,
                    cause.to_string(),
                )),
                Ok(page) if page.blank => Some(PageOutcome::Blank(id)),
                Ok(page) => match duplicates.find_or_insert(&id, &text, &page.image) {
                    Some(original) => Some(PageOutcome::Duplicate(id, original)),
                    None => {
                        group.push(self.page_task(job, id, text, &page.image));
                        None
                    }
                },
            };
            let is_full = group.len() >= self.interleave;
            if outcome.is_some_and(|outcome| self.outcome_sender.send(outcome).is_err())
                || is_full && self.task_sender.send(std::mem::take(&mut group)).is_err()
            {
                return Ok(Err(Closed));
            }
        }
        match group.is_empty() || self.task_sender.send(group).is_ok() {
            true => Ok(Ok(())),
            false => Ok(Err(Closed)),
        }
    }

    fn page_task(&self, job: &Job, id: PageId, text: String, image: &PageImage) -> PageTask {
        PageTask {
            prompt: prompt::PageImagePrompt {
                page: id.number,
                page_count: job.card.pages,
                manual: job.card.id.to_string(),
                jpeg: jpeg::encode(image.rgb(), image.size()),
            },
            pixels: image.size().area(),
            text,
            id,
        }
    }
}
