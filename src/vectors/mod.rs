//! Multi-vectors, late interaction (MaxSim), and the profile of the model that produced them.

mod patch_map;

use std::num::NonZeroUsize;

use half::f16;
use serde::{Deserialize, Serialize};

pub use patch_map::PatchMap;

/// Allowed deviation of a row's length from 1: rows are rounded to f16 once, and a bf16 model divides by a bf16 norm.
const LENGTH_TOLERANCE: f32 = 5e-3;

/// A multi-vector: `n` rows of `dim` floats, each finite and of length 1. Represents one page or one query.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiVector {
    rows: Vec<f32>,
    dim: NonZeroUsize,
}

/// Error of a malformed multi-vector or patch map.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ShapeError {
    /// No rows.
    #[error("a multi-vector needs at least one row")]
    Empty,
    /// The last row is incomplete.
    #[error("{floats} floats do not divide into rows of {dim}")]
    Ragged {
        /// Number of floats.
        floats: usize,
        /// Requested width.
        dim: usize,
    },
    /// A row contains a NaN or an infinity.
    #[error("row {row} is not finite")]
    NotFinite {
        /// The row, from 0.
        row: usize,
    },
    /// The length of a row is not 1.
    #[error("row {row} has length {length}, not 1")]
    NotUnit {
        /// The row, from 0.
        row: usize,
        /// Its length.
        length: f32,
    },
    /// A grid without cells.
    #[error("a grid of {columns} x {rows} has no cells")]
    NoCells {
        /// Cells from left to right.
        columns: u16,
        /// Cells from top to bottom.
        rows: u16,
    },
    /// The last cell is incomplete.
    #[error("{bytes} bytes do not divide into cells")]
    PartialCell {
        /// Number of bytes.
        bytes: usize,
    },
    /// The number of cells differs from the number of rows.
    #[error("it has {vectors} vectors but cells for {cells}")]
    CellCount {
        /// Rows of the multi-vector.
        vectors: usize,
        /// Number of cells.
        cells: usize,
    },
    /// A cell is outside the grid.
    #[error("row {row} has cell {cell}, outside a grid of {columns} x {rows}")]
    OutsideGrid {
        /// The row, from 0.
        row: usize,
        /// Its cell.
        cell: u16,
        /// Cells from left to right.
        columns: u16,
        /// Cells from top to bottom.
        rows: u16,
    },
}

impl MultiVector {
    /// Creates a multi-vector from row-major `rows`.
    ///
    /// # Errors
    /// [`ShapeError::Empty`], [`ShapeError::Ragged`], [`ShapeError::NotFinite`] or [`ShapeError::NotUnit`].
    pub fn new(rows: Vec<f32>, dim: NonZeroUsize) -> Result<Self, ShapeError> {
        if rows.is_empty() {
            return Err(ShapeError::Empty);
        }
        if !rows.len().is_multiple_of(dim.get()) {
            return Err(ShapeError::Ragged {
                floats: rows.len(),
                dim: dim.get(),
            });
        }
        for (row, values) in rows.chunks_exact(dim.get()).enumerate() {
            let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
            if !length.is_finite() {
                return Err(ShapeError::NotFinite { row });
            }
            if (length - 1.0).abs() > LENGTH_TOLERANCE {
                return Err(ShapeError::NotUnit { row, length });
            }
        }
        Ok(Self { rows, dim })
    }

    /// The rows, each `dim` floats.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.rows.chunks_exact(self.dim.get())
    }

    /// All floats, row-major, `len() * dim()` of them.
    pub fn as_slice(&self) -> &[f32] {
        &self.rows
    }

    /// The number of rows; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a multi-vector is never empty")]
    pub fn len(&self) -> usize {
        self.rows.len() / self.dim
    }

    /// The width of a row.
    pub fn dim(&self) -> usize {
        self.dim.get()
    }

    /// The width of a row, in the type that [`MultiVector::new`] takes.
    pub fn width(&self) -> NonZeroUsize {
        self.dim
    }

    /// The last `n` rows, at least one and at most all.
    #[must_use]
    pub fn last_rows(&self, n: usize) -> Self {
        let n = n.clamp(1, self.len());
        Self {
            rows: self.rows[self.rows.len() - n * self.dim()..].to_vec(),
            dim: self.dim,
        }
    }

    /// The rows of both multi-vectors, `self` first.
    ///
    /// # Panics
    /// If the widths differ.
    #[must_use]
    pub fn concat(&self, other: &Self) -> Self {
        assert_eq!(self.dim, other.dim, "widths differ");
        Self {
            rows: [self.as_slice(), other.as_slice()].concat(),
            dim: self.dim,
        }
    }

    /// Rounds all floats to the nearest f16. Done once, before pages are written, so that all stores agree.
    #[must_use]
    pub fn rounded_to_f16(mut self) -> Self {
        for value in &mut self.rows {
            *value = f16::from_f32(*value).to_f32();
        }
        self
    }
}

/// MaxSim (late interaction): the sum over query rows of the maximum dot product with any page row.
/// ColBERT (Khattab & Zaharia 2020), eq. 3. This is the reference; faster implementations in stores must equal it.
///
/// # Panics
/// If the widths differ; stores compare profiles first.
pub fn max_sim(query: &MultiVector, page: &MultiVector) -> f32 {
    assert_eq!(query.dim(), page.dim(), "widths differ");
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    query
        .rows()
        .map(|q| {
            page.rows()
                .map(|p| dot(q, p))
                .fold(f32::NEG_INFINITY, f32::max)
        })
        .sum()
}

