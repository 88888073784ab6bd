//! MaxSim over pages as a store keeps them: half floats, or smaller, scored where they lie.
//!
//! Equal to [`crate::vectors::max_sim`], the plain definition, up to the order of additions.

use super::Precision;
use super::kernel::{Blocks, Isa};
use crate::vectors::MultiVector;

/// A query, laid out for the fastest kernel of this machine.
#[derive(Clone, Debug)]
pub struct PreparedQuery {
    blocks: Blocks,
}

/// Bytes that are no rows of the question's width.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{bytes} bytes are no rows of width {dim} in {}", .kept.name())]
pub struct RowError {
    bytes: usize,
    dim: usize,
    kept: Precision,
}

impl PreparedQuery {
    /// Lays out a query.
    pub fn new(query: &MultiVector) -> Self {
        Self::on(Isa::best(), query)
    }

    fn on(isa: Isa, query: &MultiVector) -> Self {
        Self {
            blocks: Blocks::new(isa, query.as_slice(), query.dim()),
        }
    }

    /// The name of the kernel, such as `avx2`.
    pub fn kernel(&self) -> &'static str {
        self.blocks.isa().name()
    }

    /// The score of a page, whose rows lie one after another as [`Precision::encode`] makes them.
    ///
    /// # Errors
    /// When the bytes do not make at least one whole row.
    pub fn score(&self, page: &[u8], kept: Precision) -> Result<f32, RowError> {
        let dim = self.blocks.dim();
        if page.is_empty() || !page.len().is_multiple_of(kept.row_bytes(dim)) {
            return Err(RowError {
                bytes: page.len(),
                dim,
                kept,
            });
        }
        Ok(self.blocks.score(page, kept))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::vectors::max_sim;

    /// Unit rows that look random; the same for the same seed.
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
    fn every_kernel_of_this_machine_equals_the_definition() {
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
                for kept in Precision::ALL {
                    let bytes = kept.encode(&page);
                    let seen = MultiVector::new(kept.decode(&bytes, dim), page.width()).unwrap();
                    let score = PreparedQuery::on(isa, &query).score(&bytes, kept).unwrap();
                    let expected = max_sim(&query, &seen);
                    assert!(
                        (score - expected).abs() < 1e-4,
                        "{}, {}: {queries} x {pages} x {dim}: {score}, not {expected}",
                        isa.name(),
                        kept.name()
                    );
                }
            }
        }
    }

    #[test]
    fn cut_rows_are_refused() {
        let question = PreparedQuery::new(&rows(2, 4, 1));
        let kept = Precision::F16;
        assert!(question.score(&[0; 16], kept).is_ok());
        for bytes in [0, 7, 12] {
            let misfit = RowError {
                bytes,
                dim: 4,
                kept,
            };
            assert_eq!(question.score(&vec![0; bytes], kept), Err(misfit));
        }
        assert!(question.score(&[0; 16], Precision::Int8).is_err());
        assert!(question.score(&[0; 12], Precision::Int8).is_ok());
    }
}
