//! One worker's way through a file: it is kept busy, and replaced when it is lost.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::memory::SLOTS;
use super::process::{Lost, Recipe, Worker};
use super::protocol::{Kind, Reply, Request};
use super::queue::{Queue, Ticket};
use super::{Error, Manual, Rendered};
use crate::page::{ManualId, PageError, PageImage, Size};

/// The open file, as every worker is told of it.
pub(super) struct File {
    /// The manual it is.
    pub(super) manual: ManualId,
    /// Its number of pages.
    pub(super) pages: u32,
    /// Where it lies.
    pub(super) path: PathBuf,
    /// What it is.
    pub(super) kind: Kind,
    /// Its password.
    pub(super) password: Option<String>,
    /// Counts the files opened: a worker knows by it what it has open.
    pub(super) number: u64,
}

impl File {
    /// Opens the file in a worker.
    pub(super) fn open_in(
        &self,
        worker: &mut Worker,
        contents: bool,
        unwanted: impl Fn() -> bool,
    ) -> Result<Result<Manual, Error>, Lost> {
        worker.file = None;
        worker.ask(&Request::Open {
            path: self.path.clone().into(),
            kind: self.kind,
            password: self.password.clone(),
            contents,
        })?;
        match worker.answer(unwanted)? {
            Reply::Opened(manual) => {
                worker.file = Some(self.number);
                Ok(Ok(manual))
            }
            Reply::Refused(refusal) => Ok(Err(refusal.into())),
            _ => Err(nonsense()),
        }
    }
}

fn nonsense() -> Lost {
    Lost::Died("its answer makes no sense".into())
}

/// A page in a worker's hands.
struct Asked {
    ticket: Ticket,
    slot: usize,
    sent: bool,
}

/// A worker and the pages it has in hand.
pub(super) struct Lane<'a> {
    recipe: &'a Recipe,
    file: &'a File,
    queue: &'a Queue,
    worker: Option<Worker>,
    asked: VecDeque<Asked>,
    slot: usize,
}

impl<'a> Lane<'a> {
    /// A lane, with a worker or without.
    pub(super) fn new(
        recipe: &'a Recipe,
        file: &'a File,
        queue: &'a Queue,
        worker: Option<Worker>,
    ) -> Self {
        Self {
            recipe,
            file,
            queue,
            worker,
            asked: VecDeque::new(),
            slot: 0,
        }
    }

    /// Renders pages until none is left; gives the worker back if it is still good.
    ///
    /// A lane that cannot even begin leaves the pages to the others.
    pub(super) fn run(mut self) -> Option<Worker> {
        let _present = self.queue.present();
        self.ready().ok()?;
        while self.fetch() {
            let page = self.render();
            let Some(asked) = self.asked.pop_front() else {
                break;
            };
            match page {
                Err(Lost::Unwanted) => return None,
                Err(lost) => {
                    self.worker = None;
                    self.asked.iter_mut().for_each(|later| later.sent = false);
                    self.queue.put(asked.ticket, Err(self.failure(lost)));
                }
                Ok(page) => self.queue.put(asked.ticket, page),
            }
        }
        self.worker
    }

    /// Takes pages to do: waits for the first, takes a second only if there is one.
    fn fetch(&mut self) -> bool {
        while self.asked.len() < SLOTS {
            let ticket = if self.asked.is_empty() {
                self.queue.take()
            } else {
                self.queue.try_take()
            };
            let Some(ticket) = ticket else { break };
            self.asked.push_back(Asked {
                ticket,
                slot: self.slot,
                sent: false,
            });
            self.slot = (self.slot + 1) % SLOTS;
        }
        !self.asked.is_empty()
    }

    /// A worker that has the file open.
    fn ready(&mut self) -> Result<&mut Worker, Lost> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(self.recipe)
                .map_err(|e| Lost::Died(format!("it cannot be started again: {e}")))?,
        };
        let worker = self.worker.insert(worker);
        if worker.file != Some(self.file.number) {
            let queue = self.queue;
            let opened = self.file.open_in(worker, false, || queue.stopped())?;
            opened.map_err(|e| Lost::Died(format!("a new one cannot open the file: {e}")))?;
        }
        Ok(worker)
    }

    /// Waits for the first of the pages in hand.
    fn render(&mut self) -> Result<Result<Rendered, PageError>, Lost> {
        let queue = self.queue;
        self.ready()?;
        let worker = self.worker.as_mut().ok_or_else(nonsense)?;
        for asked in self.asked.iter_mut().filter(|asked| !asked.sent) {
            worker.ask(&Request::Page {
                number: asked.ticket.number,
                slot: asked.slot,
            })?;
            asked.sent = true;
        }
        let slot = self.asked.front().map_or(0, |asked| asked.slot);
        match worker.answer(|| queue.stopped())? {
            Reply::Failed(why) => Ok(Err(PageError::Render(why))),
            Reply::Page { size, text, blank } => {
                let image = picture(worker, slot, size).ok_or_else(nonsense)?;
                Ok(Ok(Rendered { image, text, blank }))
            }
            _ => Err(nonsense()),
        }
    }

    fn failure(&self, lost: Lost) -> PageError {
        match lost {
            Lost::Died(why) => PageError::WorkerDied(why),
            Lost::Deadline | Lost::Unwanted => PageError::Deadline {
                seconds: self.recipe.deadline.as_secs(),
            },
        }
    }
}

/// The picture in a slot, if it is one.
fn picture(worker: &Worker, slot: usize, size: Size) -> Option<PageImage> {
    let rgb = worker.picture(slot, size.area().checked_mul(3)?)?;
    PageImage::new(size, rgb).ok()
}
