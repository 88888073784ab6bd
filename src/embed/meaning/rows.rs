//! The rows of a page: near-equal ones of the same token become one.

use std::collections::HashMap;

use super::{ROW_WIDTH, WIDTH};
use crate::vectors::{MultiVector, ShapeError, TextVectors};

/// Cosine from which a row joins an earlier one of the same token. A third of the rows goes, and no page is found worse.
const MERGE_COSINE: f32 = 0.9;

/// The rows of a page, as they come.
#[derive(Default)]
pub(super) struct PageRows {
    tokens: Vec<u32>,
    /// The sum of the rows that became one.
    sums: Vec<[f32; WIDTH]>,
    /// For each token its rows.
    of_token: HashMap<u32, Vec<usize>>,
}

impl PageRows {
    /// Adds a row of length 1.
    pub(super) fn add(&mut self, token: u32, row: &[f32]) {
        let same = self.of_token.entry(token).or_default();
        let is_near = |&&index: &&usize| cosine(&self.sums[index], row) > MERGE_COSINE;
        match same.iter().find(is_near) {
            Some(&index) => self.sums[index]
                .iter_mut()
                .zip(row)
                .for_each(|(s, v)| *s += v),
            None => {
                let mut sum = [0.0; WIDTH];
                sum.copy_from_slice(row);
                same.push(self.sums.len());
                self.tokens.push(token);
                self.sums.push(sum);
            }
        }
    }

    /// All rows; `None` if there are none.
    pub(super) fn finish(mut self) -> Result<Option<TextVectors>, ShapeError> {
        if self.tokens.is_empty() {
            return Ok(None);
        }
        self.sums.iter_mut().for_each(|row| normalize(row));
        let vectors = MultiVector::new(self.sums.into_flattened(), ROW_WIDTH)?;
        Ok(Some(TextVectors {
            vectors,
            tokens: self.tokens,
        }))
    }
}

/// Scales a row to length 1.
pub(super) fn normalize(row: &mut [f32]) {
    let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
    row.iter_mut().for_each(|value| *value /= length);
}

/// The cosine of a sum and a row of length 1.
fn cosine(sum: &[f32], row: &[f32]) -> f32 {
    let (mut dot, mut square) = (0.0, 0.0);
    for (a, b) in sum.iter().zip(row) {
        dot += a * b;
        square += a * a;
    }
    dot / square.sqrt()
}
