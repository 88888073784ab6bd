//! Benchmark records: the data behind the terminal, JSON, Markdown and HTML reports.

mod compare;
mod footprint;
mod machine;
mod memory;
mod runners;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::qwen::mlx;

pub use compare::{Comparison, TOLERANCE, compare};
pub use machine::Machine;
pub use memory::{MemorySampler, process_memory};
pub use runners::{
    AnswerAccuracy, ApproachResult, Candidate, Consistency, Grade, PageOutput, RUNNER_SCHEMA,
    Rankings, RoundMetrics, RunnerBenchmark, Verdict,
};

/// Schema version of the JSON of [`Benchmark`]; incremented when a field is removed or changes its meaning.
pub const SCHEMA: u32 = 1;

/// Result of a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of this program.
    pub version: String,
    /// The machine it ran on.
    pub machine: Machine,
    /// Description of the warm-up run, which is not measured.
    pub warm_up: String,
    /// One per combination of settings, in the order they were run.
    pub points: Vec<Point>,
}

/// Settings of a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The model's name.
    pub model: String,
    /// The id of its profile.
    pub profile: String,
    /// Device and dtype, such as `cpu (f32)`.
    pub device: String,
    /// Type of store: `sqlite`, or the address of a server.
    pub store: String,
    /// Maximum pages per batch.
    pub batch_size: usize,
    /// Render worker processes.
    pub workers: usize,
}

/// One combination of settings and its results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The settings.
    pub setup: Setup,
    /// Runs by manual.
    pub manuals: Vec<Runs>,
    /// All manuals together: the sums of the manuals, run by run.
    pub total: Runs,
}

/// The runs of one manual, or of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Runs {
    /// The manual's name; `total` for all.
    pub manual: String,
    /// Its runs.
    pub runs: Vec<Run>,
}

/// One pass over a manual.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Pages stored.
    pub pages: u32,
    /// Pages that failed.
    pub failed: u32,
    /// Seconds from the first page to the last stored one, without loading the model.
    pub seconds: f64,
    /// Seconds to load the model.
    pub load: f64,
    /// By stage: render, prepare, embed, store.
    pub stages: BTreeMap<String, Stage>,
    /// Seconds the loaded model was idle.
    pub model_waited: f64,
    /// Inference time of a batch, seconds.
    pub batch: Percentiles,
    /// Inference time of a page, seconds: that of its batch divided by its pages.
    pub page: Percentiles,
    /// Pages of the largest batch.
    pub largest_batch: usize,
    /// Share of the model's computation spent on padding.
    pub padding: f64,
    /// Peak resident memory of this process and its render workers, bytes.
    pub peak_memory: u64,
    /// Peak memory shared with an Apple GPU beyond the resident memory, bytes; `None` where the system does not report it.
    pub peak_device_memory: Option<u64>,
    /// Memory of MLX, now and at peak; `None` if MLX was not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlx: Option<mlx::Memory>,
}

/// Time of a pipeline stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Busy seconds, summed over its threads.
    pub seconds: f64,
    /// Share of the busy seconds of all stages.
    pub share: f64,
}

/// Median and 95th percentile of durations, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
}

impl Percentiles {
    /// Nearest-rank percentiles of `times`.
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let percentile = |share: f64| {
            let rank = (share * times.len() as f64).ceil() as usize;
            times.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self {
            p50: percentile(0.5),
            p95: percentile(0.95),
        }
    }
}

impl Run {
    /// Pages a second, end to end.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            f64::from(self.pages) / self.seconds
        } else {
            0.0
        }
    }

    /// Sum over manuals: counts and seconds are added, percentiles are the slowest, peaks the highest.
    pub fn sum<'a>(runs: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        let mut padded = 0.0;
        for run in runs {
            sum.pages += run.pages;
            sum.failed += run.failed;
            sum.seconds += run.seconds;
            sum.load = sum.load.max(run.load);
            sum.model_waited += run.model_waited;
            for (name, stage) in &run.stages {
                sum.stages.entry(name.clone()).or_default().seconds += stage.seconds;
            }
            padded += run.padding * f64::from(run.pages);
            sum.batch = sum.batch.slower(run.batch);
            sum.page = sum.page.slower(run.page);
            sum.largest_batch = sum.largest_batch.max(run.largest_batch);
            sum.peak_memory = sum.peak_memory.max(run.peak_memory);
            sum.peak_device_memory = sum.peak_device_memory.max(run.peak_device_memory);
            sum.mlx = [sum.mlx, run.mlx]
                .into_iter()
                .flatten()
                .max_by_key(|mlx| mlx.peak);
        }
        sum.padding = padded / f64::from(sum.pages.max(1));
        sum.compute_shares();
        sum
    }

    /// Computes the shares of the stages.
    pub fn compute_shares(&mut self) {
        let all: f64 = self.stages.values().map(|stage| stage.seconds).sum();
        for stage in self.stages.values_mut() {
            stage.share = stage.seconds / all.max(f64::MIN_POSITIVE);
        }
    }
}

