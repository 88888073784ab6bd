//! Window index: the order in which the vision tower processes visual tokens, window by window, and its inverse.
//!
//! Windows do not attend to each other, so their order is free. Those of one size are adjacent here, so that each size is
//! one batched product; the reference orders them row by row. Tokens are put back into reading order at the end.

use crate::patch::{self, PatchGrid};

/// The order of the visual tokens of an image, and the lengths of its windows.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowIndex {
    /// Indices of visual tokens, in the order of the tower.
    pub order: Vec<u32>,
    /// Lengths of the windows, in patches, in the same order.
    pub window_lens: Vec<usize>,
}

impl WindowIndex {
    /// Computes the window index of a grid with windows of `side` x `side` visual tokens; `None`: one window for the whole image.
    pub fn new(grid: PatchGrid, side: Option<usize>) -> Self {
        let merge = grid.merge as usize;
        let (rows, columns) = (grid.rows as usize / merge, grid.columns as usize / merge);
        let side = side.unwrap_or(rows.max(columns)).max(1);
        let mut windows: Vec<Vec<u32>> = Vec::new();
        for top in (0..rows).step_by(side) {
            for left in (0..columns).step_by(side) {
                let (bottom, right) = ((top + side).min(rows), (left + side).min(columns));
                let line = |y: usize| (left..right).map(move |x| (y * columns + x) as u32);
                windows.push((top..bottom).flat_map(line).collect());
            }
        }
        windows.sort_by_key(|window| std::cmp::Reverse(window.len()));
        Self {
            window_lens: windows.iter().map(|w| w.len() * merge * merge).collect(),
            order: windows.concat(),
        }
    }

    /// For each visual token of several images, in reading order, its row in their concatenated window indices.
    pub fn inverse<'a>(window_indices: impl Iterator<Item = &'a Self>) -> Vec<u32> {
        let mut inverse = Vec::new();
        for Self { order, .. } in window_indices {
            let start = inverse.len();
            inverse.resize(start + order.len(), 0);
            for (row, &token) in order.iter().enumerate() {
                inverse[start + token as usize] = (start + row) as u32;
            }
        }
        inverse
    }

    /// The rotary angles of each patch, `head_dim / 2` of them: the first half by its row, the second by its column.
    pub fn rotary_angles(&self, grid: PatchGrid, head_dim: usize) -> Vec<f32> {
        let axis = head_dim / 4;
        let frequency = |i: usize| 1.0 / 10_000f32.powf(i as f32 / axis as f32);
        let frequencies: Vec<f32> = (0..axis).map(frequency).collect();
        let patches: Vec<(usize, usize)> = patch::order(grid).collect();
        let unit = (grid.merge * grid.merge) as usize;
        let mut angles = Vec::with_capacity(patches.len() * axis * 2);
        for &token in &self.order {
            for &(row, column) in &patches[token as usize * unit..][..unit] {
                angles.extend(frequencies.iter().map(|f| row as f32 * f));
                angles.extend(frequencies.iter().map(|f| column as f32 * f));
            }
        }
        angles
    }
}

/// The learned position embedding of each patch, in patch order: four rows of a table of `side` x `side` and their weights
/// (bilinear interpolation, aligned corners).
pub fn interpolated_pos_embed(
    grid: PatchGrid,
    side: usize,
) -> impl Iterator<Item = [(u32, f32); 4]> {
    let last = side.saturating_sub(1);
    let interpolate = move |index: usize, count: u32| {
        let steps = (count as usize).saturating_sub(1).max(1);
        let position = index as f32 * last as f32 / steps as f32;
        let before = (position as usize).min(last);
        (before, (before + 1).min(last), position - before as f32)
    };
    patch::order(grid).map(move |(row, column)| {
        let (top, bottom, down) = interpolate(row, grid.rows);
        let (left, right, across) = interpolate(column, grid.columns);
        let entry = |y: usize, x: usize| (y * side + x) as u32;
        [
            (entry(top, left), (1.0 - down) * (1.0 - across)),
            (entry(top, right), (1.0 - down) * across),
            (entry(bottom, left), down * (1.0 - across)),
            (entry(bottom, right), down * across),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(rows: u32, columns: u32) -> PatchGrid {
        PatchGrid {
            rows,
            columns,
            merge: 2,
        }
    }

    #[test]
    fn windows_of_one_size_are_adjacent() {
        let window_index = WindowIndex::new(grid(4, 6), Some(2));
        assert_eq!(window_index.window_lens, [16, 8]);
        assert_eq!(window_index.order, [0, 1, 3, 4, 2, 5]);
        let a4 = WindowIndex::new(grid(64, 46), Some(4));
        assert_eq!(a4.window_lens.len(), 8 * 6);
        assert_eq!(a4.window_lens.iter().sum::<usize>(), 64 * 46);
        assert_eq!((a4.window_lens[39], a4.window_lens[40]), (64, 48));
    }

    #[test]
    fn pos_embed_is_interpolated_over_the_grid() {
        let all: Vec<_> = interpolated_pos_embed(grid(2, 4), 7).collect();
        // Patches are ordered two by two: the third one begins the second row.
        assert_eq!(all[0][0], (0, 1.0));
        assert_eq!(all[1].map(|(entry, _)| entry), [2, 3, 9, 10]);
        assert_eq!(all[2][0], (42, 1.0));
        assert_eq!(all[7][0], (48, 1.0));
        let halfway: Vec<_> = interpolated_pos_embed(grid(2, 4), 4).collect();
        assert_eq!(halfway[1][0], (1, 1.0));
        let odd: Vec<_> = interpolated_pos_embed(grid(2, 6), 4).collect();
        assert_eq!(odd[1].map(|(entry, _)| entry), [0, 1, 4, 5]);
        let weights = odd[1].map(|(_, weight)| weight);
        assert!(
            (weights[1] - 0.6).abs() < 1e-6 && weights[2] == 0.0,
            "{weights:?}"
        );
    }

    #[test]
    fn without_windows_tokens_stay_in_reading_order() {
        let window_index = WindowIndex::new(grid(4, 6), None);
        assert_eq!(
            (window_index.order, window_index.window_lens),
            ((0..6).collect(), vec![24])
        );
    }
}
