//! What a run did: counted once, where it happens, and told to whoever watches.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;

use crate::page::{ManualId, PageError, PageId};
use crate::store::WriteOutcome;

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// PDF page to picture and text.
    Render,
    /// Picture to what the model eats; digest and thumbnail.
    Prepare,
    /// Model.
    Embed,
    /// Store.
    Store,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 4] = [Self::Render, Self::Prepare, Self::Embed, Self::Store];

    /// The stage's name.
    pub fn name(self) -> &'static str {
        ["render", "prepare", "embed", "store"][self as usize]
    }
}

/// Something that happened in a run, in the order in which it happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A manual was opened; so many of its pages must be worked on.
    Opened {
        /// The manual.
        manual: ManualId,
        /// Pages to work on.
        todo: u32,
    },
    /// A stage is done with so many more pages.
    Done(Stage, u32),
    /// The model's weights are being opened.
    Loading,
    /// The model is ready.
    Loaded(Duration),
    /// A page failed.
    PageFailed {
        /// The manual.
        manual: ManualId,
        /// The page.
        number: u32,
        /// Why.
        error: PageError,
    },
    /// A manual failed as a whole.
    ManualFailed {
        /// As it was named on the command line.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The store's server is away; pages wait for it.
    Waiting(Arc<str>),
    /// Out of memory: from now on batches hold so many pages.
    Shrunk(usize),
}

/// A page that failed and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The page, from 1.
    pub page: u32,
    /// Why.
    pub reason: String,
}

/// What became of one manual.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ManualStats {
    /// Its name; its path where it never got one.
    pub manual: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Pages asked for.
    pub pages: u32,
    /// Pages put into the store by this run.
    pub stored: u32,
    /// Pages that were there already.
    pub unchanged: u32,
    /// Of the stored ones, those that kept their vectors because pixels and text had not changed.
    pub kept: u32,
    /// Of the stored ones, blank ones.
    pub blank: u32,
    /// Pages that wait for their store.
    pub waiting: u32,
    /// Pages that failed.
    pub failed: Vec<Failure>,
    /// Why the manual failed as a whole.
    pub error: Option<String>,
    /// Working seconds of each stage.
    pub seconds: BTreeMap<Stage, f64>,
}

/// A batch that went through the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch {
    /// Its pages.
    pub pages: usize,
    /// Seconds it took.
    pub seconds: f64,
    /// Share of the work that went into padding shorter pages to the longest one.
    pub padding: f64,
}

/// What a run did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunStats {
    /// One record a manual, in the order given.
    pub manuals: Vec<ManualStats>,
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds to open the model.
    pub load: f64,
    /// Seconds the model waited for pages, after it was open and before the last page came.
    pub model_waited: f64,
    /// The batches, in order.
    #[serde(skip)]
    pub batches: Vec<Batch>,
    /// Whether the run was stopped before its end.
    pub stopped: bool,
}

impl RunStats {
    /// Sums a count over the manuals.
    pub fn total(&self, count: impl Fn(&ManualStats) -> u32) -> u32 {
        self.manuals.iter().map(count).sum()
    }

    /// Whether anything failed.
    pub fn failed(&self) -> bool {
        let has_failed = |m: &ManualStats| m.error.is_some() || !m.failed.is_empty();
        self.stopped || self.manuals.iter().any(has_failed)
    }

    /// The exit code: 0 nothing failed or waits, 1 something did, 2 something did and nothing asked for is in the store.
    pub fn exit_code(&self) -> u8 {
        let there = self.total(|m| m.stored + m.unchanged + m.waiting);
        match (self.failed() || self.total(|m| m.waiting) > 0, there) {
            (false, _) => 0,
            (true, 0) => 2,
            (true, _) => 1,
        }
    }

    /// Pages embedded per second, without the time to open the model; `None` if no page was embedded.
    pub fn embedding_rate(&self) -> Option<f64> {
        let pages: usize = self.batches.iter().map(|batch| batch.pages).sum();
        let seconds = self.wall - self.load;
        (pages > 0 && seconds > 0.0).then(|| pages as f64 / seconds)
    }

    /// Working seconds of a stage over all manuals.
    pub fn seconds(&self, stage: Stage) -> f64 {
        self.manuals
            .iter()
            .filter_map(|m| m.seconds.get(&stage))
            .sum()
    }
}

/// The tally of a run under way, and who watches it.
pub(super) struct StatsCollector<'a> {
    stats: Mutex<RunStats>,
    /// Why pages wait, as told last.
    why_waiting: Mutex<Arc<str>>,
    on_event: &'a (dyn Fn(Event) + Sync),
}

