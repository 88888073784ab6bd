//! Dispatcher: feeds one worker process with pages of a file, collects its images, and replaces it if it fails.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::memory::SLOTS;
use super::protocol::{FileType, Reply, Request};
use super::queue::{Queue, Ticket};
use super::worker_process::{Worker, WorkerConfig, WorkerFailure};
use super::{Error, Manual, Rendered};
use crate::page::{ManualId, PageError, PageImage, Size};

/// The open file, as every worker opens it.
pub(super) struct File {
    /// The manual's id.
    pub(super) manual: ManualId,
    /// Its number of pages.
    pub(super) pages: u32,
    /// Absolute path.
    pub(super) path: PathBuf,
    /// Type by signature.
    pub(super) file_type: FileType,
    /// Password, if one was given.
    pub(super) password: Option<String>,
    /// Serial number among the files opened; identifies the file that a worker has open.
    pub(super) number: u64,
}

impl File {
    /// Opens the file in a worker.
    pub(super) fn open_in(
        &self,
        worker: &mut Worker,
        contents: bool,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<Result<Manual, Error>, WorkerFailure> {
        worker.file = None;
        worker.send(&Request::Open {
            path: self.path.clone().into(),
            file_type: self.file_type,
            password: self.password.clone(),
            contents,
        })?;
        match worker.receive(is_cancelled)? {
            Reply::Opened(manual) => {
                worker.file = Some(self.number);
                Ok(Ok(manual))
            }
            Reply::OpenFailed(error) => Ok(Err(error.into())),
            _ => Err(invalid_reply()),
        }
    }
}

fn invalid_reply() -> WorkerFailure {
    WorkerFailure::Died("invalid reply".into())
}

/// A page assigned to a worker.
struct PendingPage {
    ticket: Ticket,
    slot: usize,
    sent: bool,
}

/// A worker and the pages assigned to it.
pub(super) struct Dispatcher<'a> {
    config: &'a WorkerConfig,
    file: &'a File,
    queue: &'a Queue,
    worker: Option<Worker>,
    pending: VecDeque<PendingPage>,
    slot: usize,
}

impl<'a> Dispatcher<'a> {
    /// Creates a dispatcher; without a worker, it starts one on its own.
    pub(super) fn new(
        config: &'a WorkerConfig,
        file: &'a File,
        queue: &'a Queue,
        worker: Option<Worker>,
    ) -> Self {
        Self {
            config,
            file,
            queue,
            worker,
            pending: VecDeque::new(),
            slot: 0,
        }
    }

    /// Renders pages until none is left; returns the worker if it still works.
    ///
    /// A dispatcher whose worker cannot be started at first leaves the pages to the others.
    pub(super) fn run(mut self) -> Option<Worker> {
        let _guard = self.queue.leave_on_drop();
        self.ready_worker().ok()?;
        while self.take_tickets() {
            let page = self.render_first();
            let Some(pending) = self.pending.pop_front() else {
                break;
            };
            match page {
                Err(WorkerFailure::Cancelled) => return None,
                Err(failure) => {
                    self.worker = None;
                    self.pending.iter_mut().for_each(|page| page.sent = false);
                    self.queue
                        .complete(pending.ticket, Err(self.page_error(failure)));
                }
                Ok(page) => self.queue.complete(pending.ticket, page),
            }
        }
        self.worker
    }

    /// Takes up to [`SLOTS`] pages: waits for the first, takes a second only if the queue has room. `false` at the end.
    fn take_tickets(&mut self) -> bool {
        while self.pending.len() < SLOTS {
            let ticket = if self.pending.is_empty() {
                self.queue.take()
            } else {
                self.queue.try_take()
            };
            let Some(ticket) = ticket else { break };
            self.pending.push_back(PendingPage {
                ticket,
                slot: self.slot,
                sent: false,
            });
            self.slot = (self.slot + 1) % SLOTS;
        }
        !self.pending.is_empty()
    }

    /// A worker with the file open, started or replaced if necessary.
    fn ready_worker(&mut self) -> Result<&mut Worker, WorkerFailure> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(self.config)
                .map_err(|e| WorkerFailure::Died(format!("it cannot be restarted: {e}")))?,
        };
        let worker = self.worker.insert(worker);
        if worker.file != Some(self.file.number) {
            let queue = self.queue;
            let opened = self.file.open_in(worker, false, || queue.is_stopped())?;
            opened.map_err(|e| {
                WorkerFailure::Died(format!("its replacement cannot open the file: {e}"))
            })?;
        }
        Ok(worker)
    }

    /// Sends all pending pages to the worker and waits for the first of them.
    fn render_first(&mut self) -> Result<Result<Rendered, PageError>, WorkerFailure> {
        let queue = self.queue;
        self.ready_worker()?;
        let worker = self.worker.as_mut().ok_or_else(invalid_reply)?;
        for pending in self.pending.iter_mut().filter(|pending| !pending.sent) {
            worker.send(&Request::Page {
                number: pending.ticket.number,
                slot: pending.slot,
            })?;
            pending.sent = true;
        }
        let slot = self.pending.front().map_or(0, |pending| pending.slot);
        match worker.receive(|| queue.is_stopped())? {
            Reply::PageFailed(why) => Ok(Err(PageError::Render(why))),
            Reply::Page { size, content } => {
                let image = image_in_slot(worker, slot, size).ok_or_else(invalid_reply)?;
                Ok(Ok(Rendered {
                    image,
                    text: content.text,
                    unreadable_text: content.unreadable_text,
                    blank: content.blank,
                    undrawn: content.undrawn,
                    words: content.words,
                }))
            }
            _ => Err(invalid_reply()),
        }
    }

    fn page_error(&self, failure: WorkerFailure) -> PageError {
        match failure {
            WorkerFailure::Died(why) => PageError::WorkerDied(why),
            WorkerFailure::TimedOut | WorkerFailure::Cancelled => PageError::Deadline {
                seconds: self.config.deadline.as_secs(),
            },
        }
    }
}

/// Copies the image in a slot; `None` if it does not fit the slot.
fn image_in_slot(worker: &Worker, slot: usize, size: Size) -> Option<PageImage> {
    let rgb = worker.copy_image(slot, size.area().checked_mul(3)?)?;
    PageImage::new(size, rgb).ok()
}
