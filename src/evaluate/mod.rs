//! Evaluation of retrieval (nDCG, recall and MRR, on queries from a manual's outline or a BEIR dataset), and of answers.

mod answer_record;
mod answer_words;
mod answers;
mod dataset;
mod description_match;
mod error;
mod outline;
mod parquet_rows;
mod questions;
mod record;
mod vqa;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use answer_record::{ANSWER_SCHEMA, AnswerEvaluation, Context, ContextResult, GradedAnswer};
pub use answers::{AnswerGrade, AnswerScores, Reply};
pub use dataset::{Dataset, LanguageSubset, Query};
pub use description_match::description_matches;
pub use error::Error;
pub use outline::{OUTLINE_RULE, OutlineQueries, OutlineQuery, outline_queries};
pub use questions::{Question, read_questions};
pub use record::{Evaluation, EvaluationResult, Failure, SCHEMA};
pub use vqa::{simple_accuracy, vqa_accuracy};

use crate::page::PageId;

/// The relevance judgements of a query: its relevant pages with their grades, larger than 0.
pub type Qrels = BTreeMap<PageId, u32>;

/// nDCG at `k`: the grades of the first `k` pages, each divided by `log2(rank + 1)`, over the largest possible sum.
/// Järvelin & Kekäläinen 2002 with linear gain, as trec_eval's `ndcg_cut`.
pub fn ndcg(ranking: &[PageId], relevant: &Qrels, k: usize) -> f64 {
    let dcg = |grades: &mut dyn Iterator<Item = u32>| {
        let discounted_gain =
            |(rank, grade): (usize, u32)| f64::from(grade) / (rank as f64 + 2.0).log2();
        grades
            .take(k)
            .enumerate()
            .map(discounted_gain)
            .fold(0.0, |all, one| all + one)
    };
    let actual = dcg(&mut ranking
        .iter()
        .map(|page| relevant.get(page).copied().unwrap_or(0)));
    let mut grades: Vec<u32> = relevant.values().copied().collect();
    grades.sort_unstable_by(|a, b| b.cmp(a));
    let ideal = dcg(&mut grades.into_iter());
    if ideal > 0.0 { actual / ideal } else { 0.0 }
}

/// Recall at `k`: the share of the relevant pages among the first `k`.
pub fn recall(ranking: &[PageId], relevant: &Qrels, k: usize) -> f64 {
    let found = ranking
        .iter()
        .take(k)
        .filter(|page| relevant.contains_key(page))
        .count();
    found as f64 / relevant.len().max(1) as f64
}

/// Reciprocal rank: one over the rank of the first relevant page; 0 if none was found.
pub fn reciprocal_rank(ranking: &[PageId], relevant: &Qrels) -> f64 {
    let first = ranking.iter().position(|page| relevant.contains_key(page));
    first.map_or(0.0, |at| 1.0 / (at as f64 + 1.0))
}

/// The cut-offs of [`means`].
const CUTOFFS: [usize; 4] = [1, 3, 5, 10];

/// Means of `ndcg_at_k`, `recall_at_k` and `mrr_at_k`, k in 1, 3, 5 and 10, under mteb's names.
pub fn means(all: &[(Vec<PageId>, &Qrels)]) -> BTreeMap<String, f64> {
    let mut means = BTreeMap::new();
    for (ranking, relevant) in all {
        for k in CUTOFFS {
            let first = &ranking[..k.min(ranking.len())];
            for (name, value) in [
                ("ndcg", ndcg(ranking, relevant, k)),
                ("recall", recall(ranking, relevant, k)),
                ("mrr", reciprocal_rank(first, relevant)),
            ] {
                *means.entry(format!("{name}_at_{k}")).or_default() += value / all.len() as f64;
            }
        }
    }
    means
}

/// A mean over queries with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower bound: 2.5 % of the resampled means are lower.
    pub low: f64,
    /// Upper bound: 2.5 % are higher.
    pub high: f64,
}

/// Number of bootstrap resamples.
const RESAMPLES: usize = 2_000;