impl<'a> StatsCollector<'a> {
    pub(super) fn new(manuals: Vec<ManualStats>, on_event: &'a (dyn Fn(Event) + Sync)) -> Self {
        Self {
            stats: Mutex::new(RunStats {
                manuals,
                ..RunStats::default()
            }),
            why_waiting: Mutex::new("".into()),
            on_event,
        }
    }

    pub(super) fn emit(&self, event: Event) {
        (self.on_event)(event);
    }

    /// Changes the run's record.
    pub(super) fn note(&self, change: impl FnOnce(&mut RunStats)) {
        change(
            &mut self
                .stats
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
    }

    /// Changes a manual's record.
    pub(super) fn manual(&self, index: usize, change: impl FnOnce(&mut ManualStats)) {
        self.note(|stats| change(&mut stats.manuals[index]));
    }

    /// Adds working time of a stage to a manual.
    pub(super) fn spend(&self, index: usize, stage: Stage, time: Duration) {
        self.manual(index, |m| {
            *m.seconds.entry(stage).or_default() += time.as_secs_f64()
        });
    }

    pub(super) fn page_failed(&self, index: usize, id: &PageId, error: PageError) {
        self.manual(index, |m| {
            m.failed.push(Failure {
                page: id.number,
                reason: error.to_string(),
            })
        });
        self.emit(Event::PageFailed {
            manual: id.manual.clone(),
            number: id.number,
            error,
        });
    }

    /// A page waits; the reason is told when it is a new one.
    pub(super) fn waits(&self, index: usize, why: &Arc<str>) {
        self.manual(index, |m| m.waiting += 1);
        let mut told = self
            .why_waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if *told != *why {
            told.clone_from(why);
            self.emit(Event::Waiting(Arc::clone(why)));
        }
    }

    /// A page that waited has its verdict.
    pub(super) fn settle(&self, id: &PageId, verdict: Result<WriteOutcome, PageError>) {
        let mut job = None;
        self.note(|stats| {
            job = stats
                .manuals
                .iter()
                .position(|m| m.manual == id.manual.as_str() && m.waiting > 0);
            if let Some(job) = job {
                let manual = &mut stats.manuals[job];
                manual.waiting -= 1;
                manual.stored += u32::from(verdict.is_ok());
            }
        });
        if let (Some(job), Err(error)) = (job, verdict) {
            self.page_failed(job, id, error);
        }
    }

    /// Whether a manual failed as a whole.
    pub(super) fn has_failed(&self, index: usize) -> bool {
        let mut failed = false;
        self.manual(index, |m| failed = m.error.is_some());
        failed
    }

    /// Whether it is known that a page of a manual is not in the store: it failed, or some still wait.
    pub(super) fn is_excused(&self, index: usize, page: u32) -> bool {
        let mut excused = false;
        self.manual(index, |m| {
            excused = m.waiting > 0 || m.failed.iter().any(|f| f.page == page)
        });
        excused
    }

    pub(super) fn manual_failed(&self, index: usize, why: &str) {
        let mut path = PathBuf::new();
        self.manual(index, |m| {
            m.error = Some(why.to_owned());
            path.clone_from(&m.path);
        });
        self.emit(Event::ManualFailed {
            path,
            why: why.to_owned(),
        });
    }

    pub(super) fn close(self) -> RunStats {
        let mut stats = self
            .stats
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for manual in &mut stats.manuals {
            manual.failed.sort_by_key(|f| f.page);
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(stored: u32, failed: bool) -> RunStats {
        let failed = if failed {
            vec![Failure {
                page: 1,
                reason: "torn".into(),
            }]
        } else {
            vec![]
        };
        RunStats {
            manuals: vec![ManualStats {
                stored,
                failed,
                ..ManualStats::default()
            }],
            ..RunStats::default()
        }
    }

    #[test]
    fn the_exit_code_remembers() {
        assert_eq!(stats(0, false).exit_code(), 0);
        assert_eq!(stats(3, true).exit_code(), 1);
        assert_eq!(stats(0, true).exit_code(), 2);
    }

    #[test]
    fn the_rate_counts_embedded_pages_and_no_loading() {
        let batch = |pages| Batch {
            pages,
            seconds: 1.0,
            padding: 0.0,
        };
        let mut stats = RunStats {
            wall: 12.0,
            load: 2.0,
            ..stats(20, false)
        };
        assert_eq!(stats.embedding_rate(), None, "all pages kept their vectors");
        stats.batches = vec![batch(3), batch(2)];
        assert_eq!(stats.embedding_rate(), Some(0.5));
    }
}
