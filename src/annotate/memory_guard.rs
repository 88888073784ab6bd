//! Memory that the model takes, watched from page to page: a machine that runs out of it takes everything down.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::annotate::Gauge;

/// Shares of the limit, in per cent, from which something is done.
const WARN: u64 = 75;
const CLEAN_UP: u64 = 80;
const PAUSE: u64 = 85;
const CRITICAL: u64 = 87;
const STOP: u64 = 95;
/// How long it is waited until memory is free, once all was done for that.
const DROUGHT: Duration = Duration::from_secs(60);
/// Looks between two times that memory is freed while work goes on: a model that is large by nature is not loaded anew
/// for every page.
const APART: u64 = 50;

/// What is to be done before the next question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Go,
    /// Free memory, then go.
    CleanUp,
    /// Look again later.
    Wait {
        /// Free memory first.
        clean_up: bool,
    },
    Stop,
}

/// Looks at the memory.
pub(super) struct MemoryGuard<'a> {
    gauge: &'a Gauge<'a>,
    limit: u64,
    /// Whether the model can be unloaded.
    unloads: bool,
    peak: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: u64,
    looks: u64,
    /// The look at which memory was freed.
    cleaned: Option<u64>,
    /// The pause that lasts.
    pause: Pause,
    /// The highest mark that was told.
    told: u64,
}

/// How far a pause has come.
#[derive(Clone, Copy, Default)]
enum Pause {
    #[default]
    None,
    /// Somebody frees memory.
    Freeing,
    /// It was freed then, and may take its time to come back.
    Since(Instant),
}

impl<'a> MemoryGuard<'a> {
    pub(super) fn new(gauge: &'a Gauge<'a>, limit: u64, unloads: bool) -> Self {
        Self {
            gauge,
            limit: limit.max(1),
            unloads,
            peak: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// The most bytes that were seen; none when nobody could tell.
    pub(super) fn peak(&self) -> Option<u64> {
        let peak = self.peak.load(Ordering::Relaxed);
        (peak > 0).then_some(peak)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the memory, between looks.
    pub(super) fn glance(&self) -> Option<u64> {
        let now = (self.gauge)();
        self.peak.fetch_max(now.unwrap_or(0), Ordering::Relaxed);
        now
    }

    /// Memory was freed, as far as that was possible.
    pub(super) fn freed(&self) {
        self.state().pause = Pause::Since(Instant::now());
    }

    /// Looks, and says what is to be done, and what a person should know.
    pub(super) fn look(&self) -> (Action, Option<String>) {
        let Some(now) = self.glance() else {
            return (Action::Go, None);
        };
        let mut state = self.state();
        state.now = now;
        state.looks += 1;
        let share = now.saturating_mul(100) / self.limit;
        let told = state.tell(share, self.unloads).map(|what| {
            let words = words(now, self.limit);
            format!("{words}: {what}")
        });
        (state.step(share, self.unloads), told)
    }

    /// How it stands, for people.
    pub(super) fn words(&self) -> String {
        words(self.state().now, self.limit)
    }
}

impl State {
    fn step(&mut self, share: u64, unloads: bool) -> Action {
        if share < PAUSE && !matches!(self.pause, Pause::Freeing) {
            self.pause = Pause::None;
        }
        match (share, self.pause) {
            (STOP.., _) => Action::Stop,
            (PAUSE.., Pause::Since(then)) if then.elapsed() > DROUGHT => Action::Stop,
            (PAUSE.., pause) => {
                let clean_up = matches!(pause, Pause::None);
                if clean_up {
                    self.pause = Pause::Freeing;
                    self.cleaned = Some(self.looks);
                }
                Action::Wait { clean_up }
            }
            (CLEAN_UP.., _) if unloads && self.is_time() => {
                self.cleaned = Some(self.looks);
                Action::CleanUp
            }
            _ => Action::Go,
        }
    }

    fn is_time(&self) -> bool {
        self.cleaned.is_none_or(|then| self.looks - then >= APART)
    }

    /// What is told once for each mark.
    fn tell(&mut self, share: u64, unloads: bool) -> Option<&'static str> {
        let freed = match unloads {
            true => "the model is unloaded and loaded anew",
            false => "this server cannot unload its model",
        };
        let marks = [
            (STOP, "too much, the run is stopped"),
            (CRITICAL, "critical, nothing is asked until some is free"),
            (PAUSE, "nothing is asked until some is free"),
            (CLEAN_UP, freed),
            (WARN, "not much is left"),
        ];
        let (mark, what) = marks.into_iter().find(|(mark, _)| share >= *mark)?;
        let is_news = mark > self.told;
        self.told = self.told.max(mark);
        is_news.then_some(what)
    }
}

fn words(now: u64, limit: u64) -> String {
    let gb = |bytes: u64| bytes as f64 / 1e9;
    let share = now.saturating_mul(100) / limit;
    format!(
        "the model takes {:.1} GB, {share} % of the {:.1} GB that it may",
        gb(now),
        gb(limit)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_has_its_step_and_is_told_once() {
        let now = AtomicU64::new(0);
        let gauge = || Some(now.load(Ordering::Relaxed));
        let guard = MemoryGuard::new(&gauge, 1000, true);
        let at = |share: u64| {
            now.store(share, Ordering::Relaxed);
            let (step, told) = guard.look();
            (step, told.is_some())
        };
        assert_eq!(at(740), (Action::Go, false));
        assert_eq!(at(750), (Action::Go, true));
        assert_eq!(at(760), (Action::Go, false));
        assert_eq!(at(800), (Action::CleanUp, true));
        assert_eq!(at(820), (Action::Go, false), "not for every page");
        assert_eq!(at(850), (Action::Wait { clean_up: true }, true));
        assert_eq!(at(870), (Action::Wait { clean_up: false }, true));
        guard.freed();
        assert_eq!(at(870), (Action::Wait { clean_up: false }, false));
        assert_eq!(at(700), (Action::Go, false));
        assert_eq!(at(860), (Action::Wait { clean_up: true }, false));
        assert_eq!(at(950), (Action::Stop, true));
        assert_eq!(guard.peak(), Some(950));
        for _ in 0..APART - 1 {
            assert_eq!(at(700).0, Action::Go);
        }
        assert_eq!(at(810).0, Action::CleanUp);
    }

    #[test]
    fn a_machine_that_nobody_can_look_at_stops_nothing() {
        let guard = MemoryGuard::new(&|| None, 1, true);
        assert_eq!(guard.look(), (Action::Go, None));
        assert_eq!(guard.peak(), None);
    }
}
