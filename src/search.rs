//! From a question to ranked pages: visual, by text, or both fused.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::embed::{self, Embedder};
use crate::page::{Annotation, PageId};
use crate::store::{self, Hit, Lookup, Scope, TextField, TopK};

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// MaxSim over the page vectors.
    Visual,
    /// BM25 over the text layer.
    Text,
    /// Both, fused.
    Hybrid,
}

/// Defaults of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How to search.
    pub mode: Mode,
    /// Pages to show.
    pub count: usize,
}

/// A question.
#[derive(Clone, Debug)]
pub struct SearchRequest<'a> {
    /// The words.
    pub text: &'a str,
    /// How to search.
    pub mode: Mode,
    /// Where.
    pub scope: &'a Scope,
    /// How many pages, and how sure.
    pub top_k: TopK,
    /// What the visual list weighs in a hybrid search ([`embed::Card::visual_weight`]).
    pub visual_weight: f32,
}

/// A page found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchHit {
    /// The manual's name.
    pub manual: String,
    /// The page, from 1.
    pub page: u32,
    /// Its printed label.
    pub label: Option<String>,
    /// The section it lies in.
    pub section: Option<String>,
    /// MaxSim a query vector, BM25, or the fused score, by mode; comparable within one answer only.
    pub score: f32,
    /// A line of its text around the words asked for.
    pub snippet: String,
    /// What its description is headed, and what that says; where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The summary of its description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The page's id in every store.
    pub id: String,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model failed.
    #[error(transparent)]
    Embed(#[from] embed::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Nothing to look for.
    #[error("the question is empty")]
    Empty,
}

/// What a description weighs beside the text layer. As a list of its own in the fusion one-line descriptions did harm;
/// added to BM25 they help from 0.3 to 1.
const DESCRIPTION_WEIGHT: f32 = 0.5;
/// Each ranked list is asked for so many pages before they are fused.
const DEPTH: usize = 100;
/// Characters of a snippet.
const SNIPPET: usize = 120;

/// Answers a question; best page first. `embedder` is opened only when the mode needs it.
///
/// # Errors
/// When the model or the store fails, or the question is empty.
pub fn search<'e>(
    store: &dyn Lookup,
    embedder: impl FnOnce() -> Result<&'e mut dyn Embedder, embed::Error>,
    question: &SearchRequest<'_>,
) -> Result<Vec<SearchHit>, Error> {
    let text = question.text.trim();
    if text.is_empty() {
        return Err(Error::Empty);
    }
    let (scope, top_k) = (question.scope, question.top_k);
    let deep = TopK {
        k: top_k.k.max(DEPTH),
        ..top_k
    };
    let visual = |top_k| -> Result<Vec<Hit>, Error> {
        let query = embedder()?.embed_query(text)?;
        let mut hits = store.visual(&query, scope, top_k)?;
        hits.iter_mut()
            .for_each(|hit| hit.score /= query.len() as f32);
        Ok(hits)
    };
    let hits = match question.mode {
        Mode::Visual => visual(top_k)?,
        Mode::Text => store.text(TextField::TextLayer, text, scope, top_k)?,
        Mode::Hybrid => fuse(
            vec![
                Ranked::by_similarity(question.visual_weight, visual(deep)?),
                Ranked::by_bm25(1.0, words(store, text, scope, deep)?),
            ],
            top_k,
        ),
    };
    Ok(hits.into_iter().map(|hit| search_hit(hit, text)).collect())
}

