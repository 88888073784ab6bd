//! Reading: the rows of the built-in model decoded to words, for pages without a text layer.
//!
//! Each row of a page is close to the vector of the word that is printed in its cell. The nearest of the words that the text
//! model ([`super::meaning`]) knows is read; other words, codes and numbers are not.

use super::Error;
use super::builtin::{DIM, word_vectors};
use super::gemm::{Matrix, Rows, add_product};
use super::meaning::{lexicon, token_word};
use crate::vectors::PageVectors;

/// Smallest cosine of a row and the word that is read from it.
const MIN_COSINE: f32 = 0.5;
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

    /// The words of a page in reading order, as tokens of the text model.
    pub fn read(&self, page: &PageVectors) -> Vec<u16> {
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
        words
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

/// The words of tokens, separated by spaces.
pub fn text(tokens: &[u16]) -> String {
    let words: Vec<&str> = tokens.iter().filter_map(|t| token_word(*t)).collect();
    words.join(" ")
}
