//! Grades a candidate: pass, warn or fail, and the deciding measure.

use crate::measure::{Candidate, Grade, Verdict};
use crate::vlm::tiers;

/// A measure with its thresholds for warn and fail.
struct Check {
    name: &'static str,
    value: f64,
    warn: f64,
    fail: f64,
    /// Whether the thresholds are upper bounds.
    lower_is_better: bool,
}

impl Check {
    fn grade(&self) -> Grade {
        let beyond = |threshold: f64| match self.lower_is_better {
            true => self.value > threshold,
            false => self.value < threshold,
        };
        match (beyond(self.fail), beyond(self.warn)) {
            (true, _) => Grade::Fail,
            (_, true) => Grade::Warn,
            _ => Grade::Pass,
        }
    }

    fn description_text(&self, grade: Grade) -> String {
        let threshold = if grade == Grade::Fail {
            self.fail
        } else {
            self.warn
        };
        let than = if self.lower_is_better { "more" } else { "less" };
        format!(
            "{}: {:.2}, {than} than {threshold:.2}",
            self.name, self.value
        )
    }
}

/// Returns the grade of a candidate, with `memory` as the memory limit in bytes.
pub(super) fn verdict(candidate: &Candidate, memory: u64) -> Verdict {
    if let Some(why) = &candidate.error {
        return Verdict {
            grade: Grade::Fail,
            why: why.clone(),
        };
    }
    let checks = checks(candidate, memory);
    for grade in [Grade::Fail, Grade::Warn] {
        if let Some(check) = checks.iter().find(|check| check.grade() == grade) {
            let why = check.description_text(grade);
            return Verdict { grade, why };
        }
    }
    Verdict {
        grade: Grade::Pass,
        why: String::new(),
    }
}

fn checks(candidate: &Candidate, memory: u64) -> Vec<Check> {
    let mut all = Vec::new();
    let mut check = |name, value, (warn, fail), lower_is_better| {
        all.push(Check {
            name,
            value,
            warn,
            fail,
            lower_is_better,
        });
    };
    const NONE: f64 = f64::INFINITY;
    if let Some(row) = candidate.best() {
        let total = row.total();
        let pages = (total.described + total.failed).max(1) as f64;
        let described = total.described as f64 / pages;
        check("pages with a description", described, (0.95, 0.8), false);
        if total.matched.1 > 0 {
            let matched = total.matched.0 as f64 / total.matched.1 as f64;
            check(
                "descriptions that match their page",
                matched,
                (0.95, 0.8),
                false,
            );
        }
        let attempts = total.attempts.max(1) as f64;
        let bad = (total.truncated + total.repetitions + total.unusable) as f64 / attempts;
        check(
            "truncated, repetitive or unparsable answers",
            bad,
            (0.05, 0.2),
            true,
        );
        if let Some(peak) = total.peak {
            let share = peak as f64 / memory.max(1) as f64;
            check("share of memory", share, (0.75, 0.87), true);
        }
        let reference = tiers::find(&candidate.name).and_then(|tier| tier.tokens_per_second);
        // The reference is the rate of one answer at a time.
        let rates = candidate
            .approaches
            .iter()
            .filter_map(|row| row.total().generation_rate());
        if let (Some(rate), Some(reference)) = (rates.reduce(f64::max), reference) {
            let share = rate / reference;
            check(
                "speed relative to this model's reference",
                share,
                (0.5, 0.0),
                false,
            );
        }
    }
    if let Some(load) = candidate.load {
        check("seconds to load", load, (10.0, NONE), true);
    }
    if let Some(answers) = candidate.answers {
        // Answers are compared literally: few models exceed one half.
        check("correct answers", answers.vqa, (0.2, 0.05), false);
        // As accurate without the image as with it: the model ignores the image.
        let gain = if answers.ignores_image() { 0.0 } else { 1.0 };
        check("answers that need the image", gain, (0.5, 0.5), false);
    }
    if let Some(consistency) = candidate.consistency {
        check(
            "same answer, sequential requests",
            consistency.sequential,
            (0.9, 0.5),
            false,
        );
        check(
            "same answer, concurrent requests",
            consistency.concurrent,
            (0.5, 0.0),
            false,
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{AnswerAccuracy, ApproachResult, RoundMetrics};

    fn candidate(described: usize, matched: usize) -> Candidate {
        Candidate {
            name: "ollama=qwen2.5vl:7b".to_owned(),
            approaches: vec![ApproachResult {
                approach: "lanes".to_owned(),
                batch: 4,
                rounds: vec![RoundMetrics {
                    described,
                    failed: 20 - described,
                    seconds: 10.0,
                    requests: 20,
                    attempts: 20,
                    tokens: Some(1000),
                    generation_seconds: 10.0,
                    matched: (matched, described),
                    peak: Some(50),
                    ..RoundMetrics::default()
                }],
                error: None,
            }],
            ..Candidate::default()
        }
    }

    #[test]
    fn verdict_names_the_worst_measure() {
        let grade = |candidate: &Candidate, memory| {
            let verdict = verdict(candidate, memory);
            (verdict.grade, verdict.why)
        };
        let good = candidate(20, 20);
        assert_eq!(grade(&good, 100), (Grade::Pass, String::new()));
        assert_eq!(grade(&good, 60).0, Grade::Warn);
        let (level, why) = grade(&good, 55);
        assert_eq!(level, Grade::Fail);
        assert_eq!(why, "share of memory: 0.91, more than 0.87");
        assert_eq!(grade(&candidate(18, 18), 100).0, Grade::Warn);
        let swapped = candidate(20, 10);
        assert_eq!(
            grade(&swapped, 100).1,
            "descriptions that match their page: 0.50, less than 0.80"
        );
        let answers = |vqa, vqa_without_image| {
            let answers = Some(AnswerAccuracy {
                simple: 0.0,
                vqa,
                simple_without_image: 0.0,
                vqa_without_image,
            });
            Candidate {
                answers,
                ..good.clone()
            }
        };
        assert_eq!(grade(&answers(0.5, 0.2), 100).0, Grade::Pass);
        assert_eq!(grade(&answers(0.5, 0.5), 100).0, Grade::Fail);
        assert_eq!(grade(&answers(0.1, 0.0), 100).0, Grade::Warn);
        assert_eq!(
            grade(&answers(0.0, 0.0), 100).1,
            "correct answers: 0.00, less than 0.05"
        );
        // 100 tokens/s with a reference of 94, then 20.
        let mut slow = good.clone();
        slow.approaches[0].rounds[0].generation_seconds = 50.0;
        let (level, why) = grade(&slow, 100);
        assert_eq!(level, Grade::Warn);
        assert!(
            why.starts_with("speed relative to this model's reference: 0.21"),
            "{why}"
        );
    }
}