/// The multi-vector of a page and its patch map.
#[derive(Clone, Debug, PartialEq)]
pub struct PageVectors {
    /// The rows.
    pub vectors: MultiVector,
    /// The cell of each row; `patches.cells().len() == vectors.len()`.
    pub patches: PatchMap,
}

/// The multi-vector of a page's text: the token vectors of a text model ([`crate::embed::meaning`]).
#[derive(Clone, Debug, PartialEq)]
pub struct TextVectors {
    /// The rows.
    pub vectors: MultiVector,
    /// The token of each row; `tokens.len() == vectors.len()`.
    pub tokens: Vec<u32>,
}

/// A query for [`TextVectors`].
#[derive(Clone, Debug, PartialEq)]
pub struct TextQuery {
    /// Profile of the text model; only rows of the same one are compared.
    pub profile: &'static str,
    /// The rows.
    pub vectors: MultiVector,
    /// The token of each row; `tokens.len() == vectors.len()`.
    pub tokens: Vec<u32>,
    /// The share of each row in its word: one divided by the word's tokens.
    pub shares: Vec<f32>,
    /// The share of its words that the model knows as such, from 0 to 1; those of another language are put together from pieces.
    pub known: f32,
}

impl TextQuery {
    /// The weight of each row in a collection of `pages`, where `with_token` of them have the token of each row: the
    /// inverse document frequency of BM25 (Robertson & Zaragoza 2009) times the row's share, scaled to the sum 1.
    pub fn weights(&self, pages: u64, with_token: &[u64]) -> Vec<f32> {
        let idf = |count: u64| {
            let count = count.min(pages) as f32;
            ((pages as f32 - count + 0.5) / (count + 0.5)).ln_1p()
        };
        let weights = with_token.iter().zip(&self.shares);
        let weights: Vec<f32> = weights.map(|(count, share)| idf(*count) * share).collect();
        let sum: f32 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }

    /// For each query row the token of the nearest row of a page, with the cosine of the two.
    ///
    /// # Panics
    /// If the widths differ.
    pub fn nearest_tokens(&self, page: &TextVectors) -> Vec<(u32, f32)> {
        assert_eq!(self.vectors.dim(), page.vectors.dim(), "widths differ");
        let nearest = |query: &[f32]| {
            let rows = page.vectors.rows().zip(&page.tokens);
            let cosines = rows.map(|(row, token)| (*token, dot(query, row)));
            cosines
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap_or_default()
        };
        self.vectors.rows().map(nearest).collect()
    }
}

/// The dot product, summed in eight lanes that the compiler vectorises.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
            *sum += x * y;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

/// Identity of the model that produced vectors: two profiles may share a collection only if their ids are equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Short hex digest of model config, prompts, pixel budget and weights, and the pool factor; never of device or
    /// dtype.
    pub id: String,
    /// Display name of the model, such as `built-in` or `vidore/colqwen2.5-v0.2`.
    pub model: String,
    /// The width of a vector.
    pub dim: u32,
    /// Pool factor of page vectors ([`crate::pooling`]); 1 means no pooling.
    #[serde(default = "unpooled", skip_serializing_if = "is_unpooled")]
    pub pool_factor: u32,
}

fn unpooled() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde requires a reference"
)]
fn is_unpooled(factor: &u32) -> bool {
    *factor == unpooled()
}

impl Profile {
    /// The profile of the same vectors pooled by `factor`.
    #[must_use]
    pub fn pooled(&self, factor: u32) -> Self {
        match factor {
            0 | 1 => self.clone(),
            _ => Self {
                id: format!("{}-pool{factor}", self.id),
                pool_factor: self.pool_factor * factor,
                ..self.clone()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    #[test]
    fn new_accepts_only_complete_finite_unit_rows() {
        assert!(MultiVector::new(vec![1.0, 0.0, 0.6, 0.8], TWO).is_ok());
        assert_eq!(MultiVector::new(vec![], TWO), Err(ShapeError::Empty));
        assert!(matches!(
            MultiVector::new(vec![1.0, 0.0, 1.0], TWO),
            Err(ShapeError::Ragged { .. })
        ));
        assert_eq!(
            MultiVector::new(vec![1.0, f32::NAN], TWO),
            Err(ShapeError::NotFinite { row: 0 })
        );
        assert!(matches!(
            MultiVector::new(vec![1.0, 0.0, 1.0, 1.0], TWO),
            Err(ShapeError::NotUnit { row: 1, .. })
        ));
    }

    #[test]
    fn last_rows_and_concat_select_and_append_rows() {
        let page = MultiVector::new(vec![1.0, 0.0, 0.6, 0.8], TWO).unwrap();
        assert_eq!(page.last_rows(1).as_slice(), [0.6, 0.8]);
        assert_eq!(page.last_rows(9), page);
        assert_eq!(
            page.concat(&page.last_rows(1)).as_slice(),
            [1.0, 0.0, 0.6, 0.8, 0.6, 0.8]
        );
    }

    #[test]
    fn max_sim_sums_the_row_maxima() {
        let page = MultiVector::new(vec![1.0, 0.0, 0.6, 0.8], TWO).unwrap();
        let query = MultiVector::new(vec![0.0, 1.0, 1.0, 0.0], TWO).unwrap();
        assert!((max_sim(&query, &page) - 1.8).abs() < 1e-6);
    }
}
