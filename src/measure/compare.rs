//! Comparison of a benchmark with a baseline.

use serde::Serialize;

use super::{Benchmark, Runs, Setup};

/// A median rate lower by more than this share is slower, if the ranges of the runs do not overlap either.
pub const TOLERANCE: f64 = 0.15;

/// Rates of a manual, or of all, in the new benchmark and the baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The manual's name; `total` for all.
    pub manual: String,
    /// Median rate of the new benchmark, pages a second.
    pub now: f64,
    /// Median rate of the baseline.
    pub then: f64,
    /// `now / then`.
    pub ratio: f64,
    /// Whether it is slower, beyond [`TOLERANCE`] and the spread of the runs.
    pub slower: bool,
}

/// Compares the best points of two benchmarks by manual and in total; adds to `warnings` why they may not be comparable.
pub fn compare(now: &Benchmark, then: &Benchmark, warnings: &mut Vec<String>) -> Vec<Comparison> {
    let (Some(new), Some(old)) = (now.best(), then.best()) else {
        warnings.push("one of the benchmarks has no runs".to_owned());
        return Vec::new();
    };
    if now.machine != then.machine {
        warnings.push(format!(
            "the baseline is from another machine: {}",
            then.machine
        ));
    }
    warnings.extend(setup_differences(&new.setup, &old.setup));
    let pairs = new.manuals.iter().filter_map(|runs| {
        let same = old
            .manuals
            .iter()
            .find(|other| other.manual == runs.manual)?;
        Some(compare_runs(runs, same))
    });
    let mut all: Vec<Comparison> = pairs.collect();
    if all.len() == new.manuals.len() && all.len() == old.manuals.len() {
        all.push(compare_runs(&new.total, &old.total));
    } else {
        warnings.push("the baseline has other manuals; only common ones are compared".to_owned());
    }
    all
}

fn setup_differences(now: &Setup, then: &Setup) -> Vec<String> {
    let mut all = Vec::new();
    if now.profile != then.profile {
        all.push(format!(
            "the baseline is from another model: {} ({})",
            then.model, then.profile
        ));
    }
    for (name, now, then) in [
        ("device", &now.device, &then.device),
        ("store", &now.store, &then.store),
    ] {
        if now != then {
            all.push(format!("the baseline is from another {name}: {then}"));
        }
    }
    all
}

fn compare_runs(now: &Runs, then: &Runs) -> Comparison {
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
    fn slower_means_below_tolerance_and_outside_the_spread() {
        for (now, then, slower) in [
            (vec![10.0, 11.0, 12.0], vec![10.0, 10.5, 11.0], false),
            (vec![13.0, 13.5, 14.0], vec![10.0, 10.5, 11.0], true),
            // The median is 22 % worse, but one run was as fast as before.
            (vec![10.9, 13.5, 14.0], vec![10.0, 10.5, 11.0], false),
            (vec![5.0, 5.0, 5.0], vec![10.0, 10.5, 11.0], false),
        ] {
            assert_eq!(
                compare_runs(&runs(&now), &runs(&then)).slower,
                slower,
                "{now:?}"
            );
        }
    }
}
