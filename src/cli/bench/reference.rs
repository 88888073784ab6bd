//! What the numbers are held against: the Python version that this program replaces, and what was hoped for.

use crate::units::{ByteSize, Seconds};

/// Pages and minutes of the Python version, at batch 4, on a Mac Studio with M3 Ultra.
const PYTHON: [(u32, f64); 2] = [(132, 15.0), (128, 14.0)];
/// Minutes that each of these manuals may take, and may take at best.
const TARGET: f64 = 3.0;
const HOPE: f64 = 2.0;
/// Minutes that both together may take.
const BOTH: f64 = 4.0;
/// Bytes of memory that a run may take.
const MEMORY: u64 = 40_000_000_000;

/// Rates that plots show as lines: what, and pages a second.
pub(super) fn lines() -> [(&'static str, f64); 3] {
    let rate = |minutes: f64| f64::from(PYTHON[0].0) / minutes / 60.0;
    [
        ("Python", rate(PYTHON[0].1)),
        ("target", rate(TARGET)),
        ("hoped for", rate(HOPE)),
    ]
}

/// How a rate, a peak and the pages that were lost stand beside the reference.
pub(super) fn verdicts(rate: f64, peak: u64, failed: u32, pages: u32) -> Vec<String> {
    let met = |yes: bool| if yes { "met" } else { "not met" };
    let rate = rate.max(f64::MIN_POSITIVE);
    let mut all: Vec<String> = PYTHON
        .iter()
        .map(|&(pages, minutes)| {
            let seconds = f64::from(pages) / rate;
            format!(
                "{pages} pages at this rate: {}; the Python version took {minutes:.0} min ({:.2}x); under {TARGET:.0} min: {}, under {HOPE:.0}: {}",
                Seconds(seconds),
                minutes * 60.0 / seconds,
                met(seconds < TARGET * 60.0),
                met(seconds < HOPE * 60.0)
            )
        })
        .collect();
    all.insert(0, "the reference is ColQwen2.5 in Python on a Mac Studio with M3 Ultra; other models and machines are no match of it".to_owned());
    let both: u32 = PYTHON.iter().map(|(pages, _)| pages).sum();
    let seconds = f64::from(both) / rate;
    all.push(format!(
        "both, {both} pages: {}; under {BOTH:.0} min: {}",
        Seconds(seconds),
        met(seconds < BOTH * 60.0)
    ));
    all.push(format!(
        "peak memory {}; under {}: {}",
        ByteSize(peak),
        ByteSize(MEMORY),
        met(peak < MEMORY)
    ));
    all.push(format!(
        "pages stored: {} of {}; all: {}",
        pages,
        pages + failed,
        met(failed == 0)
    ));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_a_rate() {
        let [_, (_, target), _] = lines();
        assert!((target - 132.0 / 180.0).abs() < 1e-9);
        let fast = verdicts(1.2, 1_000, 0, 53);
        assert!(
            fast.iter().all(|line| !line.contains("not met")),
            "{fast:?}"
        );
        let slow = verdicts(0.1, 50_000_000_000, 1, 52);
        assert_eq!(
            slow.iter().filter(|line| line.contains("not met")).count(),
            5,
            "{slow:?}"
        );
    }
}
