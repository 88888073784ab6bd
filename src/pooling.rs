//! Hierarchical token pooling: clusters the rows of a page and replaces each cluster by its normalised mean.
//!
//! Equals `HierarchicalTokenPooler` of colpali-engine 0.3.18
//! (`compression/token_pooling/hierarchical_token_pooling.py`) number by number (`tests/pooling.rs`): the rows of
//! `1 - V Vᵀ` are points, Ward linkage merges them, the dendrogram is cut into `n / factor` clusters, and the mean of
//! each is scaled to length 1.

use kodama::{Dendrogram, Method, linkage};
use rayon::prelude::*;

use crate::vectors::{MultiVector, PageVectors, ShapeError};

/// A shorter mean has no meaningful direction: its rows cancel out.
const MIN_LENGTH: f32 = 1e-6;
/// A smaller Cholesky pivot is rounding error.
const MIN_PIVOT: f64 = 1e-7;

/// Pools the rows of a page by `factor`; a factor of 1, or a single row, returns them unchanged.
///
/// A pooled row gets the first cell among its members. Pooled rows are ordered by their first member.
///
/// # Errors
/// None for the rows of a [`MultiVector`]; the pooled rows are checked like any others.
pub fn pool(page: &PageVectors, factor: u32) -> Result<PageVectors, ShapeError> {
    let rows: Vec<&[f32]> = page.vectors.rows().collect();
    if factor <= 1 || rows.len() == 1 {
        return Ok(page.clone());
    }
    let clusters = clusters(&rows, (rows.len() / factor as usize).max(1));
    let floats = clusters.iter().flat_map(|members| mean(&rows, members));
    Ok(PageVectors {
        vectors: MultiVector::new(floats.collect(), page.vectors.width())?,
        patches: page.patches.merged(&clusters),
    })
}

/// Partitions rows into at most `max` clusters; rows ascend within a cluster, clusters are ordered by their first row.
fn clusters(rows: &[&[f32]], max: usize) -> Vec<Vec<usize>> {
    let n = rows.len();
    let tree = linkage(&mut distances(rows), n, Method::Ward);
    let root = roots(&tree, max);
    let mut clusters: Vec<Vec<usize>> = Vec::new();
    let mut cluster_of_root = vec![None; 2 * n];
    for (row, &root) in root.iter().enumerate().take(n) {
        let cluster = *cluster_of_root[root].get_or_insert_with(|| {
            clusters.push(Vec::new());
            clusters.len() - 1
        });
        clusters[cluster].push(row);
    }
    clusters
}

/// Root of each row when the dendrogram is cut into at most `max` clusters; as scipy's `fcluster` with `maxclust`:
/// merges of equal height are applied together.
fn roots(tree: &Dendrogram<f64>, max: usize) -> Vec<usize> {
    let n = tree.observations();
    let steps = tree.steps();
    let threshold = steps[n - max - 1].dissimilarity;
    let mut root: Vec<usize> = (0..n + steps.len()).collect();
    // Top down: the children of an applied merge inherit its root.
    for (i, step) in steps.iter().enumerate().rev() {
        if step.dissimilarity <= threshold {
            root[step.cluster1] = root[n + i];
            root[step.cluster2] = root[n + i];
        }
    }
    root
}

/// Condensed distance matrix: Euclidean distances between the rows of `1 - V Vᵀ`, upper triangle by rows, f64 as scipy.
///
/// Two such rows differ by `(a - b) Vᵀ`, which has the length of `(a - b) L` where `Vᵀ V = L Lᵀ`: the same distances,
/// between points with as many dimensions as a vector has instead of one per vector.
fn distances(rows: &[&[f32]]) -> Vec<f64> {
    let points = points(rows);
    let points = &points;
    let to_later = |i: usize| {
        let to = move |j: usize| squared_distance(&points[i], &points[j]).sqrt();
        (i + 1..points.len()).map(to)
    };
    (0..rows.len())
        .into_par_iter()
        .flat_map_iter(to_later)
        .collect()
}