/// The pages by what is printed on them and what a describing run said of them: the sum of both BM25 scores, the second
/// at [`DESCRIPTION_WEIGHT`].
fn words(
    store: &dyn Lookup,
    question: &str,
    scope: &Scope,
    top_k: TopK,
) -> Result<Vec<Hit>, store::Error> {
    let mut hits = store.text(TextField::TextLayer, question, scope, top_k)?;
    let index = hits.iter().map(|hit| hit.id.clone()).zip(0..);
    let index: HashMap<PageId, usize> = index.collect();
    for said in store.text(TextField::Description, question, scope, top_k)? {
        let score = said.score * DESCRIPTION_WEIGHT;
        match index.get(&said.id) {
            Some(&at) => hits[at].score += score,
            None => hits.push(Hit { score, ..said }),
        }
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    Ok(hits)
}

/// A ranked list that takes part in a fusion.
pub struct Ranked {
    weight: f32,
    /// A page of this score is as good as none.
    floor: f32,
    hits: Vec<Hit>,
}

impl Ranked {
    /// Pages by how near they are: every page is near somehow, so the last of the list counts as none.
    pub fn by_similarity(weight: f32, hits: Vec<Hit>) -> Self {
        let floor = hits.last().map_or(0.0, |hit| hit.score);
        Self {
            weight,
            floor,
            hits,
        }
    }

    /// Pages by their words: one without any has a score of 0.
    pub fn by_bm25(weight: f32, hits: Vec<Hit>) -> Self {
        Self {
            weight,
            floor: 0.0,
            hits,
        }
    }

    /// What a score of this list adds, 1 for its best page.
    fn share(&self, score: f32) -> f32 {
        let best = self.hits.first().map_or(0.0, |hit| hit.score);
        match best > self.floor {
            true => (score - self.floor) / (best - self.floor),
            false => 1.0,
        }
    }
}

/// A page scores the weighted mean of its shares of the best score of each list (the convex combination of Bruch, Gai &
/// Ingber 2023, arXiv 2210.11934, with the least possible score of BM25; Weaviate calls it relative score fusion). Ties
/// are broken by page.
///
/// On the manuals that the built-in model was tuned on it beats reciprocal rank fusion, which knows no scores: recall@1 of
/// octave's titles 0.90 beside 0.81, of words out of its paragraphs 0.76 beside 0.71, both lists weighing the same.
pub fn fuse(lists: Vec<Ranked>, top_k: TopK) -> Vec<Hit> {
    let all: f32 = lists.iter().map(|list| list.weight).sum();
    let mut fused: Vec<Hit> = Vec::new();
    let mut at = std::collections::HashMap::<PageId, usize>::new();
    for list in &lists {
        for hit in &list.hits {
            let score = list.weight / all * list.share(hit.score);
            match at.get(&hit.id) {
                Some(&i) => fused[i].score += score,
                None => {
                    at.insert(hit.id.clone(), fused.len());
                    fused.push(Hit {
                        score,
                        ..hit.clone()
                    });
                }
            }
        }
    }
    fused.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    top_k.select(fused, |hit| hit.id.manual.clone())
}

fn search_hit(hit: Hit, question: &str) -> SearchHit {
    let annotation = hit.description.as_deref().and_then(Annotation::from_json);
    let description = annotation.as_ref().and_then(Annotation::description);
    SearchHit {
        title: description.map(|d| d.title.clone()),
        summary: description.map(|d| d.summary.clone()),
        snippet: snippet(&hit.text, question),
        id: hit.id.uuid().to_string(),
        manual: hit.id.manual.to_string(),
        page: hit.id.number,
        label: hit.label,
        section: hit.section,
        score: hit.score,
    }
}

/// The line of a page's text that holds the most words of the question, cut to a screen line.
fn snippet(text: &str, question: &str) -> String {
    let words: Vec<String> = words_of(question)
        .filter(|w| w.len() > 2 || w.bytes().any(|b| b.is_ascii_digit()))
        .collect();
    // Long words tell more than short ones, and numbers (`E-104`, `Q4`) most.
    let worth = |w: &String| {
        w.len()
            * if w.bytes().any(|b| b.is_ascii_digit()) {
                4
            } else {
                1
            }
    };
    let hits = |line: &str| {
        let line: Vec<String> = words_of(line).collect();
        words
            .iter()
            .filter(|w| line.contains(w))
            .map(worth)
            .sum::<usize>()
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let best = lines
        .clone()
        .rev()
        .max_by_key(|line| hits(line))
        .filter(|line| hits(line) > 0);
    let line = best
        .or_else(|| lines.clone().find(|line| line.len() > 20))
        .or_else(|| lines.clone().next());
    shorten(line.unwrap_or_default())
}

fn words_of(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
}

fn shorten(line: &str) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SNIPPET {
        return line;
    }
    let cut: String = line.chars().take(SNIPPET - 1).collect();
    format!("{}…", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::ManualId;

    fn hit(page: u32, score: f32) -> Hit {
        Hit {
            id: PageId::new(&ManualId::new("m"), page),
            score,
            label: None,
            section: None,
            text: String::new(),
            description: None,
        }
    }

    #[test]
    fn fusion_by_hand() {
        let seen = || vec![hit(1, 0.9), hit(2, 0.8), hit(3, 0.5)];
        let read = || vec![hit(2, 12.0), hit(4, 3.0)];
        let fused = |weight: f32| -> Vec<(u32, f32)> {
            let lists = vec![
                Ranked::by_similarity(weight, seen()),
                Ranked::by_bm25(1.0, read()),
            ];
            let fused = fuse(lists, TopK::new(9));
            let rounded = |score: f32| (score * 1000.0).round() / 1000.0;
            fused
                .iter()
                .map(|hit| (hit.id.number, rounded(hit.score)))
                .collect()
        };
        // Page 2: (0.8 - 0.5) / (0.9 - 0.5) = 0.75 and 1; page 4: 3 of 12; page 3, the last one seen, counts as none.
        assert_eq!(fused(1.0), [(2, 0.875), (1, 0.5), (4, 0.125), (3, 0.0)]);
        let third = [(2, 0.938), (1, 0.25), (4, 0.188), (3, 0.0)];
        assert_eq!(fused(1.0 / 3.0), third);
        let one = fuse(
            vec![Ranked::by_similarity(1.0, vec![hit(7, -0.2)])],
            TopK::new(9),
        );
        assert_eq!(one[0].score, 1.0, "the only page is the best one");
        assert!(fuse(vec![Ranked::by_bm25(1.0, Vec::new())], TopK::new(9)).is_empty());
    }

    #[test]
    fn a_snippet_shows_the_words_asked_for() {
        let text = "Contents\n\n To reset the alarm panel, hold   both keys for five seconds. \nSafety first";
        assert_eq!(
            snippet(text, "How do I reset the panel?"),
            "To reset the alarm panel, hold both keys for five seconds."
        );
        let codes = "12 Fault codes\nE-107 low pressure\nE-108 no flow";
        assert_eq!(
            snippet(codes, "What does fault code E-108 mean?"),
            "E-108 no flow"
        );
        assert_eq!(snippet("", "x"), "");
        assert!(snippet(&"long ".repeat(80), "nothing").ends_with('…'));
    }
}
