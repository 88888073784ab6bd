//! Fusion of ranked lists.

use std::collections::{BTreeSet, HashMap};

use crate::analysis::coverage;
use crate::embed::VisualWeight;
use crate::page::{ManualId, PageId, says_little};
use crate::store::{Hit, TopK};

/// Weight of the list by meaning, relative to BM25, when a page has all words of the query.
const LEAST_MEANING_WEIGHT: f32 = 0.3;
/// The same for words that were read from an image, relative to the image.
const LEAST_READ_WEIGHT: f32 = 0.2;

/// Share of the query's words from which a page with little text counts as one with text: it is a title page, not a scan
/// with a stamp.
const SHARE_OF_TITLE: f32 = 0.5;

/// How many times as many letters as in its text layer are read from a scan with a stamp. Of a page that shows just its text
/// layer four to five times as many are: cells overlap, so that each word is read several times.
const MORE_THAN_A_STAMP: usize = 8;

/// The share of the query's words from which the list by meaning has its full weight, and the one up to which it has none. Of
/// 95 % of the questions that the weights were chosen on the model knows more than half.
const MOST_WORDS: f32 = 2.0 / 3.0;
/// See [`MOST_WORDS`].
const FEW_WORDS: f32 = 1.0 / 3.0;

/// The lists of a hybrid search; `None` for one that cannot be asked.
pub(super) struct Lists {
    pub(super) images: Option<Vec<Hit>>,
    pub(super) words: Vec<Hit>,
    pub(super) meaning: Option<Vec<Hit>>,
    /// The share of the query's words that the text model knows ([`TextQuery::known`](crate::vectors::TextQuery::known)).
    pub(super) known: f32,
    /// Identity of the text model of the list by meaning.
    pub(super) text_profile: &'static str,
}

impl Lists {
    /// The manuals of pages whose text was not embedded, so that the list by meaning cannot have them.
    pub(super) fn without_meaning(&self) -> BTreeSet<ManualId> {
        let images = self.images.iter().flatten();
        let pages = images.chain(&self.words);
        let without = pages.filter(|hit| !is_embedded(hit, self.text_profile));
        without.map(|hit| hit.id.manual.clone()).collect()
    }

    /// The pages of all lists, best first: [`fuse`] with these weights, so that a list that knows nothing of the query does
    /// not outvote one that does.
    ///
    /// For pages with a text layer BM25 and images weigh what their best page confirms: the cube of the share of the query's
    /// words in its text. A title is there with all its words, of a question in other words some are there by chance. A best
    /// page without text confirms nothing: then images weigh what their model knows of the query ([`VisualWeight::known`]),
    /// as they always do with a model that knows meaning. The list by meaning weighs what the better of the two leaves, but
    /// never less than [`LEAST_MEANING_WEIGHT`].
    ///
    /// For pages without a text layer, or with one that says little ([`is_scan`]), images weigh what their model knows of the
    /// query, and the meaning of the words read the rest, but never less than [`LEAST_READ_WEIGHT`]; BM25 over them ranks
    /// worse than both and is left out.
    ///
    /// A text model that knows few words of the query, as one in another language, confirms nothing by its list: as its part of
    /// them falls from [`MOST_WORDS`] to [`FEW_WORDS`], its weights fall to the least, and BM25 gets its full weight.
    ///
    /// Without a list by meaning, and for pages that it cannot have since their text was never embedded, images and BM25 have
    /// their full weight.
    ///
    /// Chosen on titles of octave and circuit-macros, the latter also scanned, on words from their paragraphs, and on
    /// `manuals/paraphrases-tune.json`, with five more manuals in the store.
    pub(super) fn fused(self, query: &str, visual_weight: VisualWeight, top_k: TopK) -> Vec<Hit> {
        let full = Weights::equal(visual_weight.full);
        let search = Search {
            query,
            text_profile: self.text_profile,
        };
        let Some(meaning) = self.meaning.filter(|hits| !hits.is_empty()) else {
            let images = self.images.map(|hits| Ranked::by_similarity(full, hits));
            let words = Ranked::by_bm25(Weights::equal(1.0), self.words);
            let lists = images.into_iter().chain([words]).collect();
            return fuse(lists, search, top_k);
        };
        let confirmed = |text: &str| coverage(text, query).powi(3);
        let in_words = self.words.first().map_or(0.0, |hit| {
            confirmed(&format!("{} {}", hit.text, hit.words_read))
        });
        let images = self.images.unwrap_or_default();
        let best = images.first();
        let known = best.map_or(0.0, |hit| visual_weight.known(hit.score));
        let in_images = best.map_or(0.0, |hit| match visual_weight.similarity {
            Some(_) if !is_scan(hit, query) => confirmed(&hit.text),
            _ => known,
        });
        let left = 1.0 - (1.0 - LEAST_MEANING_WEIGHT) * in_words.max(in_images);
        let trust = ((self.known - FEW_WORDS) / (MOST_WORDS - FEW_WORDS)).clamp(0.0, 1.0);
        let of_images = Weights {
            text: visual_weight.full * (trust * in_images + (1.0 - trust) * known),
            scan: known,
            ..full
        };
        let of_words = Weights {
            text: trust * in_words + (1.0 - trust),
            scan: 0.0,
            not_embedded: 1.0,
        };
        let of_meaning = Weights {
            text: trust * left,
            scan: LEAST_READ_WEIGHT.max(trust * (1.0 - known)),
            not_embedded: 0.0,
        };
        let lists = vec![
            Ranked::by_similarity(of_images, images),
            Ranked::by_bm25(of_words, self.words),
            Ranked::by_similarity(of_meaning, meaning),
        ];
        fuse(lists, search, top_k)
    }
}