/// Rows of `V L`.
fn points(rows: &[&[f32]]) -> Vec<Vec<f64>> {
    let lower = cholesky(gram(rows));
    let point = |row: &&[f32]| {
        let mut point = vec![0.0; row.len()];
        for (&value, lower) in row.iter().zip(&lower) {
            for (p, l) in point.iter_mut().zip(lower) {
                *p += f64::from(value) * l;
            }
        }
        point
    };
    rows.par_iter().map(point).collect()
}

/// Gram matrix `Vᵀ V`, lower triangle.
fn gram(rows: &[&[f32]]) -> Vec<Vec<f64>> {
    let column = |a: usize| {
        let mut sums = vec![0.0; a + 1];
        for row in rows {
            let value = f64::from(row[a]);
            for (sum, &other) in sums.iter_mut().zip(*row) {
                *sum += value * f64::from(other);
            }
        }
        sums
    };
    (0..rows[0].len()).into_par_iter().map(column).collect()
}

/// Cholesky factor `L` of `L Lᵀ`, lower triangle; columns of a (nearly) zero pivot are 0.
fn cholesky(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for a in 0..matrix.len() {
        for b in 0..=a {
            let (above, rest) = matrix.split_at_mut(a);
            let row = &mut rest[0];
            let done = above.get(b).map_or(&row[..b], |other| &other[..b]);
            let left = row[b] - row.iter().zip(done).map(|(x, y)| x * y).sum::<f64>();
            row[b] = match above.get(b) {
                None => left.max(0.0).sqrt(),
                Some(other) if other[b] > MIN_PIVOT => left / other[b],
                Some(_) => 0.0,
            };
        }
    }
    matrix
}

/// Squared Euclidean distance, accumulated in eight sums for SIMD.
fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += (a[lane] - b[lane]) * (a[lane] - b[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(x, y)| (x - y) * (x - y));
    sums.into_iter().chain(rest).sum()
}

/// Mean of some rows, normalised to length 1; the first of them if the mean is too short.
fn mean(rows: &[&[f32]], members: &[usize]) -> Vec<f32> {
    let mut mean = vec![0.0; rows[members[0]].len()];
    for &row in members {
        mean.iter_mut().zip(rows[row]).for_each(|(m, v)| *m += v);
    }
    let count = members.len() as f32;
    mean.iter_mut().for_each(|m| *m /= count);
    let length = mean.iter().map(|m| m * m).sum::<f32>().sqrt();
    if length < MIN_LENGTH {
        return rows[members[0]].to_vec();
    }
    mean.iter_mut().for_each(|m| *m /= length);
    mean
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::vectors::PatchMap;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    fn page(rows: &[f32], cells: &[u16]) -> PageVectors {
        PageVectors {
            vectors: MultiVector::new(rows.to_vec(), TWO).unwrap(),
            patches: PatchMap::new(3, 2, cells.to_vec(), cells.len()).unwrap(),
        }
    }

    #[test]
    fn similar_rows_become_their_mean() {
        let page = page(
            &[1.0, 0.0, 0.0, 1.0, 0.8, 0.6, 0.0, 1.0],
            &[PatchMap::NO_CELL, 4, 2, 1],
        );
        let pooled = pool(&page, 2).unwrap();
        let length = (1.8_f32 * 1.8 + 0.6 * 0.6).sqrt();
        let expected = [1.8 / length, 0.6 / length, 0.0, 1.0];
        assert_eq!(pooled.vectors.len(), 2);
        for (found, expected) in pooled.vectors.as_slice().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6);
        }
        assert_eq!(pooled.patches.cells(), [2, 4]);
    }

    #[test]
    fn equal_rows_merge_and_opposite_rows_become_the_first() {
        let flat = page(&[1.0, 0.0].repeat(6), &[0, 1, 2, 3, 4, 5]);
        assert_eq!(pool(&flat, 2).unwrap().vectors.len(), 1);
        let opposite = page(&[1.0, 0.0, -1.0, 0.0], &[0, 1]);
        assert_eq!(pool(&opposite, 2).unwrap().vectors.as_slice(), [1.0, 0.0]);
        assert_eq!(pool(&opposite, 1).unwrap(), opposite);
        let single = page(&[0.0, 1.0], &[3]);
        assert_eq!(pool(&single, 4).unwrap(), single);
    }
}
