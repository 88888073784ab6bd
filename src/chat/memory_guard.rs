//! Memory guard: checks the model's memory before each request, since a machine out of memory stalls as a whole.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Gauge;

/// Thresholds in per cent of the memory limit.
const WARN: u64 = 75;
const UNLOAD: u64 = 80;
const PAUSE: u64 = 85;
const CRITICAL: u64 = 87;
const STOP: u64 = 95;
/// How long a pause may last after the model was unloaded.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Minimum number of checks between two unloads outside a pause: a model that is simply large is not reloaded for every
/// page.
const UNLOAD_INTERVAL: u64 = 50;

/// The action before the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Go,
    /// Unload the model, then go.
    Unload,
    /// Check again later.
    Wait {
        /// Unload the model first.
        unload: bool,
    },
    Stop,
}

/// Compares the model's memory with the limit.
pub struct MemoryGuard<'a> {
    gauge: &'a Gauge<'a>,
    limit: u64,
    /// Whether the runner can unload the model.
    can_unload: bool,
    peak: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: u64,
    checks: u64,
    /// The check at which the model was last unloaded.
    unloaded_at: Option<u64>,
    /// The current pause.
    pause: Pause,
    /// The highest threshold warned about.
    warned: u64,
}

/// The state of a pause.
#[derive(Clone, Copy, Default)]
enum Pause {
    #[default]
    None,
    /// The model is being unloaded.
    Unloading,
    /// The model was unloaded at this time; its memory may be released later.
    Since(Instant),
}

impl<'a> MemoryGuard<'a> {
    /// Creates the guard of a run.
    pub fn new(gauge: &'a Gauge<'a>, limit: u64, can_unload: bool) -> Self {
        Self {
            gauge,
            limit: limit.max(1),
            can_unload,
            peak: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// The peak in bytes; `None` if the gauge returned nothing.
    pub fn peak(&self) -> Option<u64> {
        let peak = self.peak.load(Ordering::Relaxed);
        (peak > 0).then_some(peak)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Samples the memory and updates the peak.
    pub fn sample(&self) -> Option<u64> {
        let now = (self.gauge)();
        self.peak.fetch_max(now.unwrap_or(0), Ordering::Relaxed);
        now
    }

    /// Notes that the model was unloaded, as far as that was possible.
    pub(super) fn unloaded(&self) {
        self.state().pause = Pause::Since(Instant::now());
    }

    /// Samples the memory; returns what to do and a warning when a threshold is crossed for the first time.
    pub(super) fn check(&self) -> (Action, Option<String>) {
        let Some(now) = self.sample() else {
            return (Action::Go, None);
        };
        let mut state = self.state();
        state.now = now;
        state.checks += 1;
        let share = now.saturating_mul(100) / self.limit;
        let warning = state.new_warning(share, self.can_unload).map(|warning| {
            let usage = format_usage(now, self.limit);
            format!("{usage}: {warning}")
        });
        (state.action(share, self.can_unload), warning)
    }

    /// The last sample and the limit, as text.
    pub(super) fn usage(&self) -> String {
        format_usage(self.state().now, self.limit)
    }
}

impl State {
    fn action(&mut self, share: u64, can_unload: bool) -> Action {
        if share < PAUSE && !matches!(self.pause, Pause::Unloading) {
            self.pause = Pause::None;
        }
        match (share, self.pause) {
            (STOP.., _) => Action::Stop,
            (PAUSE.., Pause::Since(unloaded)) if unloaded.elapsed() > PAUSE_TIMEOUT => Action::Stop,
            (PAUSE.., pause) => {
                let unload = matches!(pause, Pause::None);
                if unload {
                    self.pause = Pause::Unloading;
                    self.unloaded_at = Some(self.checks);
                }
                Action::Wait { unload }
            }
            (UNLOAD.., _) if can_unload && self.may_unload() => {
                self.unloaded_at = Some(self.checks);
                Action::Unload
            }
            _ => Action::Go,
        }
    }

    fn may_unload(&self) -> bool {
        self.unloaded_at
            .is_none_or(|last| self.checks - last >= UNLOAD_INTERVAL)
    }

    /// Returns the warning of the highest threshold reached, once per threshold.
    fn new_warning(&mut self, share: u64, can_unload: bool) -> Option<&'static str> {
        let reload = match can_unload {
            true => "the model is reloaded",
            false => "this server cannot unload its model",
        };
        let thresholds = [
            (STOP, "stopping the run"),
            (CRITICAL, "critical, paused until memory is free"),
            (PAUSE, "paused until memory is free"),
            (UNLOAD, reload),
            (WARN, "memory is getting short"),
        ];
        let (threshold, warning) = thresholds
            .into_iter()
            .find(|(threshold, _)| share >= *threshold)?;
        let is_new = threshold > self.warned;
        self.warned = self.warned.max(threshold);
        is_new.then_some(warning)
    }
}

fn format_usage(now: u64, limit: u64) -> String {
    let gb = |bytes: u64| bytes as f64 / 1e9;
    let share = now.saturating_mul(100) / limit;
    format!(
        "the model uses {:.1} GB, {share} % of its {:.1} GB limit",
        gb(now),
        gb(limit)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_threshold_has_an_action_and_warns_once() {
        let now = AtomicU64::new(0);
        let gauge = || Some(now.load(Ordering::Relaxed));
        let guard = MemoryGuard::new(&gauge, 1000, true);
        let at = |share: u64| {
            now.store(share, Ordering::Relaxed);
            let (action, warning) = guard.check();
            (action, warning.is_some())
        };
        assert_eq!(at(740), (Action::Go, false));
        assert_eq!(at(750), (Action::Go, true));
        assert_eq!(at(760), (Action::Go, false));
        assert_eq!(at(800), (Action::Unload, true));
        assert_eq!(
            at(820),
            (Action::Go, false),
            "not unloaded again for every page"
        );
        assert_eq!(at(850), (Action::Wait { unload: true }, true));
        assert_eq!(at(870), (Action::Wait { unload: false }, true));
        guard.unloaded();
        assert_eq!(at(870), (Action::Wait { unload: false }, false));
        assert_eq!(at(700), (Action::Go, false));
        assert_eq!(at(860), (Action::Wait { unload: true }, false));
        assert_eq!(at(950), (Action::Stop, true));
        assert_eq!(guard.peak(), Some(950));
        for _ in 0..UNLOAD_INTERVAL - 1 {
            assert_eq!(at(700).0, Action::Go);
        }
        assert_eq!(at(810).0, Action::Unload);
    }

    #[test]
    fn guard_without_a_gauge_never_stops() {
        let guard = MemoryGuard::new(&|| None, 1, true);
        assert_eq!(guard.check(), (Action::Go, None));
        assert_eq!(guard.peak(), None);
    }
}
