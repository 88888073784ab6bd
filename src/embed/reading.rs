//! Reading: the rows of the built-in model decoded to words, for pages whose text layer says little.
//!
//! Each row of a page is close to the vector of the word that is printed in its cell. The nearest of the words that the text
//! model ([`super::meaning`]) knows is read; other words, codes and numbers are not.

use std::collections::HashSet;

use super::builtin::{DIM, word_vectors};
use super::gemm::{Matrix, Rows, add_product};
use super::meaning::{lexicon, token_word};
use super::{Embedder, Error};
use crate::patch::{GrayPage, Prepared};
use crate::vectors::PageVectors;

/// Smallest cosine of a row and the word that is read from it.
const MIN_COSINE: f32 = 0.5;
/// Tokens before this one are common words: the vocabulary is sorted by frequency.
const COMMON: u16 = 8_000;
/// Words of three letters or more from which the share of common ones is known, and words that a turned page has.
const LEAST_WORDS: usize = 10;

/// Rows that are compared with the lexicon at a time: their scores take 5 MB.
const ROWS_PER_PRODUCT: usize = 64;

/// Reads words from the rows of the built-in model.
pub struct Reader {
    /// The tokens of the words.
    tokens: Vec<u16>,
    /// Their vectors in columns: `DIM` rows.
    vectors: Vec<f32>,
}

impl Reader {
    /// Computes the vectors of all words of the lexicon.
    ///
    /// # Errors
    /// [`Error::Files`] if the embedded weights do not have the expected tensors.
    pub fn open() -> Result<Self, Error> {
        let tokens = lexicon();
        let words: Vec<&str> = tokens.iter().filter_map(|t| token_word(*t)).collect();
        let rows = word_vectors(&words)?;
        let column = |i: usize| rows.iter().skip(i).step_by(DIM).copied();
        Ok(Self {
            vectors: (0..DIM).flat_map(column).collect(),
            tokens,
        })
    }

    /// The words of a page in reading order, as tokens of the text model; none if they are nonsense, as of a drawing or noise.
    ///
    /// `page` are the vectors of `input`. If it lies on its side or upside down, they become those of the upright page.
    ///
    /// # Errors
    /// As [`Embedder::embed_pages`].
    pub fn read(
        &self,
        model: &mut dyn Embedder,
        input: &Prepared,
        page: &mut PageVectors,
    ) -> Result<Vec<u16>, Error> {
        let mut words = self.words(page);
        let Prepared::Gray(image) = input else {
            return Ok(words);
        };
        for &quarters in possible_turns(image, &words) {
            let turned = Prepared::Gray(image.turned(quarters));
            let embedded = model.embed_pages(std::slice::from_ref(&turned))?;
            for turned in embedded.into_iter().flatten() {
                let turned_words = self.words(&turned);
                if turned_words.len() > words.len().max(LEAST_WORDS) {
                    words = turned_words;
                    *page = PageVectors {
                        patches: turned.patches.turned(4 - quarters),
                        ..turned
                    };
                }
            }
        }
        Ok(words)
    }

    /// The words of a page as it lies.
    fn words(&self, page: &PageVectors) -> Vec<u16> {
        let width = page.vectors.dim();
        let count = self.tokens.len();
        let mut words = Vec::new();
        let mut scores = vec![0.0; ROWS_PER_PRODUCT * count];
        for rows in page.vectors.as_slice().chunks(ROWS_PER_PRODUCT * width) {
            let scores = &mut scores[..rows.len() / width * count];
            scores.fill(0.0);
            let left = Rows {
                data: rows,
                stride: width,
            };
            let right = Matrix {
                data: &self.vectors,
                columns: count,
            };
            add_product(scores, left, right);
            for (row, scores) in rows.chunks(width).zip(scores.chunks(count)) {
                words.extend(self.nearest(row, scores));
            }
        }
        // A word that is wider than a cell is read in each of its cells.
        words.dedup();
        match is_nonsense(&words) {
            true => Vec::new(),
            false => words,
        }
    }

    /// The word nearest to a row, unless none is near.
    fn nearest(&self, row: &[f32], scores: &[f32]) -> Option<u16> {
        let (best, score) = scores
            .iter()
            .enumerate()
            .max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let length = row[..DIM].iter().map(|v| v * v).sum::<f32>().sqrt();
        (*score >= MIN_COSINE * length && length > 0.0).then(|| self.tokens[best])
    }
}

/// Clockwise quarter turns after which a page may be upright, of which `words` were read as it lies.
fn possible_turns(page: &GrayPage, words: &[u16]) -> &'static [u8] {
    match page.is_on_its_side() {
        true => &[1, 3],
        false if words.is_empty() => &[2],
        false => &[],
    }
}

/// Whether words were hardly printed on a page: most have one or two letters or digits, many have and the same ones come again
/// and again, or fewer than a third of the longer ones are common.
///
/// So are all of 55 turned pages of four manuals, and none of 78 scanned pages of three, where the least share of common words
/// is 0.38; of 18 pages of circuit diagrams 6.
fn is_nonsense(tokens: &[u16]) -> bool {
    let is_long = |token: &&u16| token_word(**token).is_some_and(|word| word.len() > 2);
    let long = tokens.iter().filter(is_long);
    let common = long.clone().filter(|token| **token < COMMON).count();
    let (all, long) = (tokens.len(), long.count());
    let distinct = tokens.iter().collect::<HashSet<_>>().len();
    let has_few_long = long * 3 < all;
    let is_repetitive = long * 10 < all * 6 && distinct * 20 < all * 7;
    has_few_long || is_repetitive || (long >= LEAST_WORDS && common * 3 < long)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(words: &str) -> Vec<u16> {
        let lexicon = lexicon();
        let token = |word| lexicon.iter().find(|t| token_word(**t) == Some(word));
        words.split(' ').map(|word| *token(word).unwrap()).collect()
    }

    #[test]
    fn words_of_drawings_and_turned_pages_are_nonsense() {
        // As they were read from scans.
        for page in [
            "",
            "stop",
            "14",
            "17 adjective pressure rest test record specimen 17 pressure record",
            "modular mallory service mantra syntax 13 ministries maintenance checks seal",
            "awareness line each end dc negative omitted current radius",
        ] {
            let words = match page {
                "" => Vec::new(),
                page => tokens(page),
            };
            assert_eq!(is_nonsense(&words), page == "14", "{page}");
        }
        for page in [
            "sd 2 cd jc 2 tx 3 2 9 jj 2 24",
            "2 5 gs sits 5 gs sits 5 gs 2 5 sits 2 5 sits jc sits gs 2 sits jc",
            "7 zhu 90 pc nun cousins superliga durham kappa yugoslavia zhao ghz sway sloop",
        ] {
            assert!(is_nonsense(&tokens(page)), "{page}");
        }
    }
}