impl Percentiles {
    fn slower(self, other: Self) -> Self {
        Self {
            p50: self.p50.max(other.p50),
            p95: self.p95.max(other.p95),
        }
    }
}

impl Runs {
    /// Lowest, median and highest rate, pages a second.
    pub fn rates(&self) -> [f64; 3] {
        let mut rates: Vec<f64> = self.runs.iter().map(Run::rate).collect();
        rates.sort_by(f64::total_cmp);
        match rates.as_slice() {
            [] => [0.0; 3],
            rates => {
                let median = (rates[(rates.len() - 1) / 2] + rates[rates.len() / 2]) / 2.0;
                [rates[0], median, rates[rates.len() - 1]]
            }
        }
    }

    /// The run with the median rate, or the next slower one.
    pub fn median(&self) -> Option<&Run> {
        let mut runs: Vec<&Run> = self.runs.iter().collect();
        runs.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
        runs.get((runs.len().max(1) - 1) / 2).copied()
    }
}

impl Point {
    /// A point of manuals that were each run equally often.
    pub fn new(setup: Setup, manuals: Vec<Runs>) -> Self {
        let max_runs = manuals.iter().map(|m| m.runs.len()).max().unwrap_or(0);
        let sum_of_run = |run: usize| Run::sum(manuals.iter().filter_map(|m| m.runs.get(run)));
        Self {
            total: Runs {
                manual: "total".to_owned(),
                runs: (0..max_runs).map(sum_of_run).collect(),
            },
            setup,
            manuals,
        }
    }
}

impl Benchmark {
    /// The point with the highest median rate over all manuals.
    pub fn best(&self) -> Option<&Point> {
        let rate = |point: &&Point| point.total.rates()[1];
        self.points
            .iter()
            .max_by(|a, b| rate(a).total_cmp(&rate(b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pages: u32, seconds: f64) -> Run {
        Run {
            pages,
            seconds,
            ..Run::default()
        }
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let times = (1..=20).rev().map(f64::from).collect();
        assert_eq!(
            Percentiles::of(times),
            Percentiles {
                p50: 10.0,
                p95: 19.0
            }
        );
        assert_eq!(
            Percentiles::of(vec![7.0]),
            Percentiles { p50: 7.0, p95: 7.0 }
        );
        assert_eq!(Percentiles::of(vec![]), Percentiles::default());
    }

    #[test]
    fn rates_are_lowest_median_and_highest() {
        let runs = Runs {
            manual: "m".into(),
            runs: vec![run(10, 5.0), run(10, 2.0), run(10, 10.0), run(10, 4.0)],
        };
        assert_eq!(runs.rates(), [1.0, 2.25, 5.0]);
        assert_eq!(runs.median().unwrap().seconds, 5.0);
    }

    #[test]
    fn totals_sum_the_manuals_run_by_run() {
        let manual = |name: &str, seconds: [f64; 2]| Runs {
            manual: name.into(),
            runs: seconds.map(|s| run(6, s)).to_vec(),
        };
        let setup = Setup {
            model: "m".into(),
            profile: "p".into(),
            device: "cpu".into(),
            store: "sqlite".into(),
            batch_size: 2,
            workers: 1,
        };
        let point = Point::new(
            setup,
            vec![manual("a", [1.0, 2.0]), manual("b", [3.0, 4.0])],
        );
        let seconds: Vec<f64> = point.total.runs.iter().map(|run| run.seconds).collect();
        assert_eq!(seconds, [4.0, 6.0]);
        assert_eq!(point.total.rates(), [2.0, 2.5, 3.0]);
    }
}
