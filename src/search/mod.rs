//! Search: ranks pages for a query by MaxSim over page images, BM25 over text, or a fusion of both.

mod excerpt;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use excerpt::QueryWords;

use crate::embed::meaning::{MODEL, Meaning, PROFILE};
use crate::embed::{self, Embedder};
use crate::page::{Annotation, PageId, Sections};
use crate::store::{self, Hit, Lookup, Scope, TextField, TopK};
use crate::vectors::TextQuery;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// MaxSim over the page vectors.
    Visual,
    /// BM25 over the text layer.
    Text,
    /// MaxSim over the vectors of the text layer.
    Meaning,
    /// All of them, fused.
    Hybrid,
}

/// The models that embed queries; each is opened when a search needs it.
pub trait Models {
    /// The model of the page vectors.
    ///
    /// # Errors
    /// If it cannot be opened.
    fn embedder(&mut self) -> Result<&mut dyn Embedder, embed::Error>;

    /// The text model.
    ///
    /// # Errors
    /// If it cannot be opened.
    fn meaning(&mut self) -> Result<&Meaning, embed::Error>;
}

/// Search settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How to search.
    pub mode: Mode,
    /// Number of pages to show.
    pub count: usize,
}

/// A search request.
#[derive(Clone, Debug)]
pub struct SearchRequest<'a> {
    /// The query.
    pub text: &'a str,
    /// How to search.
    pub mode: Mode,
    /// The manuals and pages to search.
    pub scope: &'a Scope,
    /// How many hits, and whether they must be exact.
    pub top_k: TopK,
    /// Weight of the visual list in a hybrid search ([`embed::Card::visual_weight`]).
    pub visual_weight: f32,
}

/// A hit: a page with its score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchHit {
    /// The manual's name.
    pub manual: String,
    /// The page, from 1.
    pub page: u32,
    /// Its printed label.
    pub label: Option<String>,
    /// The section that answers, of those on the page.
    pub section: Option<String>,
    /// MaxSim per query vector, BM25, or the fused score, by mode; comparable within one result list only.
    pub score: f32,
    /// The line of its text that matches the query best.
    pub snippet: String,
    /// The title of its description, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The summary of its description, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The page's id in every store.
    pub id: String,
}

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model failed.
    #[error(transparent)]
    Embed(#[from] embed::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The query is empty.
    #[error("the query is empty")]
    Empty,
    /// No page has text vectors, or the text model knows no word of the query.
    #[error(
        "nothing can be searched by `{MODEL}`: no page has vectors of its text, or the query has no English word"
    )]
    NoMeaning,
    /// The query is in letters that the model was not trained on; its vectors would be those of nothing.
    #[error("the model of this store cannot read the letters of the query")]
    Unreadable,
}

/// Weight of the description's BM25 score relative to the text layer's. One-line descriptions as a list of their own in
/// the fusion made results worse; added to the BM25 score they improve them at weights from 0.3 to 1.
const DESCRIPTION_WEIGHT: f32 = 0.5;
/// Number of hits of each list that are fused.
const FUSION_DEPTH: usize = 100;

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The pages, best first.
    pub hits: Vec<SearchHit>,
    /// Whether a hybrid search went without the images, since the model cannot read the query.
    pub is_text_only: bool,
}

