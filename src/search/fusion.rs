//! Fusion of ranked lists.

use std::collections::HashMap;

use crate::analysis::coverage;
use crate::embed::VisualWeight;
use crate::page::PageId;
use crate::store::{Hit, TopK};

/// Weight of the list by meaning, relative to BM25, when a page has all words of the query.
const LEAST_MEANING_WEIGHT: f32 = 0.3;
/// The same for words that were read from an image, relative to the image.
const LEAST_READ_WEIGHT: f32 = 0.2;

/// The lists of a hybrid search; `None` for one that cannot be asked.
pub(super) struct Lists {
    pub(super) images: Option<Vec<Hit>>,
    pub(super) words: Vec<Hit>,
    pub(super) meaning: Option<Vec<Hit>>,
}

impl Lists {
    /// The lists with their weights, so that one that knows nothing of the query does not outvote one that does.
    ///
    /// For pages with a text layer BM25 and images weigh what their best page confirms: the cube of the share of the query's
    /// words in its text. A title is there with all its words, of a question in other words some are there by chance. A best
    /// page without text confirms nothing: then images weigh what their model knows of the query ([`VisualWeight::known`]),
    /// as they always do with a model that knows meaning. The list by meaning weighs what the better of the two leaves, but
    /// never less than [`LEAST_MEANING_WEIGHT`].
    ///
    /// For pages without a text layer images weigh what their model knows of the query, and the meaning of the words read
    /// the rest, but never less than [`LEAST_READ_WEIGHT`]; BM25 over them ranks worse than both and is left out.
    ///
    /// Without a list by meaning, images and BM25 have their full weight.
    ///
    /// Chosen on titles of octave and circuit-macros, the latter also scanned, on words from their paragraphs, and on
    /// `manuals/paraphrases-tune.json`, with five more manuals in the store.
    pub(super) fn ranked(self, query: &str, visual_weight: VisualWeight) -> Vec<Ranked> {
        let Some(meaning) = self.meaning.filter(|hits| !hits.is_empty()) else {
            let images = self
                .images
                .map(|hits| Ranked::by_similarity(visual_weight.full, hits));
            let words = Ranked::by_bm25(1.0, self.words);
            return images.into_iter().chain([words]).collect();
        };
        let confirmed = |text: &str| coverage(text, query).powi(3);
        let in_words = self.words.first().map_or(0.0, |hit| match has_text(hit) {
            true => confirmed(&hit.text),
            false => confirmed(&hit.words_read),
        });
        let images = self.images.unwrap_or_default();
        let best = images.first();
        let known = best.map_or(0.0, |hit| visual_weight.known(hit.score));
        let in_images = best.map_or(0.0, |hit| match visual_weight.similarity {
            Some(_) if has_text(hit) => confirmed(&hit.text),
            _ => known,
        });
        let left = 1.0 - (1.0 - LEAST_MEANING_WEIGHT) * in_words.max(in_images);
        vec![
            Ranked::by_similarity(visual_weight.full * in_images, images).for_scans(known),
            Ranked::by_bm25(in_words, self.words).for_scans(0.0),
            Ranked::by_similarity(left, meaning).for_scans(LEAST_READ_WEIGHT.max(1.0 - known)),
        ]
    }
}

/// Whether a page has a text layer.
fn has_text(hit: &Hit) -> bool {
    !hit.text.trim().is_empty()
}

/// A ranked list to fuse.
pub struct Ranked {
    weight: f32,
    /// The weight for pages without a text layer.
    scan_weight: f32,
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
            scan_weight: weight,
            floor,
            hits,
        }
    }

    /// A list by BM25: a page without query terms has a score of 0.
    pub fn by_bm25(weight: f32, hits: Vec<Hit>) -> Self {
        Self {
            weight,
            scan_weight: weight,
            floor: 0.0,
            hits,
        }
    }

    /// The same list with another weight for pages without a text layer.
    fn for_scans(self, scan_weight: f32) -> Self {
        Self {
            scan_weight,
            ..self
        }
    }

    /// The weight for a page.
    fn weight_for(&self, hit: &Hit) -> f32 {
        match has_text(hit) {
            true => self.weight,
            false => self.scan_weight,
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
    let total_weight = |hit: &Hit| lists.iter().map(|list| list.weight_for(hit)).sum::<f32>();
    let mut fused: Vec<Hit> = Vec::new();
    let mut positions = HashMap::<PageId, usize>::new();
    for list in &lists {
        for hit in &list.hits {
            let score = list.weight_for(hit) / total_weight(hit) * list.relative_score(hit.score);
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
            words_read: String::new(),
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

    #[test]
    fn a_list_that_knows_nothing_of_the_query_does_not_outvote_one_that_does() {
        let with_text = |page, score, text: &str| Hit {
            text: text.to_owned(),
            ..hit(page, score)
        };
        let mute = || with_text(1, 0.6, "press mute to stop the siren");
        let other = || with_text(2, 0.5, "tighten the bolts");
        let weight = VisualWeight {
            full: 0.7,
            similarity: Some((0.70, 0.75)),
        };
        let first = |images: Vec<Hit>, words: Vec<Hit>, query: &str| {
            let lists = Lists {
                images: Some(images),
                words,
                meaning: Some(vec![mute(), other()]),
            };
            fuse(lists.ranked(query, weight), TopK::new(1))[0].id.number
        };
        // Images and BM25 found pages that have no word of the question.
        let images = vec![with_text(2, 0.8, "tighten the bolts"), hit(1, 0.7)];
        let words = vec![with_text(2, 9.0, "tighten the bolts")];
        assert_eq!(
            first(images.clone(), words, "how do I silence the alarm"),
            1
        );
        assert_eq!(first(images, Vec::new(), "how do I silence the alarm"), 1);
        // They found the page that has all of them.
        let images = vec![with_text(2, 0.8, "tighten the bolts"), hit(1, 0.7)];
        let words = vec![with_text(2, 9.0, "tighten the bolts")];
        assert_eq!(first(images, words, "tighten bolts"), 2);
        // A scan that the model reads, and one that it does not.
        let scan = |score| vec![hit(3, score), hit(1, 0.5)];
        assert_eq!(first(scan(0.78), Vec::new(), "pressure test record"), 3);
        assert_eq!(first(scan(0.69), Vec::new(), "pressure test record"), 1);
    }
}
