//! MaxSim kernels over stored pages: f16, int8 or 1-bit rows, scored in place without a copy.
//!
//! [`PreparedQuery::score`] is equal to [`crate::vectors::max_sim`], the plain definition, up to the order of additions.
//! [`PreparedQuery::estimate`] is faster and close to it: it selects the pages that are worth a score.

use super::Precision;
use super::kernel::integer::{self, IntegerBlocks};
use super::kernel::{Blocks, Isa};
use crate::vectors::{MultiVector, TextQuery};

/// A query in the memory layout of the fastest kernel of this machine.
#[derive(Clone, Debug)]
pub struct PreparedQuery {
    blocks: Blocks,
    /// The quantised query for int8 rows, if this machine has integer dot products.
    integers: Option<IntegerBlocks>,
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
        Self::for_isa(Isa::best(), integer::Isa::best(), query)
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
            integers: None,
        }
    }

    fn for_isa(isa: Isa, integer_isa: Option<integer::Isa>, query: &MultiVector) -> Self {
        let (values, dim) = (query.as_slice(), query.dim());
        Self {
            blocks: Blocks::new(isa, values, dim),
            integers: integer_isa.map(|isa| IntegerBlocks::new(isa, values, dim)),
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
        self.check(page, precision)?;
        Ok(self.blocks.score(page, precision))
    }

    /// Whether [`Self::estimate`] is faster than [`Self::score`].
    pub fn has_estimate(&self, precision: Precision) -> bool {
        precision == Precision::Int8 && self.integers.is_some()
    }

    /// MaxSim score of a page by the fastest arithmetic of this machine. If the rows are int8 it quantises the query, too:
    /// each query row adds an error of at most `√dim / 254` times its largest value, typically a hundredth of that. Otherwise
    /// equal to [`Self::score`].
    ///
    /// # Errors
    /// [`RowError`] if the bytes are not one or more whole rows.
    pub fn estimate(&self, page: &[u8], precision: Precision) -> Result<f32, RowError> {
        match &self.integers {
            Some(integers) if precision == Precision::Int8 => {
                self.check(page, precision)?;
                Ok(integers.score(page))
            }
            _ => self.score(page, precision),
        }
    }

    fn check(&self, page: &[u8], precision: Precision) -> Result<(), RowError> {
        let dim = self.blocks.dim();
        match page.is_empty() || !page.len().is_multiple_of(precision.row_bytes(dim)) {
            true => Err(RowError {
                bytes: page.len(),
                dim,
                precision,
            }),
            false => Ok(()),
        }
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
                    let score = PreparedQuery::for_isa(isa, None, &query)
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

    /// The row that an integer kernel multiplies: 127 steps of the same size to each side of 0.
    fn quantized(row: &[f32]) -> Vec<f32> {
        let largest = row.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        let integers = row.iter().map(|v| (v / largest * 127.0).round());
        integers.map(|n| n * largest / 127.0).collect()
    }

    #[test]
    fn integer_kernels_equal_the_reference_max_sim_of_the_quantized_query() {
        for isa in integer::Isa::all() {
            for (queries, pages, dim) in [
                (1, 1, 1),
                (20, 768, 128),
                (13, 17, 320),
                (2, 40, 2560),
                (7, 16, 5),
                (25, 33, 24),
                (64, 31, 150),
            ] {
                let (query, page) = (rows(queries, dim, 1), rows(pages, dim, 2));
                let precision = Precision::Int8;
                let bytes = precision.encode(&page);
                let page = precision.decode(&bytes, dim);
                let best = |query: &[f32]| {
                    let products = page.chunks(dim).map(|page| {
                        let products = query.iter().zip(page);
                        products.map(|(q, p)| f64::from(*q) * f64::from(*p)).sum()
                    });
                    products.fold(f64::NEG_INFINITY, f64::max)
                };
                let exact: f64 = query.rows().map(best).sum();
                let expected: f64 = query.rows().map(|row| best(&quantized(row))).sum();
                let largest = |row: &[f32]| row.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
                let bound = |row| f64::from(largest(row) * (dim as f32).sqrt() / 254.0);
                let bound: f64 = query.rows().map(bound).sum();

                let prepared = PreparedQuery::for_isa(Isa::best(), Some(isa), &query);
                let score = f64::from(prepared.estimate(&bytes, precision).unwrap());
                let shape = format!("{}: {queries} x {pages} x {dim}", isa.name());
                assert!(
                    (score - expected).abs() < 1e-4,
                    "{shape}: {score}, not {expected}"
                );
                // Rows of a page have length 1 up to the rounding of their scale to f16.
                assert!(
                    (score - exact).abs() < 1.001 * bound,
                    "{shape}: {score} for {exact}"
                );
            }
        }
    }

    #[test]
    fn integers_select_the_pages_of_the_best_scores() {
        let dim = 128;
        let pages: Vec<MultiVector> = (0..200).map(|page| rows(20, dim, 100 + page)).collect();
        let precision = Precision::Int8;
        let stored: Vec<Vec<u8>> = pages.iter().map(|page| precision.encode(page)).collect();
        let best = |count: usize, score: &dyn Fn(usize) -> f32| {
            let mut ranked: Vec<(usize, f32)> = (0..pages.len()).map(|i| (i, score(i))).collect();
            ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
            ranked.truncate(count);
            ranked.into_iter().map(|(page, _)| page).collect::<Vec<_>>()
        };
        for isa in integer::Isa::all() {
            let (mut found, mut rescored) = (0, 0);
            for query in 0..50 {
                let query = rows(10, dim, 1000 + query);
                let prepared = PreparedQuery::for_isa(Isa::best(), Some(isa), &query);
                let exact = best(10, &|page| max_sim(&query, &pages[page]));
                let estimate = |page: usize| prepared.estimate(&stored[page], precision).unwrap();
                let count =
                    |list: &[usize]| exact.iter().filter(|page| list.contains(page)).count();
                found += count(&best(10, &estimate));
                rescored += count(&best(100, &estimate));
            }
            // Of 500. Pages of noise differ less than real ones: their best scores by thousandths.
            assert!(found >= 480, "{}: {found}", isa.name());
            assert_eq!(rescored, 500, "{}", isa.name());
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
