//! The record of a benchmark of runners: who describes pages how fast, how well, and at what cost.

use serde::{Deserialize, Serialize};

use super::{Machine, Percentiles};

/// The version of the JSON form of [`RunnerBenchmark`].
pub const RUNNER_SCHEMA: u32 = 1;

/// What a benchmark of runners found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunnerBenchmark {
    /// [`RUNNER_SCHEMA`].
    pub schema: u32,
    /// Version of this program.
    pub version: String,
    /// Where it ran.
    pub machine: Machine,
    /// Pages that were described in each round.
    pub pages: usize,
    /// Pages of the whole library.
    pub library: u64,
    /// Million pixels of a page.
    pub megapixels: f64,
    /// Questions that were asked about pages.
    pub questions: usize,
    /// Those who were tried, in the order given.
    pub candidates: Vec<Candidate>,
    /// The candidates' names, best first.
    pub rankings: Rankings,
}

/// Names, best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rankings {
    /// By right answers; without questions, by pages that have a description which fits.
    pub accuracy: Vec<String>,
    /// By pages a second of the best way of asking.
    pub speed: Vec<String>,
    /// By the harmonic mean of both, each as a share of the best one.
    pub overall: Vec<String>,
}

/// A runner with a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// As it was given: `ollama=qwen2.5vl:7b`.
    pub name: String,
    /// The server and its version.
    pub server: String,
    /// Why it could not be tried to its end.
    pub error: Option<String>,
    /// Seconds to load the model: what the first answer took longer than the same one later; none where it cannot be
    /// unloaded.
    pub load: Option<f64>,
    /// Ways of asking.
    pub rows: Vec<Row>,
    /// Right answers.
    pub answers: Option<Answers>,
    /// Whether it says the same twice.
    pub consistency: Option<Consistency>,
    /// Pass, warn or fail, and why.
    pub verdict: Verdict,
    /// What it said of each page, in the first round of the best row.
    pub said: Vec<PageSaid>,
}

/// A way of asking, and its rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `sequential`, `lanes` or `interleaved`.
    pub approach: String,
    /// Requests at once, or pages in one.
    pub batch: usize,
    /// Every round described all pages.
    pub rounds: Vec<Figures>,
    /// Why there are no more of them.
    pub error: Option<String>,
}

/// A round in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Pages that have a description.
    pub described: usize,
    /// Pages that have none.
    pub failed: usize,
    /// Seconds from the first question to the last answer.
    pub seconds: f64,
    /// Questions that were answered.
    pub questions: usize,
    /// Times that a page was asked about: described, failed, or to be asked again.
    pub attempts: usize,
    /// Tokens of all questions, pictures included; none where the server does not tell.
    pub prompt_tokens: Option<u64>,
    /// Tokens of all answers.
    pub tokens: Option<u64>,
    /// Seconds to the first word.
    pub first: Percentiles,
    /// Seconds to first words, of all questions together.
    pub waiting: f64,
    /// Seconds from first to last words, of all questions together.
    pub speaking: f64,
    /// Times that an answer was cut, went in circles, or was not to be read.
    pub truncated: usize,
    /// See `truncated`.
    pub loops: usize,
    /// See `truncated`.
    pub unread: usize,
    /// Descriptions that fit the text of their own page best, and those that could be judged.
    pub mapped: (usize, usize),
    /// Bytes of memory that the model took more after the round than before; none where nobody can tell.
    pub memory_change: Option<i64>,
    /// The most bytes that it took.
    pub peak: Option<u64>,
}

/// Right answers to questions about pages, as shares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// Equal to one of those given.
    pub simple: f64,
    /// As VQA v2 counts.
    pub vqa: f64,
    /// The same without the page's picture.
    pub blind_simple: f64,
    /// The same without the page's picture.
    pub blind_vqa: f64,
}

impl Answers {
    /// Whether it answers as well without looking; one that is never right cannot be told.
    pub fn is_blind(&self) -> bool {
        self.vqa > 0.0 && self.blind_vqa >= self.vqa && self.blind_simple >= self.simple
    }
}

/// How alike answers to the same question are, by the likeliest words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Consistency {
    /// Answers that equal the first one, asked one after the other.
    pub alone: f64,
    /// The largest edit distance to it, as a share of the longer answer.
    pub alone_distance: f64,
    /// Answers that equal it, asked all at once.
    pub beside: f64,
    /// The largest edit distance to it.
    pub beside_distance: f64,
}

/// What is thought of a candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The grade.
    pub grade: Grade,
    /// The measure that decided it, its value and its threshold.
    pub why: String,
}

/// A grade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Nothing to object.
    Pass,
    /// A person should look.
    #[default]
    Warn,
    /// Not of use as it is.
    Fail,
}

/// What was said of a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageSaid {
    /// The page.
    pub page: String,
    /// Its title and summary, or the class of its failure and what was said.
    pub said: String,
    /// Whether it was described.
    pub described: bool,
}

impl Figures {
    /// Pages a second.
    pub fn rate(&self) -> f64 {
        ratio(self.described as f64, self.seconds)
    }

    /// Tokens of the questions for each second to the first word: vision and queue are in it.
    pub fn prompt_rate(&self) -> Option<f64> {
        Some(ratio(self.prompt_tokens? as f64, self.waiting))
    }

