//! Hierarchical token pooling: a page of fewer rows, each the mean of rows that resemble each other.
//!
//! What `HierarchicalTokenPooler` of colpali-engine 0.3.18 does (`compression/token_pooling/hierarchical_token_pooling.py`),
//! number by number (`tests/pooling.rs`): the rows of `1 - V Vᵀ` are points, Ward's linkage joins them, the tree is cut
//! into `n / factor` clusters, and the mean of each is brought to length 1.

use kodama::{Dendrogram, Method, linkage};
use rayon::prelude::*;

use crate::vectors::{MultiVector, PageVectors, ShapeError};

/// A mean shorter than this has no direction: its rows point away from each other.
const NO_LENGTH: f32 = 1e-6;
/// A pivot below this is rounding.
const NO_DIRECTION: f64 = 1e-7;

/// Pools the rows of a page by `factor`; with 1, or a single row, they stay as they are.
///
/// A pooled row takes the place of its first row that has one. Rows come in the order of the first row of each.
///
/// # Errors
/// None for the rows of a [`MultiVector`]; what is made is checked like one.
pub fn pool(page: &PageVectors, factor: u32) -> Result<PageVectors, ShapeError> {
    let rows: Vec<&[f32]> = page.vectors.rows().collect();
    if factor <= 1 || rows.len() == 1 {
        return Ok(page.clone());
    }
    let clusters = clusters(&rows, (rows.len() / factor as usize).max(1));
    let floats = clusters.iter().flat_map(|members| mean(&rows, members));
    Ok(PageVectors {
        vectors: MultiVector::new(floats.collect(), page.vectors.width())?,
        places: page.places.merged(&clusters),
    })
}

/// Cuts rows into at most `most` clusters; rows of each in their order, clusters in the order of their first row.
fn clusters(rows: &[&[f32]], most: usize) -> Vec<Vec<usize>> {
    let n = rows.len();
    let tree = linkage(&mut distances(rows), n, Method::Ward);
    let root = roots(&tree, most);
    let mut found: Vec<Vec<usize>> = Vec::new();
    let mut number = vec![None; 2 * n];
    for (row, &root) in root.iter().enumerate().take(n) {
        let cluster = *number[root].get_or_insert_with(|| {
            found.push(Vec::new());
            found.len() - 1
        });
        found[cluster].push(row);
    }
    found
}

/// The cluster that each row belongs to when the tree is cut into at most `most`; scipy's `fcluster`, `maxclust`: steps of
/// equal height are taken together.
fn roots(tree: &Dendrogram<f64>, most: usize) -> Vec<usize> {
    let n = tree.observations();
    let steps = tree.steps();
    let last = steps[n - most - 1].dissimilarity;
    let mut root: Vec<usize> = (0..n + steps.len()).collect();
    // From the top: what a step joins belongs where the step belongs.
    for (i, step) in steps.iter().enumerate().rev() {
        if step.dissimilarity <= last {
            root[step.cluster1] = root[n + i];
            root[step.cluster2] = root[n + i];
        }
    }
    root
}

/// The Euclidean distances between the rows of `1 - V Vᵀ`, upper triangle, row by row, in f64 as scipy has them.
///
/// Two such rows differ by `(a - b) Vᵀ`, whose length is that of `(a - b) L` where `Vᵀ V = L Lᵀ`: the same distances
/// between points of as many dimensions as a vector has, not as many as there are vectors.
fn distances(rows: &[&[f32]]) -> Vec<f64> {
    let points = points(rows);
    let points = &points;
    let to_later = |i: usize| {
        let to = move |j: usize| squares(&points[i], &points[j]).sqrt();
        (i + 1..points.len()).map(to)
    };
    (0..rows.len())
        .into_par_iter()
        .flat_map_iter(to_later)
        .collect()
}

/// `V L`.
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

/// The lower triangle of `Vᵀ V`.
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

/// `L`, lower triangle, of a matrix that is `L Lᵀ`; a direction that no row has is left out.
fn cholesky(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for a in 0..matrix.len() {
        for b in 0..=a {
            let (above, rest) = matrix.split_at_mut(a);
            let row = &mut rest[0];
            let done = above.get(b).map_or(&row[..b], |other| &other[..b]);
            let left = row[b] - row.iter().zip(done).map(|(x, y)| x * y).sum::<f64>();
            row[b] = match above.get(b) {
                None => left.max(0.0).sqrt(),
                Some(other) if other[b] > NO_DIRECTION => left / other[b],
                Some(_) => 0.0,
            };
        }
    }
    matrix
}

/// The squared distance of two points, in eight sums that a processor adds side by side.
fn squares(a: &[f64], b: &[f64]) -> f64 {
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

/// The mean of some rows, of length 1; the first of them where they have no common direction.
fn mean(rows: &[&[f32]], members: &[usize]) -> Vec<f32> {
    let mut mean = vec![0.0; rows[members[0]].len()];
    for &row in members {
        mean.iter_mut().zip(rows[row]).for_each(|(m, v)| *m += v);
    }
    let count = members.len() as f32;
    mean.iter_mut().for_each(|m| *m /= count);
    let length = mean.iter().map(|m| m * m).sum::<f32>().sqrt();
    if length < NO_LENGTH {
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
            places: PatchMap::new(3, 2, cells.to_vec(), cells.len()).unwrap(),
        }
    }

    #[test]
    fn alike_rows_become_their_mean() {
        let seen = page(
            &[1.0, 0.0, 0.0, 1.0, 0.8, 0.6, 0.0, 1.0],
            &[PatchMap::NOWHERE, 4, 2, 1],
        );
        let pooled = pool(&seen, 2).unwrap();
        let length = (1.8_f32 * 1.8 + 0.6 * 0.6).sqrt();
        let expected = [1.8 / length, 0.6 / length, 0.0, 1.0];
        assert_eq!(pooled.vectors.len(), 2);
        for (found, expected) in pooled.vectors.as_slice().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6);
        }
        assert_eq!(pooled.places.cells(), [2, 4]);
    }

    #[test]
    fn equal_rows_are_taken_together_and_opposite_ones_keep_a_direction() {
        let flat = page(&[1.0, 0.0].repeat(6), &[0, 1, 2, 3, 4, 5]);
        assert_eq!(pool(&flat, 2).unwrap().vectors.len(), 1);
        let opposite = page(&[1.0, 0.0, -1.0, 0.0], &[0, 1]);
        assert_eq!(pool(&opposite, 2).unwrap().vectors.as_slice(), [1.0, 0.0]);
        assert_eq!(pool(&opposite, 1).unwrap(), opposite);
        let single = page(&[0.0, 1.0], &[3]);
        assert_eq!(pool(&single, 4).unwrap(), single);
    }
}