/// Searches a store.
///
/// # Errors
/// [`Error::Embed`] or [`Error::Store`] when the model or the store fails, [`Error::Empty`] when the query is empty,
/// [`Error::Unreadable`] when a visual search would rank pages at random.
pub fn search(
    store: &dyn Lookup,
    models: &mut dyn Models,
    request: &SearchRequest<'_>,
) -> Result<Found, Error> {
    let text = request.text.trim();
    if text.is_empty() {
        return Err(Error::Empty);
    }
    let mut searcher = Searcher {
        store,
        models,
        text,
        scope: request.scope,
        text_query: None,
    };
    let top_k = request.top_k;
    let mut is_text_only = false;
    let hits = match request.mode {
        Mode::Visual => searcher.visual(top_k)?.ok_or(Error::Unreadable)?,
        Mode::Text => store.text(TextField::TextLayer, text, request.scope, top_k)?,
        Mode::Meaning => searcher.meaning(top_k)?.ok_or(Error::NoMeaning)?,
        Mode::Hybrid => {
            let deep = TopK {
                k: top_k.k.max(FUSION_DEPTH),
                ..top_k
            };
            let images = searcher.visual(deep)?;
            is_text_only = images.is_none();
            let images = images.map(|hits| Ranked::by_similarity(request.visual_weight, hits));
            let words = Ranked::by_bm25(1.0, bm25(store, text, request.scope, deep)?);
            let meaning = searcher.meaning(deep)?;
            let meaning = meaning.map(|hits| Ranked::by_similarity(1.0, hits));
            let lists = images.into_iter().chain([words]).chain(meaning);
            fuse(lists.collect(), top_k)
        }
    };
    Ok(Found {
        hits: searcher.shown(hits)?,
        is_text_only,
    })
}

/// The lists of a search.
struct Searcher<'a> {
    store: &'a dyn Lookup,
    models: &'a mut dyn Models,
    text: &'a str,
    scope: &'a Scope,
    /// Vectors of the query in the text model, once they are known.
    text_query: Option<TextQuery>,
}

impl Searcher<'_> {
    /// The best pages by their images; `None` if the model cannot read the query.
    fn visual(&mut self, top_k: TopK) -> Result<Option<Vec<Hit>>, Error> {
        let embedder = self.models.embedder()?;
        if !embedder.can_read(self.text) {
            return Ok(None);
        }
        let query = embedder.embed_query(self.text)?;
        let mut hits = self.store.visual(&query, self.scope, top_k)?;
        hits.iter_mut()
            .for_each(|hit| hit.score /= query.len() as f32);
        Ok(Some(hits))
    }

    /// The best pages by what their text says; `None` if the store has no text vectors, or the model knows no word of the
    /// query.
    fn meaning(&mut self, top_k: TopK) -> Result<Option<Vec<Hit>>, Error> {
        if !self.store.has_text_vectors(PROFILE)? {
            return Ok(None);
        }
        let query = self.models.meaning()?.embed_query(self.text);
        let Some(query) = query.map_err(embed::Error::from)? else {
            return Ok(None);
        };
        let hits = self.store.meaning(&query, self.scope, top_k)?;
        self.text_query = Some(query);
        Ok(Some(hits))
    }

    /// The hits as they are shown: with the line and the section that answer the query in its words, or in those that are
    /// nearest in meaning.
    fn shown(&self, hits: Vec<Hit>) -> Result<Vec<SearchHit>, Error> {
        let words = QueryWords::new(self.text);
        let nearest = match &self.text_query {
            Some(query) => {
                let pages: Vec<PageId> = hits.iter().map(|hit| hit.id.clone()).collect();
                self.store.nearest_tokens(query, &pages)?
            }
            None => vec![Vec::new(); hits.len()],
        };
        let shown = |(hit, nearest): (Hit, Vec<_>)| search_hit(hit, &words.and_nearest(&nearest));
        Ok(hits.into_iter().zip(nearest).map(shown).collect())
    }
}

