//! MaxSim kernels over stored pages: f16, int8 or 1-bit rows, scored in place without a copy.
//!
//! Equal to [`crate::vectors::max_sim`], the plain definition, up to the order of additions.

use super::Precision;
use super::kernel::{Blocks, Isa};
use crate::vectors::{MultiVector, TextQuery};

/// A query in the memory layout of the fastest kernel of this machine.
#[derive(Clone, Debug)]
pub struct PreparedQuery {
    blocks: Blocks,
}

/// Error: the bytes are not whole rows of the query's width.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{bytes} bytes are not whole rows of width {dim} in {}", .precision.name())]
pub struct RowError {
    bytes: usize,
    dim: usize,
    precision: Precision,
}

impl PreparedQuery {
    /// Lays out a query.
    pub fn new(query: &MultiVector) -> Self {
        Self::for_isa(Isa::best(), query)
    }

    /// Lays out a query whose rows have weights: a score is the weighted sum of its rows' maxima. A weight of 0 leaves the
    /// row out.
    pub fn weighted(query: &TextQuery, weights: &[f32]) -> Self {
        let rows = query
            .vectors
            .rows()
            .zip(weights)
            .filter(|(_, weight)| **weight > 0.0);
        let scaled = rows.flat_map(|(row, weight)| row.iter().map(move |value| value * weight));
        let scaled: Vec<f32> = scaled.collect();
        Self {
            blocks: Blocks::new(Isa::best(), &scaled, query.vectors.dim()),
        }
    }

    fn for_isa(isa: Isa, query: &MultiVector) -> Self {
        Self {
            blocks: Blocks::new(isa, query.as_slice(), query.dim()),
        }
    }

    /// The name of the kernel, such as `avx2`.
    pub fn kernel(&self) -> &'static str {
        self.blocks.isa().name()
    }

    /// MaxSim score of a page, whose rows are concatenated as by [`Precision::encode`].
    ///
    /// # Errors
    /// [`RowError`] if the bytes are not one or more whole rows.
    pub fn score(&self, page: &[u8], precision: Precision) -> Result<f32, RowError> {
        let dim = self.blocks.dim();
        if page.is_empty() || !page.len().is_multiple_of(precision.row_bytes(dim)) {
            return Err(RowError {
                bytes: page.len(),
                dim,
                precision,
            });
        }
        Ok(self.blocks.score(page, precision))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::vectors::max_sim;

    /// Pseudo-random unit rows, deterministic by seed.
    fn rows(n: usize, dim: usize, seed: u64) -> MultiVector {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let mut all = Vec::new();
        for _ in 0..n {
            let row: Vec<f32> = (0..dim).map(|_| next()).collect();
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            all.extend(row.iter().map(|v| v / length));
        }
        MultiVector::new(all, NonZeroUsize::new(dim).unwrap())
            .unwrap()
            .rounded_to_f16()
    }

    #[test]
    fn kernels_equal_the_reference_max_sim() {
        for isa in Isa::all() {
            for (queries, pages, dim) in [
                (1, 1, 1),
                (20, 768, 128),
                (13, 17, 320),
                (7, 16, 5),
                (25, 33, 24),
                (64, 31, 9),
            ] {
                let query = rows(queries, dim, 1);
                let page = rows(pages, dim, 2);
                for precision in Precision::ALL {
                    let bytes = precision.encode(&page);
                    let decoded =
                        MultiVector::new(precision.decode(&bytes, dim), page.width()).unwrap();
                    let score = PreparedQuery::for_isa(isa, &query)
                        .score(&bytes, precision)
                        .unwrap();
                    let expected = max_sim(&query, &decoded);
                    assert!(
                        (score - expected).abs() < 1e-4,
                        "{}, {}: {queries} x {pages} x {dim}: {score}, not {expected}",
                        isa.name(),
                        precision.name()
                    );
                }
            }
        }
    }

    #[test]
    fn incomplete_rows_are_rejected() {
        let query = PreparedQuery::new(&rows(2, 4, 1));
        let precision = Precision::F16;
        assert!(query.score(&[0; 16], precision).is_ok());
        for bytes in [0, 7, 12] {
            let error = RowError {
                bytes,
                dim: 4,
                precision,
            };
            assert_eq!(query.score(&vec![0; bytes], precision), Err(error));
        }
        assert!(query.score(&[0; 16], Precision::Int8).is_err());
        assert!(query.score(&[0; 12], Precision::Int8).is_ok());
    }
}
