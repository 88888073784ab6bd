//! The workers of a renderer, and the pages of a file through all of them, in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::dispatch::{File, Lane};
use super::memory::SLOTS;
use super::process::{Lost, Recipe, Worker};
use super::protocol::Hello;
use super::queue::Queue;
use super::{
    Config, Error, Manual, Options, Rendered, Renderer, Source, file_type, pdfium_library,
};
use crate::page::{ManualId, Page, PageId, PageSet};

/// Worker processes of a configuration.
pub(super) fn workers(config: &Config) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    match config.workers {
        0 => (cores / 2).clamp(1, 4),
        n => n,
    }
}

/// Pages that may be rendered or in work before the first of them is taken.
pub(super) fn ahead(workers: usize) -> usize {
    workers * SLOTS
}

/// Dots per inch at which the smallest paper has more pixels than anybody wants.
const FINE: u32 = 2400;

/// The renderer.
pub(super) struct Pool {
    recipe: Recipe,
    limit: usize,
    idle: Vec<Worker>,
    open: Option<Arc<File>>,
    opened: u64,
}

impl Pool {
    pub(super) fn new(config: &Config, options: &Options) -> Result<Self, Error> {
        let max_pixels = options.pixels.unwrap_or(config.max_pixels());
        // So many that the number of pixels decides alone.
        let dpi = options.pixels.map_or(config.dpi, |_| FINE);
        let hello = Hello {
            library: pdfium_library::library()?.into(),
            dpi,
            max_pixels,
            memory: config.worker_memory.0,
            slot_bytes: (max_pixels * 3).next_multiple_of(1 << 16),
            text: options.text,
            upright: options.upright,
        };
        let exe = options.worker.clone().map_or_else(own_exe, Ok)?;
        let deadline = config.deadline();
        Ok(Self {
            recipe: Recipe {
                exe,
                hello,
                deadline,
            },
            limit: workers(config),
            idle: Vec::new(),
            open: None,
            opened: 0,
        })
    }

    /// A worker that waits for work, if there is one; those that died waiting are forgotten.
    fn idle(&mut self) -> Option<Worker> {
        self.idle.retain_mut(Worker::is_alive);
        self.idle.pop()
    }

    /// A worker, started if need be.
    fn worker(&mut self) -> Result<Worker, Error> {
        self.idle()
            .map_or_else(|| Worker::start(&self.recipe), Ok)
            .map_err(|e| Error::Worker(format!("it cannot be started: {e}")))
    }
}

/// The running executable; on Linux also when its file has been replaced meanwhile.
fn own_exe() -> Result<PathBuf, Error> {
    let same = PathBuf::from("/proc/self/exe");
    if same.exists() {
        return Ok(same);
    }
    Ok(std::env::current_exe()?)
}

impl Renderer for Pool {
    fn open(&mut self, source: &Source) -> Result<Manual, Error> {
        self.open = None;
        self.opened += 1;
        let mut file = File {
            manual: source.manual.clone(),
            pages: 0,
            path: std::path::absolute(&source.path)?,
            kind: file_type::of(&source.path)?,
            password: source.password.clone(),
            number: self.opened,
        };
        let mut worker = self.worker()?;
        let opened = file.open_in(&mut worker, true, || false);
        let opened = opened.map_err(|lost| self.opening(lost))?;
        self.idle.push(worker);
        let manual = opened?;
        file.pages = manual.pages;
        if manual.pages == 0 {
            return Err(Error::Empty);
        }
        self.open = Some(Arc::new(file));
        Ok(manual)
    }

    fn pages(
        &mut self,
        which: &PageSet,
    ) -> Result<Box<dyn Iterator<Item = Page<Rendered>> + '_>, Error> {
        let nothing = || Error::Worker("no file is open".into());
        let file = self.open.clone().ok_or_else(nothing)?;
        let numbers = which.within(file.pages);
        let drivers = self.limit.min(numbers.len());
        let queue = Arc::new(Queue::new(numbers, ahead(drivers), drivers));
        // The first is started here, so that its failure is the caller's; the others as their lanes begin.
        let mut ready = Vec::new();
        for lane in 0..drivers {
            ready.push(match lane {
                0 => Some(self.worker()?),
                _ => self.idle(),
            });
        }
        let start = |worker| {
            let (recipe, file, queue) = (self.recipe.clone(), file.clone(), queue.clone());
            thread::spawn(move || Lane::new(&recipe, &file, &queue, worker).run())
        };
        let drivers = ready.into_iter().map(start).collect();
        Ok(Box::new(Pages {
            idle: &mut self.idle,
            manual: file.manual.clone(),
            queue,
            drivers,
        }))
    }
}

impl Pool {
    /// What it means for the file that its worker was lost while opening it.
    fn opening(&self, lost: Lost) -> Error {
        Error::Worker(match lost {
            Lost::Died(why) => format!("it died opening the file ({why})"),
            _ => format!(
                "the file is still not open after {} s",
                self.recipe.deadline.as_secs()
            ),
        })
    }
}

/// Pages in order; dropped early, it stops the workers that are still busy.
struct Pages<'a> {
    idle: &'a mut Vec<Worker>,
    manual: ManualId,
    queue: Arc<Queue>,
    drivers: Vec<JoinHandle<Option<Worker>>>,
}

impl Iterator for Pages<'_> {
    type Item = Page<Rendered>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, page) = self.queue.deliver()?;
        Some((PageId::new(&self.manual, number), page))
    }
}

impl Drop for Pages<'_> {
    fn drop(&mut self) {
        self.queue.stop();
        let drivers = self.drivers.drain(..);
        let back = drivers.filter_map(|driver| driver.join().ok().flatten());
        self.idle.extend(back);
    }
}
