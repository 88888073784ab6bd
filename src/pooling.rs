//! Hierarchical token pooling: a page of fewer rows, each the mean of rows that resemble each other.
//!
//! What `HierarchicalTokenPooler` of colpali-engine 0.3.18 does (`compression/token_pooling/hierarchical_token_pooling.py`),
//! number by number (`tests/pooling.rs`): the rows of `1 - V Vᵀ` are points, Ward's linkage joins them, the tree is cut
//! into `n / factor` clusters, and the mean of each is brought to length 1.

use kodama::{Dendrogram, Method, linkage};
use rayon::prelude::*;

use crate::vectors::{MultiVector, PageVectors, PatchMap, ShapeError};

/// A mean shorter than this has no direction: its rows point away from each other.
const NO_LENGTH: f32 = 1e-6;

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
    let (mut floats, mut cells) = (Vec::new(), Vec::new());
    for members in clusters(&rows, (rows.len() / factor as usize).max(1)) {
        floats.extend(mean(&rows, &members));
        let place = members.iter().map(|&row| page.places.cells[row]);
        let mut placed = place.filter(|&cell| cell != PatchMap::NOWHERE);
        cells.push(placed.next().unwrap_or(PatchMap::NOWHERE));
    }
    Ok(PageVectors {
        vectors: MultiVector::new(floats, page.vectors.width())?,
        places: PatchMap {
            cells,
            ..page.places
        },
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

/// The Euclidean distances between the rows of `1 - V Vᵀ`, upper triangle, row by row. The matrix is rounded to f32, as
/// torch has it; distances are f64, as scipy has them.
fn distances(rows: &[&[f32]]) -> Vec<f64> {
    let wide: Vec<Vec<f64>> = rows
        .iter()
        .map(|row| row.iter().copied().map(f64::from).collect())
        .collect();
    let unlike = |a: &Vec<f64>| -> Vec<f64> {
        let one = |b: &Vec<f64>| f64::from(1.0 - sum(a, b, |x, y| x * y) as f32);
        wide.iter().map(one).collect()
    };
    let points: Vec<Vec<f64>> = wide.par_iter().map(unlike).collect();
    let points = &points;
    let to_later = |i: usize| {
        let to = move |j: usize| sum(&points[i], &points[j], |x, y| (x - y) * (x - y)).sqrt();
        (i + 1..points.len()).map(to)
    };
    (0..rows.len())
        .into_par_iter()
        .flat_map_iter(to_later)
        .collect()
}

/// `Σ of(a, b)`, in eight sums that a processor adds side by side.
fn sum(a: &[f64], b: &[f64], of: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += of(a[lane], b[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(&x, &y)| of(x, y));
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

    const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    fn page(rows: &[f32], cells: &[u16]) -> PageVectors {
        PageVectors {
            vectors: MultiVector::new(rows.to_vec(), TWO).unwrap(),
            places: PatchMap {
                columns: 3,
                rows: 2,
                cells: cells.to_vec(),
            },
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
        assert_eq!(pooled.places.cells, [2, 4]);
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
