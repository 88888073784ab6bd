//! Counters since the start, and their text in the format of Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::search::Mode;

/// Upper bounds of the histogram of questions, in seconds.
const BOUNDS: [f64; 8] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
/// Slower questions are not asked while typing.
const AS_TYPED: Duration = Duration::from_millis(300);
const MODES: [(Mode, &str); 4] = [
    (Mode::Visual, "visual"),
    (Mode::Text, "text"),
    (Mode::Meaning, "meaning"),
    (Mode::Hybrid, "hybrid"),
];

/// Counters since the start.
#[derive(Default)]
pub(super) struct Counters {
    questions: [AtomicU64; MODES.len()],
    /// Questions that took at most each bound, and all.
    seconds: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
    last_microseconds: AtomicU64,
    busy: AtomicU64,
    pictures_drawn: AtomicU64,
    pictures_cached: AtomicU64,
}

impl Counters {
    /// Counts a question that was answered.
    pub(super) fn answered(&self, mode: Mode, took: Duration) {
        let position = MODES.iter().position(|(known, _)| *known == mode);
        if let Some(counter) = position.and_then(|position| self.questions.get(position)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let within = |bound: &f64| took.as_secs_f64() <= *bound;
        let bucket = BOUNDS.iter().position(within).unwrap_or(BOUNDS.len());
        self.seconds[bucket].fetch_add(1, Ordering::Relaxed);
        let micros = took.as_micros() as u64;
        self.microseconds.fetch_add(micros, Ordering::Relaxed);
        self.last_microseconds.store(micros, Ordering::Relaxed);
    }

    /// Whether the last question was answered fast enough to ask while typing.
    pub(super) fn answers_while_typing(&self) -> bool {
        self.last_microseconds.load(Ordering::Relaxed) <= AS_TYPED.as_micros() as u64
    }

    /// Counts a request that was refused because the queue was full.
    pub(super) fn refused(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a picture of a page.
    pub(super) fn picture(&self, is_cached: bool) {
        let counter = match is_cached {
            true => &self.pictures_cached,
            false => &self.pictures_drawn,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes all counters.
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        writeln!(out, "# TYPE ingest_questions_total counter")?;
        for ((_, name), count) in MODES.iter().zip(&self.questions) {
            writeln!(
                out,
                "ingest_questions_total{{mode=\"{name}\"}} {}",
                load(count)
            )?;
        }
        writeln!(out, "# TYPE ingest_question_seconds histogram")?;
        let mut total = 0;
        let bounds = BOUNDS
            .iter()
            .map(ToString::to_string)
            .chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&self.seconds) {
            total += load(count);
            writeln!(
                out,
                "ingest_question_seconds_bucket{{le=\"{bound}\"}} {total}"
            )?;
        }
        let sum = load(&self.microseconds) as f64 / 1e6;
        writeln!(out, "ingest_question_seconds_sum {sum}")?;
        writeln!(out, "ingest_question_seconds_count {total}")?;
        writeln!(out, "# TYPE ingest_busy_total counter")?;
        writeln!(out, "ingest_busy_total {}", load(&self.busy))?;
        writeln!(out, "# TYPE ingest_pictures_total counter")?;
        let pictures = [
            ("drawn", &self.pictures_drawn),
            ("cached", &self.pictures_cached),
        ];
        for (name, count) in pictures {
            writeln!(
                out,
                "ingest_pictures_total{{from=\"{name}\"}} {}",
                load(count)
            )?;
        }
        Ok(())
    }
}
