//! Retrieval quality by the field's measures, and questions that a manual's own outline asks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::page::PageId;
use crate::render::Bookmark;

/// The pages that answer a question, with their grades, larger than 0.
pub type Relevant = BTreeMap<PageId, u32>;

/// nDCG at `k`: the grades of the first `k` pages, each divided by `log2(rank + 1)`, over the best such sum possible.
/// Järvelin & Kekäläinen 2002 with linear gain, as trec_eval's `ndcg_cut`.
pub fn ndcg(ranking: &[PageId], relevant: &Relevant, k: usize) -> f64 {
    let sum = |grades: &mut dyn Iterator<Item = u32>| {
        let discounted =
            |(rank, grade): (usize, u32)| f64::from(grade) / (rank as f64 + 2.0).log2();
        grades.take(k).enumerate().map(discounted).sum::<f64>()
    };
    let found = sum(&mut ranking
        .iter()
        .map(|page| relevant.get(page).copied().unwrap_or(0)));
    let mut grades: Vec<u32> = relevant.values().copied().collect();
    grades.sort_unstable_by(|a, b| b.cmp(a));
    let best = sum(&mut grades.into_iter());
    if best > 0.0 { found / best } else { 0.0 }
}

/// Recall at `k`: the share of the relevant pages among the first `k`.
pub fn recall(ranking: &[PageId], relevant: &Relevant, k: usize) -> f64 {
    let found = ranking
        .iter()
        .take(k)
        .filter(|page| relevant.contains_key(page))
        .count();
    found as f64 / relevant.len().max(1) as f64
}

/// One over the rank of the first relevant page; 0 when none was found.
pub fn reciprocal_rank(ranking: &[PageId], relevant: &Relevant) -> f64 {
    let first = ranking.iter().position(|page| relevant.contains_key(page));
    first.map_or(0.0, |at| 1.0 / (at as f64 + 1.0))
}

/// A mean over questions, and where it would lie for other questions of the same kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// 2.5 % of the resampled means are lower.
    pub low: f64,
    /// 2.5 % are higher.
    pub high: f64,
}

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2_000;

impl Interval {
    /// The mean with its 95 % interval by the percentile bootstrap (Efron 1979); the same for the same values.
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

/// The measures of many questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Questions.
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
    /// The measures of rankings, each with what is relevant.
    pub fn of(all: &[(Vec<PageId>, &Relevant)]) -> Self {
        let mean = |measure: &dyn Fn(&[PageId], &Relevant) -> f64| {
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

/// How questions are made of an outline, for the report.
pub const OUTLINE_RULE: &str = "a question is the title of a bookmark without its number, its answer the page it points to; \
left out are titles that occur twice, titles without a word of three letters, front matter (contents, index, preface and \
the like), and bookmarks of contents pages (pages that name five or more titles of other pages), which no ranking counts";

/// A question that an outline asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title {
    /// The title without its number.
    pub text: String,
    /// The page it points to.
    pub page: u32,
}

/// What an outline asks, and the contents pages that no ranking counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutlineQuestions {
    /// The questions.
    pub titles: Vec<Title>,
    /// Pages that name many titles.
    pub contents: BTreeSet<u32>,
}

/// Titles of pages that are about the manual, not about its subject.
const FRONT_MATTER: [&str; 14] = [
    "contents",
    "table of contents",
    "index",
    "preface",
    "foreword",
    "cover",
    "title page",
    "copyright",
    "colophon",
    "list of figures",
    "list of tables",
    "inhalt",
    "inhaltsverzeichnis",
    "legal notice",
];
/// A page that names so many titles of other pages is a contents page.
const CONTENTS: usize = 5;

/// Makes questions of an outline by [`OUTLINE_RULE`]; `texts` are the text layers by page.
pub fn ask_outline(outline: &[Bookmark], texts: &BTreeMap<u32, String>) -> OutlineQuestions {
    let named: Vec<(String, u32)> = outline.iter().map(|b| (bare(&b.title), b.page)).collect();
    let contents: BTreeSet<u32> = texts
        .iter()
        .filter(|(page, text)| names_many(**page, text, &named))
        .map(|(page, _)| *page)
        .collect();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (title, _) in &named {
        *times.entry(title.to_lowercase()).or_default() += 1;
    }
    let asks = |(title, page): &(String, u32)| {
        let lower = title.to_lowercase();
        let has_word = lower
            .split(|c: char| !c.is_alphabetic())
            .any(|word| word.chars().count() >= 3);
        has_word
            && times[&lower] == 1
            && !FRONT_MATTER.contains(&lower.as_str())
            && !contents.contains(page)
    };
    OutlineQuestions {
        titles: named
            .iter()
            .filter(|title| asks(title))
            .map(|(text, page)| Title {
                text: text.clone(),
                page: *page,
            })
            .collect(),
        contents,
    }
}

/// A title without the number before it: `12.1 Fault codes` and `A.3 Wiring` lose it, `3D printing` does not.
fn bare(title: &str) -> String {
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((first, rest)) = title.split_once(' ') else {
        return title;
    };
    let numbered = first.chars().all(|c| c.is_ascii_digit() || c == '.')
        || (first.contains('.')
            && first.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
            && first.len() < 10);
    if numbered { rest.to_owned() } else { title }
}

fn names_many(page: u32, text: &str, named: &[(String, u32)]) -> bool {
    let flat = |text: &str| {
        text.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase()
    };
    let text = flat(text);
    let elsewhere = named
        .iter()
        .filter(|(title, at)| *at != page && title.chars().count() >= 5);
    let names: BTreeSet<&str> = elsewhere
        .filter(|(title, _)| text.contains(&flat(title)))
        .map(|(title, _)| title.as_str())
        .collect();
    names.len() >= CONTENTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::ManualId;

    fn page(number: u32) -> PageId {
        PageId::new(&ManualId::new("m"), number)
    }

    #[test]
    fn measures_by_hand() {
        let ranking: Vec<PageId> = [7, 1, 9, 2].map(page).to_vec();
        let relevant = Relevant::from([(page(1), 2), (page(2), 1), (page(3), 1)]);
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
                ndcg(&[page(3)], &Relevant::new(), 5),
                reciprocal_rank(&[], &relevant)
            ) == (0.0, 0.0)
        );
    }

    #[test]
    fn the_interval_holds_the_mean_and_narrows() {
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

    #[test]
    fn an_outline_asks_what_only_one_page_answers() {
        let mark = |title: &str, page| Bookmark {
            title: title.to_owned(),
            level: 0,
            page,
        };
        let outline = [
            mark("Contents", 1),
            mark("1 Safety", 3),
            mark("1.1  Electric shock", 3),
            mark("2.3 Notes", 4),
            mark("3.3 Notes", 6),
            mark("A.1 Wiring diagram", 7),
            mark("3D view", 8),
            mark("4.2 Q", 9),
            mark("Fault codes", 2),
        ];
        let texts = BTreeMap::from([
            (
                2,
                "1 Safety 3\n1.1 Electric  shock 3\n2.3 Notes 4\nA.1 Wiring diagram 7\n3D view 8"
                    .to_owned(),
            ),
            (3, "Safety: electric shock".to_owned()),
        ]);
        let asked = ask_outline(&outline, &texts);
        let titles: Vec<(&str, u32)> = asked
            .titles
            .iter()
            .map(|t| (t.text.as_str(), t.page))
            .collect();
        assert_eq!(
            titles,
            [
                ("Safety", 3),
                ("Electric shock", 3),
                ("Wiring diagram", 7),
                ("3D view", 8)
            ]
        );
        assert_eq!(asked.contents, BTreeSet::from([2]));
    }
}
