//! Record of a benchmark of vision-language runners: throughput, accuracy and memory of describing pages.

use serde::{Deserialize, Serialize};

use super::{Machine, Percentiles};

/// The version of the JSON form of [`RunnerBenchmark`].
pub const RUNNER_SCHEMA: u32 = 1;

/// Result of a benchmark of runners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunnerBenchmark {
    /// [`RUNNER_SCHEMA`].
    pub schema: u32,
    /// Version of this program.
    pub version: String,
    /// The machine it ran on.
    pub machine: Machine,
    /// Pages described in each round.
    pub pages: usize,
    /// Pages of the library.
    pub library: u64,
    /// Million pixels of a page image.
    pub megapixels: f64,
    /// Number of questions about pages.
    pub questions: usize,
    /// The candidates, in the order given.
    pub candidates: Vec<Candidate>,
    /// Names of the candidates, best first.
    pub rankings: Rankings,
}

/// Names of candidates, best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rankings {
    /// By VQA accuracy; without questions, by the share of pages whose description matches the page.
    pub accuracy: Vec<String>,
    /// By pages a second of the fastest approach.
    pub speed: Vec<String>,
    /// By the harmonic mean of both, each relative to the best candidate.
    pub overall: Vec<String>,
}

/// A runner with a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Name as given, such as `ollama=qwen2.5vl:7b`.
    pub name: String,
    /// The server and its version.
    pub server: String,
    /// Why its benchmark did not complete.
    pub error: Option<String>,
    /// Seconds to load the model: the first reply minus the same reply later; `None` where it cannot be unloaded.
    pub load: Option<f64>,
    /// Results by approach.
    #[serde(rename = "rows")]
    pub approaches: Vec<ApproachResult>,
    /// Accuracy of its answers to questions.
    pub answers: Option<AnswerAccuracy>,
    /// Whether it answers the same question the same way.
    pub consistency: Option<Consistency>,
    /// Pass, warn or fail, and the reason.
    pub verdict: Verdict,
    /// Its output for each page, in the first round of the fastest approach.
    #[serde(rename = "said")]
    pub outputs: Vec<PageOutput>,
}

/// An approach (how pages are sent), and its rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApproachResult {
    /// `sequential`, `lanes` or `interleaved`.
    pub approach: String,
    /// Concurrent requests, or pages per request.
    pub batch: usize,
    /// Rounds; each described all pages.
    pub rounds: Vec<RoundMetrics>,
    /// Why there are no more rounds.
    pub error: Option<String>,
}

/// Metrics of a round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoundMetrics {
    /// Pages with a description.
    pub described: usize,
    /// Pages without one.
    pub failed: usize,
    /// Seconds from the first request to the last reply.
    pub seconds: f64,
    /// Completed requests.
    #[serde(rename = "questions")]
    pub requests: usize,
    /// Attempts of all pages: described, failed, or retried.
    pub attempts: usize,
    /// Tokens of all prompts, images included; `None` where the server does not report them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of all replies.
    pub tokens: Option<u64>,
    /// Time to first token, seconds.
    #[serde(rename = "first")]
    pub ttft: Percentiles,
    /// Time to first token, summed over all requests.
    #[serde(rename = "waiting")]
    pub ttft_seconds: f64,
    /// Seconds from first to last token, summed over all requests.
    #[serde(rename = "speaking")]
    pub generation_seconds: f64,
    /// Replies cut at the token limit.
    pub truncated: usize,
    /// Replies stopped for repetition.
    #[serde(rename = "loops")]
    pub repetitions: usize,
    /// Replies that contain no usable description.
    #[serde(rename = "unread")]
    pub unusable: usize,
    /// Descriptions that match the text of their own page best, and those that could be compared.
    #[serde(rename = "mapped")]
    pub matched: (usize, usize),
    /// Growth of the model's memory over the round, bytes; `None` where it cannot be measured.
    pub memory_change: Option<i64>,
    /// Peak memory of the model, bytes.
    pub peak: Option<u64>,
}