impl Interval {
    /// Computes the mean with its 95 % interval by the percentile bootstrap (Efron 1979) with a fixed seed.
    pub fn of(values: &[f64]) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        let n = values.len();
        let mut random = fastrand::Rng::with_seed(7);
        let mut mean = || (0..n).map(|_| values[random.usize(..n)]).sum::<f64>() / n as f64;
        let mut means: Vec<f64> = (0..RESAMPLES).map(|_| mean()).collect();
        means.sort_by(f64::total_cmp);
        Self {
            mean: values.iter().sum::<f64>() / n as f64,
            low: means[RESAMPLES / 40],
            high: means[RESAMPLES - 1 - RESAMPLES / 40],
        }
    }
}

/// The measures over a query set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Number of queries.
    pub queries: usize,
    /// nDCG at 5.
    pub ndcg_at_5: Interval,
    /// nDCG at 10.
    pub ndcg_at_10: Interval,
    /// Recall at 1.
    pub recall_at_1: Interval,
    /// Recall at 5.
    pub recall_at_5: Interval,
    /// Recall at 10.
    pub recall_at_10: Interval,
    /// Mean reciprocal rank.
    pub mrr: Interval,
}

impl Scores {
    /// Computes the measures of rankings, each with its judgements.
    pub fn of(all: &[(Vec<PageId>, &Qrels)]) -> Self {
        let mean = |measure: &dyn Fn(&[PageId], &Qrels) -> f64| {
            let values: Vec<f64> = all
                .iter()
                .map(|(ranking, relevant)| measure(ranking, relevant))
                .collect();
            Interval::of(&values)
        };
        Self {
            queries: all.len(),
            ndcg_at_5: mean(&|ranking, relevant| ndcg(ranking, relevant, 5)),
            ndcg_at_10: mean(&|ranking, relevant| ndcg(ranking, relevant, 10)),
            recall_at_1: mean(&|ranking, relevant| recall(ranking, relevant, 1)),
            recall_at_5: mean(&|ranking, relevant| recall(ranking, relevant, 5)),
            recall_at_10: mean(&|ranking, relevant| recall(ranking, relevant, 10)),
            mrr: mean(&reciprocal_rank),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::ManualId;

    fn page(number: u32) -> PageId {
        PageId::new(&ManualId::new("m"), number)
    }

    #[test]
    fn measures_equal_those_computed_by_hand() {
        let ranking: Vec<PageId> = [7, 1, 9, 2].map(page).to_vec();
        let relevant = Qrels::from([(page(1), 2), (page(2), 1), (page(3), 1)]);
        // (2 / log2 3 + 1 / log2 5) over (2 / log2 2 + 1 / log2 3 + 1 / log2 4).
        let expected = (2.0 / 3_f64.log2() + 1.0 / 5_f64.log2()) / (2.0 + 1.0 / 3_f64.log2() + 0.5);
        assert!((ndcg(&ranking, &relevant, 5) - expected).abs() < 1e-12);
        assert!(
            (ndcg(&ranking, &relevant, 2) - (2.0 / 3_f64.log2()) / (2.0 + 1.0 / 3_f64.log2()))
                .abs()
                < 1e-12
        );
        assert!(
            (
                recall(&ranking, &relevant, 1),
                recall(&ranking, &relevant, 2)
            ) == (0.0, 1.0 / 3.0)
        );
        assert!((reciprocal_rank(&ranking, &relevant) - 0.5).abs() < 1e-12);
        assert!(
            (
                ndcg(&[page(3)], &Qrels::new(), 5),
                reciprocal_rank(&[], &relevant)
            ) == (0.0, 0.0)
        );
    }

    #[test]
    fn interval_contains_the_mean_and_narrows_with_more_values() {
        let values: Vec<f64> = (0..40).map(|n| f64::from(n % 2)).collect();
        let few = Interval::of(&values);
        let many = Interval::of(&values.repeat(25));
        assert!(
            few.low < 0.5 && few.high > 0.5 && (few.mean - 0.5).abs() < 1e-12,
            "{few:?}"
        );
        assert!(
            many.high - many.low < (few.high - few.low) / 3.0,
            "{many:?}"
        );
        assert_eq!(
            Interval::of(&[1.0; 9]),
            Interval {
                mean: 1.0,
                low: 1.0,
                high: 1.0
            }
        );
    }
}
