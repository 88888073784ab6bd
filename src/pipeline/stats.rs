//! Run statistics: every count is updated once, where it happens, and reported to `on_event`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::page::{ManualId, PageError, PageId, PageSet};
use crate::render::{self, Rendered};
use crate::store::{self, FailedPage, WriteOutcome};

use super::Client;
use super::event::{Availability, Event, Stage};
use super::notes::{Notes, PageNote};

/// Statistics of one manual.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ManualStats {
    /// Its name; the path given if it was never named, or is [`ManualStats::same_as`] another.
    pub manual: String,
    /// Its file.
    #[serde(serialize_with = "store::serialize_path")]
    pub path: PathBuf,
    /// The manual whose file has the same bytes: the pages are stored under its name only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
    /// Pages requested.
    pub pages: u32,
    /// Pages stored by this run.
    pub stored: u32,
    /// Pages that were stored already.
    pub unchanged: u32,
    /// Stored pages that kept their vectors because pixels and text had not changed.
    pub kept: u32,
    /// Stored pages that are blank.
    pub blank: u32,
    /// Pages of which something could not be drawn, blank or not; none of them counts as `blank`.
    pub incomplete: u32,
    /// Pages whose text layer is unreadable; only their picture is searched.
    pub unreadable_text: u32,
    /// Pages deferred until the store's server is available; those of files with the same bytes count once.
    pub waiting: u32,
    /// Pages that failed.
    pub failed: Vec<FailedPage>,
    /// The reason if the manual failed as a whole.
    pub error: Option<String>,
    /// Busy seconds of each stage.
    pub seconds: BTreeMap<Stage, f64>,
}

/// A batch that was embedded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch {
    /// Number of pages.
    pub pages: usize,
    /// Seconds to embed it.
    pub seconds: f64,
    /// Share of the work spent on padding shorter pages to the longest one.
    pub padding: f64,
}

/// Statistics of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunStats {
    /// One record per manual, in the order given.
    pub manuals: Vec<ManualStats>,
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds to load the model.
    pub load: f64,
    /// Seconds the model was idle, from when it was loaded to the last page.
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
    pub fn has_failures(&self) -> bool {
        let has_failed = |m: &ManualStats| m.error.is_some() || !m.failed.is_empty();
        self.stopped || self.manuals.iter().any(has_failed)
    }

    /// The exit code: 0 if nothing failed or was deferred, 1 if something was, 2 if something was and no requested page
    /// is in the store.
    pub fn exit_code(&self) -> u8 {
        let available = self.total(|m| m.stored + m.unchanged + m.waiting);
        match (
            self.has_failures() || self.total(|m| m.waiting) > 0,
            available,
        ) {
            (false, _) => 0,
            (true, 0) => 2,
            (true, _) => 1,
        }
    }

    /// Pages embedded per second, excluding the time to load the model; `None` if no page was embedded.
    pub fn embedding_rate(&self) -> Option<f64> {
        let pages: usize = self.batches.iter().map(|batch| batch.pages).sum();
        let seconds = self.wall - self.load;
        (pages > 0 && seconds > 0.0).then(|| pages as f64 / seconds)
    }

    /// Busy seconds of a stage, summed over all manuals.
    pub fn seconds(&self, stage: Stage) -> f64 {
        self.manuals
            .iter()
            .filter_map(|m| m.seconds.get(&stage))
            .sum()
    }
}

/// Collects the statistics of a task and emits its events; shared by all stages.
pub(super) struct StatsCollector<'a> {
    stats: Mutex<RunStats>,
    /// Notes that are not emitted yet.
    notes: Notes,
    /// The last reason emitted as [`Event::Deferred`].
    deferral_reason: Mutex<Arc<str>>,
    client: Box<dyn Client + 'a>,
}

impl<'a> StatsCollector<'a> {
    pub(super) fn new(manuals: Vec<ManualStats>, client: Box<dyn Client + 'a>) -> Self {
        Self {
            stats: Mutex::new(RunStats {
                manuals,
                ..RunStats::default()
            }),
            notes: Notes::default(),
            deferral_reason: Mutex::new("".into()),
            client,
        }
    }

    pub(super) fn client(&self) -> &(dyn Client + 'a) {
        &*self.client
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.client.is_stopped()
    }

    pub(super) fn emit(&self, event: Event) {
        self.client.on_event(event);
    }