/// Accuracy of answers to questions about pages, as shares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerAccuracy {
    /// Share of answers equal to one of the reference answers.
    pub simple: f64,
    /// VQA v2 accuracy.
    pub vqa: f64,
    /// `simple` without the page image.
    #[serde(rename = "blind_simple")]
    pub simple_without_image: f64,
    /// `vqa` without the page image.
    #[serde(rename = "blind_vqa")]
    pub vqa_without_image: f64,
}

impl AnswerAccuracy {
    /// Whether it answers as well without the page image; `false` if it is never right.
    pub fn ignores_image(&self) -> bool {
        self.vqa > 0.0
            && self.vqa_without_image >= self.vqa
            && self.simple_without_image >= self.simple
    }
}

/// How similar the answers to the same question are, with greedy decoding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Consistency {
    /// Share of answers equal to the first one, requested one after the other.
    #[serde(rename = "alone")]
    pub sequential: f64,
    /// Largest normalised edit distance to it.
    #[serde(rename = "alone_distance")]
    pub sequential_distance: f64,
    /// Share of answers equal to it, requested concurrently.
    #[serde(rename = "beside")]
    pub concurrent: f64,
    /// Largest normalised edit distance to it.
    #[serde(rename = "beside_distance")]
    pub concurrent_distance: f64,
}

/// Grade of a candidate, with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The grade.
    pub grade: Grade,
    /// The deciding metric, its value and its threshold.
    pub why: String,
}

/// A grade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// All metrics are good.
    Pass,
    /// Needs review.
    #[default]
    Warn,
    /// Not usable.
    Fail,
}

/// Output of a model for a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageOutput {
    /// The page.
    pub page: String,
    /// Its title and summary, or its failure class and the cause.
    #[serde(rename = "said")]
    pub text: String,
    /// Whether it was described.
    pub described: bool,
}

impl RoundMetrics {
    /// Pages a second.
    pub fn rate(&self) -> f64 {
        ratio(self.described as f64, self.seconds)
    }

    /// Prompt tokens per second to first token: includes the vision tower and queueing.
    pub fn prompt_rate(&self) -> Option<f64> {
        Some(ratio(self.prompt_tokens? as f64, self.ttft_seconds))
    }

    /// Generated tokens per second of a single sequence, after the first token.
    pub fn generation_rate(&self) -> Option<f64> {
        Some(ratio(self.tokens? as f64, self.generation_seconds))
    }
}

impl ApproachResult {
    /// Lowest, median and highest rate of its rounds.
    pub fn rates(&self) -> [f64; 3] {
        let mut rates: Vec<f64> = self.rounds.iter().map(RoundMetrics::rate).collect();
        rates.sort_by(f64::total_cmp);
        match &rates[..] {
            [] => [0.0; 3],
            all => [all[0], all[(all.len() - 1) / 2], all[all.len() - 1]],
        }
    }

    /// All rounds as one: counts are summed, peaks are the highest, percentiles the slowest.
    pub fn total(&self) -> RoundMetrics {
        let mut sum = RoundMetrics::default();
        for round in &self.rounds {
            sum.described += round.described;
            sum.failed += round.failed;
            sum.seconds += round.seconds;
            sum.requests += round.requests;
            sum.attempts += round.attempts;
            sum.ttft = sum.ttft.slower(round.ttft);
            sum.ttft_seconds += round.ttft_seconds;
            sum.generation_seconds += round.generation_seconds;
            sum.truncated += round.truncated;
            sum.repetitions += round.repetitions;
            sum.unusable += round.unusable;
            sum.matched.0 += round.matched.0;
            sum.matched.1 += round.matched.1;
            sum.peak = sum.peak.max(round.peak);
        }
        // `None` if any round is `None`.
        let rounds = self.rounds.iter();
        sum.prompt_tokens = rounds.clone().map(|round| round.prompt_tokens).sum();
        sum.tokens = rounds.clone().map(|round| round.tokens).sum();
        sum.memory_change = rounds.map(|round| round.memory_change).sum();
        sum
    }
}

