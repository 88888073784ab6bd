//! Multi-vectors, late interaction, and the profile of the model that made them.

mod patch_map;

use std::num::NonZeroUsize;

use half::f16;
use serde::{Deserialize, Serialize};

pub use patch_map::PatchMap;

/// How far from 1 the length of a row may be: rows are rounded to f16 once, and a bf16 model divides by a bf16 norm.
const LENGTH_TOLERANCE: f32 = 5e-3;

/// `n` rows of `dim` floats, each finite and of length 1: one page, or one query, as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiVector {
    rows: Vec<f32>,
    dim: NonZeroUsize,
}

/// Floats that do not make a multi-vector, or cells that do not make its patch map.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ShapeError {
    /// No row at all.
    #[error("a multi-vector needs at least one row")]
    Empty,
    /// The last row is cut.
    #[error("{floats} floats do not divide into rows of {dim}")]
    Ragged {
        /// Floats given.
        floats: usize,
        /// Width asked for.
        dim: usize,
    },
    /// A row holds a NaN or an infinity.
    #[error("row {row} is not finite")]
    NotFinite {
        /// The row, from 0.
        row: usize,
    },
    /// A row is not of length 1.
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
    /// The last cell is cut.
    #[error("{bytes} bytes do not divide into cells")]
    CutCell {
        /// Bytes given.
        bytes: usize,
    },
    /// There is not one cell for each row.
    #[error("it has {vectors} vectors but places for {cells}")]
    CellCount {
        /// Rows of the multi-vector.
        vectors: usize,
        /// Cells given.
        cells: usize,
    },
    /// A cell lies outside the grid.
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
    /// Checks and keeps `rows`, row-major.
    ///
    /// # Errors
    /// When the rows are none, ragged, not finite, or not of length 1.
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

    /// The width of a row, for making another one of it.
    pub fn width(&self) -> NonZeroUsize {
        self.dim
    }

    /// Its last rows, at most `n` and at least one.
    #[must_use]
    pub fn tail(&self, n: usize) -> Self {
        let n = n.clamp(1, self.len());
        Self {
            rows: self.rows[self.rows.len() - n * self.dim()..].to_vec(),
            dim: self.dim,
        }
    }

    /// Its rows and then those of another of the same width.
    ///
    /// # Panics
    /// When the widths differ.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        assert_eq!(self.dim, other.dim, "rows of another width");
        Self {
            rows: [self.as_slice(), other.as_slice()].concat(),
            dim: self.dim,
        }
    }

    /// The same rows rounded to what f16 can hold. Done once, before any store sees them, so that all stores agree.
    #[must_use]
    pub fn rounded_to_f16(mut self) -> Self {
        for value in &mut self.rows {
            *value = f16::from_f32(*value).to_f32();
        }
        self
    }
}

/// Late interaction: the sum over query rows of the best dot product with any page row.
/// ColBERT (Khattab & Zaharia 2020), eq. 3. This is the plain definition; stores may own faster ones that must equal it.
///
/// # Panics
/// When the widths differ; stores compare profiles before they come here.
pub fn max_sim(query: &MultiVector, page: &MultiVector) -> f32 {
    assert_eq!(query.dim(), page.dim(), "a query of another model");
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

/// A page as a model saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct PageVectors {
    /// The rows.
    pub vectors: MultiVector,
    /// The cell of each row; `places.cells().len() == vectors.len()`.
    pub places: PatchMap,
}

/// What made the vectors: two profiles with the same id may share a collection, others never.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Short hex digest of model config, prompts, pixel budget and weights, and the pool factor; never of device or dtype.
    pub id: String,
    /// The model's name for people, such as `built-in` or `vidore/colqwen2.5-v0.2`.
    pub model: String,
    /// The width of a vector.
    pub dim: u32,
    /// By how much the rows of pages were pooled ([`crate::pooling`]); 1: not at all.
    #[serde(default = "unpooled", skip_serializing_if = "is_unpooled")]
    pub pool_factor: u32,
}

fn unpooled() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_unpooled(factor: &u32) -> bool {
    *factor == unpooled()
}

impl Profile {
    /// The profile of the same vectors, pooled by `factor`.
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
    fn only_whole_finite_unit_rows_pass() {
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
    fn rows_are_cut_and_joined() {
        let page = MultiVector::new(vec![1.0, 0.0, 0.6, 0.8], TWO).unwrap();
        assert_eq!(page.tail(1).as_slice(), [0.6, 0.8]);
        assert_eq!(page.tail(9), page);
        assert_eq!(
            page.with(&page.tail(1)).as_slice(),
            [1.0, 0.0, 0.6, 0.8, 0.6, 0.8]
        );
    }

    #[test]
    fn max_sim_by_hand() {
        let page = MultiVector::new(vec![1.0, 0.0, 0.6, 0.8], TWO).unwrap();
        let query = MultiVector::new(vec![0.0, 1.0, 1.0, 0.0], TWO).unwrap();
        assert!((max_sim(&query, &page) - 1.8).abs() < 1e-6);
    }
}