    /// Applies a change to the statistics of the run.
    pub(super) fn update(&self, change: impl FnOnce(&mut RunStats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Applies a change to the statistics of a manual.
    pub(super) fn update_manual(&self, index: usize, change: impl FnOnce(&mut ManualStats)) {
        self.update(|stats| change(&mut stats.manuals[index]));
    }

    /// Adds busy time of a stage to a manual.
    pub(super) fn add_time(&self, index: usize, stage: Stage, time: Duration) {
        self.update_manual(index, |m| {
            *m.seconds.entry(stage).or_default() += time.as_secs_f64()
        });
    }

    pub(super) fn page_failed(&self, index: usize, id: &PageId, error: PageError) {
        self.update_manual(index, |m| {
            m.failed.push(FailedPage {
                page: id.number,
                reason: error.to_string(),
            })
        });
        self.notes.add(index, id.number, PageNote::Failed(error));
    }

    /// Counts what is wrong with a page that was rendered.
    pub(super) fn page_rendered(&self, index: usize, number: u32, rendered: &Rendered) {
        let is_incomplete = !rendered.undrawn.is_empty();
        self.update_manual(index, |m| {
            m.incomplete += u32::from(is_incomplete);
            m.unreadable_text += u32::from(rendered.unreadable_text);
        });
        for undrawn in rendered.undrawn.iter().cloned() {
            let blank = rendered.blank;
            self.notes
                .add(index, number, PageNote::Incomplete { blank, undrawn });
        }
        if rendered.unreadable_text {
            self.notes.add(index, number, PageNote::UnreadableText);
        }
    }

    /// Emits the notes of a manual.
    pub(super) fn emit_notes(&self, index: usize) {
        let mut manual = String::new();
        self.update_manual(index, |m| manual.clone_from(&m.manual));
        for (note, pages) in self.notes.take(index) {
            self.emit(Event::Pages {
                manual: ManualId::new(&manual),
                count: pages.len() as u32,
                pages: PageSet::of(pages),
                note,
            });
        }
    }

    /// Counts a deferred page; emits the reason if it is a new one.
    pub(super) fn defer_page(&self, index: usize, why: &Arc<str>) {
        self.update_manual(index, |m| m.waiting += 1);
        let mut last = self
            .deferral_reason
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *last != *why {
            last.clone_from(why);
            self.emit(Event::Deferred(Arc::clone(why)));
        }
    }

    /// Records the outcome of a page that was deferred; returns whether it is one of this task.
    pub(super) fn resolve(&self, id: &PageId, outcome: &Result<WriteOutcome, PageError>) -> bool {
        let mut index = None;
        self.update(|stats| {
            index = stats
                .manuals
                .iter()
                .position(|m| m.stored_as() == id.manual.as_str() && m.waiting > 0);
            if let Some(index) = index {
                let manual = &mut stats.manuals[index];
                manual.waiting -= 1;
                manual.stored += u32::from(outcome.is_ok());
            }
        });
        if let (Some(index), Err(error)) = (index, outcome) {
            self.page_failed(index, id, error.clone());
        }
        index.is_some()
    }

    /// Why a manual failed as a whole; `None` if it did not.
    pub(super) fn failure(&self, index: usize) -> Option<String> {
        let mut failure = None;
        self.update_manual(index, |m| failure.clone_from(&m.error));
        failure
    }

    /// Emits that a file has the bytes of a manual that is stored from another file.
    pub(super) fn emit_same(&self, path: &Path, manual: &ManualId, availability: Availability) {
        self.emit(Event::SameAs {
            path: path.to_owned(),
            manual: manual.clone(),
            availability,
        });
    }

    /// Whether a page may be missing from the store: it failed, or pages of its manual are deferred.
    pub(super) fn is_accounted_for(&self, index: usize, page: u32) -> bool {
        let mut accounted_for = false;
        self.update_manual(index, |m| {
            accounted_for = m.waiting > 0 || m.failed.iter().any(|f| f.page == page)
        });
        accounted_for
    }

    /// Records that the renderer cannot open the file of a manual.
    pub(super) fn open_failed(&self, index: usize, cause: render::Error) {
        self.record_failure(index, &cause.to_string(), Some(Arc::new(cause)));
    }

    pub(super) fn manual_failed(&self, index: usize, why: &str) {
        self.record_failure(index, why, None);
    }

    fn record_failure(&self, index: usize, why: &str, cause: Option<Arc<render::Error>>) {
        let mut path = PathBuf::new();
        self.update_manual(index, |m| {
            m.error = Some(why.to_owned());
            path.clone_from(&m.path);
        });
        self.emit(Event::ManualFailed {
            path,
            why: why.to_owned(),
            cause,
        });
    }

    /// Emits the notes that are left and takes the statistics.
    pub(super) fn finish(&self) -> RunStats {
        for index in self.notes.manuals() {
            self.emit_notes(index);
        }
        let mut stats = RunStats::default();
        self.update(|collected| stats = std::mem::take(collected));
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
            vec![FailedPage {
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
    fn exit_code_is_1_if_some_pages_failed_and_2_if_none_is_stored() {
        assert_eq!(stats(0, false).exit_code(), 0);
        assert_eq!(stats(3, true).exit_code(), 1);
        assert_eq!(stats(0, true).exit_code(), 2);
    }

    #[test]
    fn embedding_rate_counts_embedded_pages_and_excludes_loading() {
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