/// Whether a page is searched as a scan: it has no text layer, or one that says little ([`says_little`]), far less than was
/// read from its picture, and little of the query.
fn is_scan(hit: &Hit, query: &str) -> bool {
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
    match letters(&hit.text) {
        0 => true,
        said => {
            says_little(&hit.text)
                && letters(&hit.words_read) > MORE_THAN_A_STAMP * said
                && coverage(&hit.text, query) <= SHARE_OF_TITLE
        }
    }
}

/// Whether the text model with an identity embedded what a page says.
fn is_embedded(hit: &Hit, profile: &str) -> bool {
    hit.text_profile.as_deref() == Some(profile)
}

/// What tells the kinds of pages apart.
#[derive(Clone, Copy)]
struct Search<'a> {
    query: &'a str,
    /// Identity of the text model.
    text_profile: &'static str,
}

/// The weights of a list for the kinds of pages.
#[derive(Clone, Copy)]
struct Weights {
    /// Pages with a text layer.
    text: f32,
    /// Scans.
    scan: f32,
    /// Pages that cannot be in the list by meaning.
    not_embedded: f32,
}

impl Weights {
    const fn equal(weight: f32) -> Self {
        Self {
            text: weight,
            scan: weight,
            not_embedded: weight,
        }
    }

    /// The weight for a page.
    fn of(self, hit: &Hit, search: Search<'_>) -> f32 {
        match is_embedded(hit, search.text_profile) {
            false => self.not_embedded,
            true if is_scan(hit, search.query) => self.scan,
            true => self.text,
        }
    }
}

/// A ranked list to fuse.
struct Ranked {
    weights: Weights,
    /// The score that counts as zero.
    floor: f32,
    hits: Vec<Hit>,
}

impl Ranked {
    /// A list by similarity: every page has some similarity, so the score of the last hit counts as zero.
    fn by_similarity(weights: Weights, mut hits: Vec<Hit>) -> Self {
        hits.retain(|hit| hit.score.is_finite());
        let floor = hits.last().map_or(0.0, |hit| hit.score);
        Self {
            weights,
            floor,
            hits,
        }
    }

    /// A list by BM25: a page without query terms has a score of 0.
    fn by_bm25(weights: Weights, hits: Vec<Hit>) -> Self {
        Self {
            weights,
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
fn fuse(lists: Vec<Ranked>, search: Search<'_>, top_k: TopK) -> Vec<Hit> {
    let weight = |list: &Ranked, hit: &Hit| list.weights.of(hit, search);
    let total_weight = |hit: &Hit| lists.iter().map(|list| weight(list, hit)).sum::<f32>();
    let mut fused: Vec<Hit> = Vec::new();
    let mut positions = HashMap::<PageId, usize>::new();
    for list in &lists {
        for hit in &list.hits {
            let score = weight(list, hit) / total_weight(hit) * list.relative_score(hit.score);
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

#[cfg(test)]
mod tests;