impl Candidate {
    /// The approach with the highest median rate.
    pub fn best(&self) -> Option<&ApproachResult> {
        let rate = |row: &&ApproachResult| row.rates()[1];
        self.approaches
            .iter()
            .max_by(|a, b| rate(a).total_cmp(&rate(b)))
    }

    /// Pages a second of the fastest approach; 0 if the benchmark failed.
    pub fn speed(&self) -> f64 {
        let best = self.best().filter(|_| self.error.is_none());
        best.map_or(0.0, |row| row.rates()[1])
    }

    /// VQA accuracy; without questions, the share of pages of the fastest approach with a matching description.
    pub fn accuracy(&self) -> f64 {
        if self.error.is_some() {
            return 0.0;
        }
        if let Some(answers) = self.answers {
            return answers.vqa;
        }
        self.best().map_or(0.0, |row| {
            let all = row.total();
            let fits = ratio(all.matched.0 as f64, all.matched.1 as f64);
            ratio(all.described as f64, (all.described + all.failed) as f64) * fits
        })
    }
}

impl Rankings {
    /// Ranks candidates; those whose benchmark failed come last in each.
    pub fn of(candidates: &[Candidate]) -> Self {
        let order = |score: &dyn Fn(usize) -> f64| -> Vec<usize> {
            let mut all: Vec<usize> = (0..candidates.len()).collect();
            all.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
            all
        };
        let accuracy = order(&|index| candidates[index].accuracy());
        let speed = order(&|index| candidates[index].speed());
        let best = |score: &dyn Fn(&Candidate) -> f64| {
            candidates
                .iter()
                .map(score)
                .fold(f64::MIN_POSITIVE, f64::max)
        };
        let (right, fast) = (best(&Candidate::accuracy), best(&Candidate::speed));
        let overall = order(&|index| {
            let (a, b) = (
                candidates[index].accuracy() / right,
                candidates[index].speed() / fast,
            );
            ratio(2.0 * a * b, a + b)
        });
        let names = |order: Vec<usize>| {
            let names = order
                .into_iter()
                .map(|index| candidates[index].name.clone());
            names.collect()
        };
        Self {
            accuracy: names(accuracy),
            speed: names(speed),
            overall: names(overall),
        }
    }
}

/// `part / whole`; 0 if `whole` is not positive.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approach(batch: usize, seconds: &[f64]) -> ApproachResult {
        let round = |seconds: &f64| RoundMetrics {
            described: 6,
            failed: 2,
            seconds: *seconds,
            tokens: Some(100),
            matched: (5, 6),
            memory_change: Some(-3),
            ..RoundMetrics::default()
        };
        ApproachResult {
            approach: "lanes".to_owned(),
            batch,
            rounds: seconds.iter().map(round).collect(),
            error: None,
        }
    }

    #[test]
    fn totals_sum_the_rounds() {
        let row = approach(4, &[2.0, 3.0, 6.0]);
        assert_eq!(row.rates(), [1.0, 2.0, 3.0]);
        let all = row.total();
        assert_eq!(
            (all.described, all.tokens, all.matched),
            (18, Some(300), (15, 18))
        );
        assert_eq!((all.memory_change, all.prompt_tokens), (Some(-9), None));
    }

    #[test]
    fn overall_ranking_balances_accuracy_and_speed() {
        let candidate = |name: &str, seconds: f64, vqa: f64| Candidate {
            name: name.to_owned(),
            approaches: vec![approach(1, &[seconds])],
            answers: Some(AnswerAccuracy {
                simple: vqa,
                vqa,
                simple_without_image: 0.0,
                vqa_without_image: 0.0,
            }),
            ..Candidate::default()
        };
        let all = [
            candidate("slow and right", 9.0, 0.9),
            candidate("fast and right", 2.0, 0.8),
            candidate("fast and wrong", 1.0, 0.1),
            candidate("slow and wrong", 20.0, 0.05),
        ];
        let rankings = Rankings::of(&all);
        assert_eq!(rankings.accuracy[0], "slow and right");
        assert_eq!(rankings.speed[0], "fast and wrong");
        assert_eq!(rankings.overall[0], "fast and right");
        assert_eq!(rankings.overall[3], "slow and wrong");
    }
}