    /// Tokens of the answers for each second from the first to the last word, one answer by itself.
    pub fn speech_rate(&self) -> Option<f64> {
        Some(ratio(self.tokens? as f64, self.speaking))
    }
}

impl Row {
    /// The lowest, the middle and the highest rate of its rounds.
    pub fn rates(&self) -> [f64; 3] {
        let mut rates: Vec<f64> = self.rounds.iter().map(Figures::rate).collect();
        rates.sort_by(f64::total_cmp);
        match &rates[..] {
            [] => [0.0; 3],
            all => [all[0], all[(all.len() - 1) / 2], all[all.len() - 1]],
        }
    }

    /// All rounds as one: what can be counted adds up, peaks are the highest, waits the slowest.
    pub fn total(&self) -> Figures {
        let mut sum = Figures::default();
        for round in &self.rounds {
            sum.described += round.described;
            sum.failed += round.failed;
            sum.seconds += round.seconds;
            sum.questions += round.questions;
            sum.attempts += round.attempts;
            sum.first = sum.first.slower(round.first);
            sum.waiting += round.waiting;
            sum.speaking += round.speaking;
            sum.truncated += round.truncated;
            sum.loops += round.loops;
            sum.unread += round.unread;
            sum.mapped.0 += round.mapped.0;
            sum.mapped.1 += round.mapped.1;
            sum.peak = sum.peak.max(round.peak);
        }
        // What one round does not tell, all together do not.
        let rounds = self.rounds.iter();
        sum.prompt_tokens = rounds.clone().map(|round| round.prompt_tokens).sum();
        sum.tokens = rounds.clone().map(|round| round.tokens).sum();
        sum.memory_change = rounds.map(|round| round.memory_change).sum();
        sum
    }
}

impl Candidate {
    /// The row with the highest middle rate.
    pub fn best(&self) -> Option<&Row> {
        let rate = |row: &&Row| row.rates()[1];
        self.rows.iter().max_by(|a, b| rate(a).total_cmp(&rate(b)))
    }

    /// Pages a second of the best row; none of one that could not be tried.
    pub fn speed(&self) -> f64 {
        let best = self.best().filter(|_| self.error.is_none());
        best.map_or(0.0, |row| row.rates()[1])
    }

    /// Right answers; without questions, pages of the best row that have a description which fits.
    pub fn accuracy(&self) -> f64 {
        if self.error.is_some() {
            return 0.0;
        }
        if let Some(answers) = self.answers {
            return answers.vqa;
        }
        self.best().map_or(0.0, |row| {
            let all = row.total();
            let fits = ratio(all.mapped.0 as f64, all.mapped.1 as f64);
            ratio(all.described as f64, (all.described + all.failed) as f64) * fits
        })
    }
}

impl Rankings {
    /// The rankings of some candidates; those that could not be tried come last in each.
    pub fn of(candidates: &[Candidate]) -> Self {
        let order = |score: &dyn Fn(usize) -> f64| -> Vec<usize> {
            let mut all: Vec<usize> = (0..candidates.len()).collect();
            all.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
            all
        };
        let accuracy = order(&|at| candidates[at].accuracy());
        let speed = order(&|at| candidates[at].speed());
        let best = |score: &dyn Fn(&Candidate) -> f64| {
            candidates
                .iter()
                .map(score)
                .fold(f64::MIN_POSITIVE, f64::max)
        };
        let (right, fast) = (best(&Candidate::accuracy), best(&Candidate::speed));
        let overall = order(&|at| {
            let (a, b) = (
                candidates[at].accuracy() / right,
                candidates[at].speed() / fast,
            );
            ratio(2.0 * a * b, a + b)
        });
        let names = |order: Vec<usize>| {
            let names = order.into_iter().map(|at| candidates[at].name.clone());
            names.collect()
        };
        Self {
            accuracy: names(accuracy),
            speed: names(speed),
            overall: names(overall),
        }
    }
}

/// A share; 0 of nothing.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(batch: usize, seconds: &[f64]) -> Row {
        let round = |seconds: &f64| Figures {
            described: 6,
            failed: 2,
            seconds: *seconds,
            tokens: Some(100),
            mapped: (5, 6),
            memory_change: Some(-3),
            ..Figures::default()
        };
        Row {
            approach: "lanes".to_owned(),
            batch,
            rounds: seconds.iter().map(round).collect(),
            error: None,
        }
    }

    #[test]
    fn totals_come_from_the_rounds() {
        let row = row(4, &[2.0, 3.0, 6.0]);
        assert_eq!(row.rates(), [1.0, 2.0, 3.0]);
        let all = row.total();
        assert_eq!(
            (all.described, all.tokens, all.mapped),
            (18, Some(300), (15, 18))
        );
        assert_eq!((all.memory_change, all.prompt_tokens), (Some(-9), None));
    }

    #[test]
    fn the_best_of_both_leads() {
        let candidate = |name: &str, seconds: f64, vqa: f64| Candidate {
            name: name.to_owned(),
            rows: vec![row(1, &[seconds])],
            answers: Some(Answers {
                simple: vqa,
                vqa,
                blind_simple: 0.0,
                blind_vqa: 0.0,
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
