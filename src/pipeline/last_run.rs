//! What a run did with each manual, kept in the store as soon as all its pages have an outcome.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::event::{Event, Stage};
use super::stats::{ManualStats, StatsCollector};
use super::task::OpenTask;
use crate::page::ManualId;
use crate::store::{self, LastRun, StageSeconds, Writer};

/// Keeps in the store what a flow does with each manual.
pub(super) struct Recorder<'a> {
    pub(super) store: &'a (dyn Writer + Sync),
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the model began to load, and when it was loaded.
    loading: Option<(Instant, Instant)>,
    /// Whether the store has failed: it is not asked to keep a record again.
    has_failed: bool,
}

impl State {
    /// Time since a manual was opened, without the time to load the model.
    fn elapsed(&self, opened: Instant) -> Duration {
        opened.elapsed().saturating_sub(self.loading_since(opened))
    }

    /// The part after `instant` of the time to load the model.
    fn loading_since(&self, instant: Instant) -> Duration {
        self.loading.map_or(Duration::ZERO, |(start, end)| {
            end.saturating_duration_since(start.max(instant))
        })
    }
}

impl<'a> Recorder<'a> {
    pub(super) fn new(store: &'a (dyn Writer + Sync)) -> Self {
        Self {
            store,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the model, which began to load at `start`, is loaded.
    pub(super) fn model_loaded(&self, start: Instant) {
        self.state().loading = Some((start, Instant::now()));
    }

    /// The part after `instant` of the time to load the model.
    pub(super) fn loading_since(&self, instant: Instant) -> Duration {
        self.state().loading_since(instant)
    }

    /// Notes whether the store failed: then nothing more is recorded.
    pub(super) fn checked<T>(&self, result: Result<T, store::Error>) -> Result<T, store::Error> {
        self.state().has_failed |= result.is_err();
        result
    }

    /// Records the manuals of a task all of whose pages have an outcome.
    pub(super) fn record_finished(&self, task: &OpenTask<'_>) {
        self.record_ready(task, |m| {
            let known = m.stored + m.unchanged + m.failed.len() as u32;
            m.pages > 0 && known >= m.pages
        });
    }

    /// Records the manuals that are left at the end of a task, except those with deferred pages.
    pub(super) fn record_all(&self, task: &OpenTask<'_>) {
        self.record_ready(task, |m| m.waiting == 0);
    }

    /// Records the opened manuals that are `ready`; one of which no page was processed keeps its record.
    fn record_ready(&self, task: &OpenTask<'_>, ready: impl Fn(&ManualStats) -> bool) {
        let mut runs = Vec::new();
        {
            let state = self.state();
            task.opened().retain(|&index, since| {
                let mut is_ready = false;
                task.collector.update_manual(index, |m| {
                    is_ready = ready(m);
                    if is_ready && m.stored as usize + m.failed.len() > 0 {
                        let run = last_run(m, state.elapsed(*since));
                        runs.push((ManualId::new(m.stored_as()), run));
                    }
                });
                !is_ready
            });
        }
        for (manual, run) in runs {
            self.record(&task.collector, &manual, &run);
        }
    }

    /// Keeps a record in the store. A store that fails is reported once and not asked again.
    pub(super) fn record(&self, collector: &StatsCollector<'_>, manual: &ManualId, run: &LastRun) {
        if self.state().has_failed {
            return;
        }
        if let Err(cause) = self.store.record_run(manual, run) {
            self.state().has_failed = true;
            collector.emit(Event::RunNotRecorded {
                manual: manual.clone(),
                why: cause.to_string(),
            });
        }
    }
}

/// The record of a manual that took this long, without the time to load the model.
pub fn last_run(stats: &ManualStats, elapsed: Duration) -> LastRun {
    let seconds = |stage| rounded(stats.seconds.get(&stage).copied().unwrap_or_default());
    let mut failures = stats.failed.clone();
    failures.sort_by_key(|failed| failed.page);
    failures.truncate(LastRun::MAX_FAILURES);
    LastRun {
        ended: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        seconds: StageSeconds {
            render: seconds(Stage::Render),
            prepare: seconds(Stage::Prepare),
            embed: seconds(Stage::Embed),
            store: seconds(Stage::Store),
        },
        pages_per_second: rounded(f64::from(stats.stored) / elapsed.as_secs_f64().max(1e-3)),
        stored: stats.stored,
        failed: stats.failed.len() as u32,
        failures,
    }
}

/// To thousandths.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_load_the_model_does_not_count() {
        let now = Instant::now();
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).unwrap();
        let elapsed = |loading, opened| {
            let state = State {
                loading,
                ..State::default()
            };
            state.elapsed(ago(opened)).as_secs()
        };
        assert_eq!(elapsed(None, 90), 90);
        let loading = Some((ago(80), ago(50)));
        assert_eq!(elapsed(loading, 90), 60, "opened before");
        assert_eq!(elapsed(loading, 60), 50, "opened meanwhile");
        assert_eq!(elapsed(loading, 40), 40, "opened after");
    }
}