/// Ranks pages by the BM25 score of their text layer plus [`DESCRIPTION_WEIGHT`] times that of their description.
fn bm25(
    store: &dyn Lookup,
    query: &str,
    scope: &Scope,
    top_k: TopK,
) -> Result<Vec<Hit>, store::Error> {
    let mut hits = store.text(TextField::TextLayer, query, scope, top_k)?;
    let positions = hits.iter().map(|hit| hit.id.clone()).zip(0..);
    let positions: HashMap<PageId, usize> = positions.collect();
    for described in store.text(TextField::Description, query, scope, top_k)? {
        let score = described.score * DESCRIPTION_WEIGHT;
        match positions.get(&described.id) {
            Some(&position) => hits[position].score += score,
            None => hits.push(Hit { score, ..described }),
        }
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    Ok(hits)
}

/// A ranked list to fuse.
pub struct Ranked {
    weight: f32,
    /// The score that counts as zero.
    floor: f32,
    hits: Vec<Hit>,
}

impl Ranked {
    /// A list by similarity: every page has some similarity, so the score of the last hit counts as zero.
    pub fn by_similarity(weight: f32, mut hits: Vec<Hit>) -> Self {
        hits.retain(|hit| hit.score.is_finite());
        let floor = hits.last().map_or(0.0, |hit| hit.score);
        Self {
            weight,
            floor,
            hits,
        }
    }

    /// A list by BM25: a page without query terms has a score of 0.
    pub fn by_bm25(weight: f32, hits: Vec<Hit>) -> Self {
        Self {
            weight,
            floor: 0.0,
            hits,
        }
    }

    /// Returns the score relative to the best of the list, from 0 to 1.
    fn relative_score(&self, score: f32) -> f32 {
        let best = self.hits.first().map_or(0.0, |hit| hit.score);
        match best > self.floor {
            true => (score - self.floor) / (best - self.floor),
            false => 1.0,
        }
    }
}

/// Relative score fusion: a page scores the weighted mean of its relative scores in each list (the convex combination
/// of Bruch, Gai & Ingber 2023, arXiv 2210.11934, with the theoretical minimum of BM25; Weaviate's name). Ties are
/// broken by page.
///
/// On the manuals that the built-in model was tuned on it beats reciprocal rank fusion, which ignores scores: recall@1
/// of octave's titles 0.90 against 0.81, of words from its paragraphs 0.76 against 0.71, with equal weights.
pub fn fuse(lists: Vec<Ranked>, top_k: TopK) -> Vec<Hit> {
    let total_weight: f32 = lists.iter().map(|list| list.weight).sum();
    let mut fused: Vec<Hit> = Vec::new();
    let mut positions = HashMap::<PageId, usize>::new();
    for list in &lists {
        for hit in &list.hits {
            let score = list.weight / total_weight * list.relative_score(hit.score);
            match positions.get(&hit.id) {
                Some(&i) => fused[i].score += score,
                None => {
                    positions.insert(hit.id.clone(), fused.len());
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

fn search_hit(hit: Hit, query: &QueryWords) -> SearchHit {
    let sections = Sections::parse(hit.section.as_deref().unwrap_or_default());
    let annotation = hit.description.as_deref().and_then(Annotation::from_json);
    let description = annotation.as_ref().and_then(Annotation::description);
    SearchHit {
        title: description.map(|d| d.title.clone()),
        summary: description.map(|d| d.summary.clone()),
        snippet: excerpt::snippet(&hit.text, query),
        section: excerpt::section(&sections, &hit.text, query),
        id: hit.id.uuid().to_string(),
        manual: hit.id.manual.to_string(),
        page: hit.id.number,
        label: hit.label,
        score: hit.score,
    }
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
    fn fused_scores_equal_those_computed_by_hand() {
        let visual = || vec![hit(1, 0.9), hit(2, 0.8), hit(3, 0.5)];
        let text = || vec![hit(2, 12.0), hit(4, 3.0)];
        let fused = |weight: f32| -> Vec<(u32, f32)> {
            let lists = vec![
                Ranked::by_similarity(weight, visual()),
                Ranked::by_bm25(1.0, text()),
            ];
            let fused = fuse(lists, TopK::new(9));
            let rounded = |score: f32| (score * 1000.0).round() / 1000.0;
            fused
                .iter()
                .map(|hit| (hit.id.number, rounded(hit.score)))
                .collect()
        };
        // Page 2: (0.8 - 0.5) / (0.9 - 0.5) = 0.75 and 1; page 4: 3 of 12; page 3 is last in the visual list: zero.
        assert_eq!(fused(1.0), [(2, 0.875), (1, 0.5), (4, 0.125), (3, 0.0)]);
        let third = [(2, 0.938), (1, 0.25), (4, 0.188), (3, 0.0)];
        assert_eq!(fused(1.0 / 3.0), third);
        let one = fuse(
            vec![Ranked::by_similarity(1.0, vec![hit(7, -0.2)])],
            TopK::new(9),
        );
        assert_eq!(one[0].score, 1.0, "a single page has the best score");
        assert!(fuse(vec![Ranked::by_bm25(1.0, Vec::new())], TopK::new(9)).is_empty());
    }
}
