//! A benchmark beside an earlier one.

use serde::Serialize;

use super::{Benchmark, Runs, Setup};

/// A middle rate lower by more than this share is slower, when the ranges of the runs do not meet either.
pub const TOLERANCE: f64 = 0.15;

/// A manual, or all of them, now and then.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The manual's name; `total` for all.
    pub manual: String,
    /// Middle rate now, pages a second.
    pub now: f64,
    /// Middle rate then.
    pub then: f64,
    /// Now over then.
    pub ratio: f64,
    /// Whether it became slower, beyond [`TOLERANCE`] and the spread of the runs.
    pub slower: bool,
}

/// Compares the best points of two benchmarks, manual by manual and in total; `doubts` are told why the two may not be
/// comparable.
pub fn compare(now: &Benchmark, then: &Benchmark, doubts: &mut Vec<String>) -> Vec<Comparison> {
    let (Some(new), Some(old)) = (now.best(), then.best()) else {
        doubts.push("one of the two holds no runs".to_owned());
        return Vec::new();
    };
    if now.machine != then.machine {
        doubts.push(format!(
            "the baseline is of another machine: {}",
            then.machine
        ));
    }
    doubts.extend(differences(&new.setup, &old.setup));
    let pairs = new.manuals.iter().filter_map(|runs| {
        let same = old
            .manuals
            .iter()
            .find(|other| other.manual == runs.manual)?;
        Some(one(runs, same))
    });
    let mut all: Vec<Comparison> = pairs.collect();
    if all.len() == new.manuals.len() && all.len() == old.manuals.len() {
        all.push(one(&new.total, &old.total));
    } else {
        doubts.push("the baseline is of other manuals; only those in both are compared".to_owned());
    }
    all
}

fn differences(now: &Setup, then: &Setup) -> Vec<String> {
    let mut all = Vec::new();
    if now.profile != then.profile {
        all.push(format!(
            "the baseline is of another model: {} ({})",
            then.model, then.profile
        ));
    }
    for (what, now, then) in [
        ("device", &now.device, &then.device),
        ("store", &now.store, &then.store),
    ] {
        if now != then {
            all.push(format!("the baseline is of another {what}: {then}"));
        }
    }
    all
}

fn one(now: &Runs, then: &Runs) -> Comparison {
    let ([_, new, fastest], [slowest, old, _]) = (now.rates(), then.rates());
    let ratio = new / old.max(f64::MIN_POSITIVE);
    Comparison {
        manual: now.manual.clone(),
        now: new,
        then: old,
        ratio,
        slower: ratio < 1.0 - TOLERANCE && fastest < slowest,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Run;
    use super::*;

    fn runs(seconds: &[f64]) -> Runs {
        let run = |&seconds: &f64| Run {
            pages: 100,
            seconds,
            ..Run::default()
        };
        Runs {
            manual: "m".into(),
            runs: seconds.iter().map(run).collect(),
        }
    }

    #[test]
    fn slower_means_beyond_tolerance_and_beyond_the_spread() {
        for (now, then, slower) in [
            (vec![10.0, 11.0, 12.0], vec![10.0, 10.5, 11.0], false),
            (vec![13.0, 13.5, 14.0], vec![10.0, 10.5, 11.0], true),
            // The middle is 22 % worse, but one run was as fast as before.
            (vec![10.9, 13.5, 14.0], vec![10.0, 10.5, 11.0], false),
            (vec![5.0, 5.0, 5.0], vec![10.0, 10.5, 11.0], false),
        ] {
            assert_eq!(one(&runs(&now), &runs(&then)).slower, slower, "{now:?}");
        }
    }
}
