//! Worker pool: renders the pages of a file with several processes and returns them in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::dispatch::{Dispatcher, File};
use super::memory::SLOTS;
use super::protocol::Handshake;
use super::queue::Queue;
use super::worker_process::{Worker, WorkerConfig, WorkerFailure};
use super::{
    Config, Error, Manual, Options, Rendered, Renderer, Source, file_type, pdfium::library,
};
use crate::page::{ManualId, Page, PageId, PageSet};

/// Number of worker processes of a configuration.
pub(super) fn worker_count(config: &Config) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    match config.workers {
        0 => (cores / 2).clamp(1, 4),
        n => n,
    }
}

/// Maximum number of pages rendered or in progress before the first of them is consumed.
pub(super) fn prefetch_limit(workers: usize) -> usize {
    workers * SLOTS
}

/// Resolution at which even the smallest paper exceeds any pixel limit.
const UNLIMITED_DPI: u32 = 2400;

/// The renderer.
pub(super) struct Pool {
    config: WorkerConfig,
    max_workers: usize,
    idle: Vec<Worker>,
    open: Option<Arc<File>>,
    files_opened: u64,
}

impl Pool {
    pub(super) fn new(config: &Config, options: &Options) -> Result<Self, Error> {
        let max_pixels = options.pixels.unwrap_or(config.max_pixels());
        // High enough that the pixel limit alone determines the size.
        let dpi = options.pixels.map_or(config.dpi, |_| UNLIMITED_DPI);
        let handshake = Handshake {
            library: library::path()?.into(),
            dpi,
            max_pixels,
            memory: config.worker_memory.0,
            slot_bytes: (max_pixels * 3).next_multiple_of(1 << 16),
            text: options.text,
            upright: options.upright,
            words: options.words,
        };
        let exe = options.worker.clone().map_or_else(own_exe, Ok)?;
        let deadline = config.deadline();
        Ok(Self {
            config: WorkerConfig {
                exe,
                handshake,
                deadline,
            },
            max_workers: worker_count(config),
            idle: Vec::new(),
            open: None,
            files_opened: 0,
        })
    }

    /// An idle worker, if there is one; those that have exited are dropped.
    fn idle(&mut self) -> Option<Worker> {
        self.idle.retain_mut(Worker::is_alive);
        self.idle.pop()
    }

    /// An idle worker, or a new one.
    fn worker(&mut self) -> Result<Worker, Error> {
        self.idle()
            .map_or_else(|| Worker::start(&self.config), Ok)
            .map_err(|e| Error::Worker(format!("cannot be started: {e}")))
    }
}

/// Opens a file in a worker: without a password, as most files are, then with each of the passwords. The file keeps the
/// right one.
fn open_with_passwords(
    file: &mut File,
    worker: &mut Worker,
    passwords: &[String],
) -> Result<Result<Manual, Error>, WorkerFailure> {
    let mut opened = file.open_in(worker, true, || false)?;
    for password in passwords {
        let Err(Error::Password { .. }) = opened else {
            return Ok(opened);
        };
        file.password = Some(password.clone());
        opened = file.open_in(worker, true, || false)?;
    }
    Ok(opened.map_err(|error| match error {
        Error::Password { .. } => Error::Password {
            given: passwords.len(),
        },
        other => other,
    }))
}

/// Path of the running executable; on Linux valid even if its file has been replaced since.
fn own_exe() -> Result<PathBuf, Error> {
    let proc_self = PathBuf::from("/proc/self/exe");
    if proc_self.exists() {
        return Ok(proc_self);
    }
    Ok(std::env::current_exe()?)
}

impl Renderer for Pool {
    fn open(&mut self, source: &Source) -> Result<Manual, Error> {
        self.open = None;
        self.files_opened += 1;
        let mut file = File {
            manual: source.manual.clone(),
            pages: 0,
            path: std::path::absolute(&source.path)?,
            file_type: file_type::detect(&source.path)?,
            password: None,
            number: self.files_opened,
        };
        let mut worker = self.worker()?;
        let opened = open_with_passwords(&mut file, &mut worker, &source.passwords);
        let opened = opened.map_err(|failure| self.open_failure(failure))?;
        self.idle.push(worker);
        let manual = opened.map_err(|error| match error {
            Error::Format => file_type::unreadable_pdf(&source.path),
            other => other,
        })?;
        file.pages = manual.pages;
        if manual.pages == 0 {
            return Err(Error::Empty);
        }
        self.open = Some(Arc::new(file));
        Ok(manual)
    }

    fn pages(
        &mut self,
        selection: &PageSet,
    ) -> Result<Box<dyn Iterator<Item = Page<Rendered>> + '_>, Error> {
        let no_file = || Error::Worker("no file is open".into());
        let file = self.open.clone().ok_or_else(no_file)?;
        let numbers = selection.within(file.pages);
        let dispatchers = self.max_workers.min(numbers.len());
        let queue = Arc::new(Queue::new(
            numbers,
            prefetch_limit(dispatchers),
            dispatchers,
        ));
        // The first worker is started here, so that the caller gets its error; the others by their dispatchers.
        let mut ready = Vec::new();
        for index in 0..dispatchers {
            ready.push(match index {
                0 => Some(self.worker()?),
                _ => self.idle(),
            });
        }
        let start = |worker| {
            let (config, file, queue) = (self.config.clone(), file.clone(), queue.clone());
            thread::spawn(move || Dispatcher::new(&config, &file, &queue, worker).run())
        };
        let dispatchers = ready.into_iter().map(start).collect();
        Ok(Box::new(Pages {
            idle: &mut self.idle,
            manual: file.manual.clone(),
            queue,
            dispatchers,
        }))
    }
}

impl Pool {
    /// The error of a file whose worker failed while opening it.
    fn open_failure(&self, failure: WorkerFailure) -> Error {
        Error::Worker(match failure {
            WorkerFailure::Died(why) => format!("it exited while opening the file ({why})"),
            _ => format!(
                "opening the file took longer than {} s",
                self.config.deadline.as_secs()
            ),
        })
    }
}

/// Iterator over pages in order; dropping it early stops the busy workers.
struct Pages<'a> {
    idle: &'a mut Vec<Worker>,
    manual: ManualId,
    queue: Arc<Queue>,
    dispatchers: Vec<JoinHandle<Option<Worker>>>,
}

impl Iterator for Pages<'_> {
    type Item = Page<Rendered>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, page) = self.queue.next_outcome()?;
        Some((PageId::new(&self.manual, number), page))
    }
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        self.queue.stop();
        let dispatchers = self.dispatchers.drain(..);
        let back = dispatchers.filter_map(|dispatcher| dispatcher.join().ok().flatten());
        self.idle.extend(back);
    }
}
