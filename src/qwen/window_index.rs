//! In which order the vision tower reads a page: window by window.
//!
//! Windows do not see each other, so their order is free. We put those of one size side by side, so that each size is
//! one batched product; the reference reads them row by row. Tokens are put back into reading order at the end.

use crate::patch::{self, PatchGrid};

/// The order of the visual tokens of a page, and its windows.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowIndex {
    /// Visual tokens in the order of the tower.
    pub order: Vec<u32>,
    /// Lengths of the windows in patches, in that order.
    pub windows: Vec<usize>,
}

impl WindowIndex {
    /// The layout of a grid under windows of `side` x `side` visual tokens; none is one window for the whole page.
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
            windows: windows.iter().map(|w| w.len() * merge * merge).collect(),
            order: windows.concat(),
        }
    }

    /// For each visual token of pages in reading order, its row where these layouts stand one behind the other.
    pub fn inverse<'a>(window_indices: impl Iterator<Item = &'a Self>) -> Vec<u32> {
        let mut back = Vec::new();
        for Self { order, .. } in window_indices {
            let start = back.len();
            back.resize(start + order.len(), 0);
            for (row, &token) in order.iter().enumerate() {
                back[start + token as usize] = (start + row) as u32;
            }
        }
        back
    }

    /// The rotary angles of each patch, `head / 2` of them: the first half by its row, the second by its column.
    pub fn rotary_angles(&self, grid: PatchGrid, head: usize) -> Vec<f32> {
        let axis = head / 4;
        let frequency = |i: usize| 1.0 / 10_000f32.powf(i as f32 / axis as f32);
        let frequencies: Vec<f32> = (0..axis).map(frequency).collect();
        let places: Vec<(usize, usize)> = patch::order(grid).collect();
        let unit = (grid.merge * grid.merge) as usize;
        let mut angles = Vec::with_capacity(places.len() * axis * 2);
        for &token in &self.order {
            for &(row, column) in &places[token as usize * unit..][..unit] {
                angles.extend(frequencies.iter().map(|f| row as f32 * f));
                angles.extend(frequencies.iter().map(|f| column as f32 * f));
            }
        }
        angles
    }
}

/// The learnt places of each patch of a page, in its order: rows of a table of `side` x `side` that is stretched over the
/// page, and their shares (bilinear, corners on corners).
pub fn interpolated_pos_embed(
    grid: PatchGrid,
    side: usize,
) -> impl Iterator<Item = [(u32, f32); 4]> {
    let last = side.saturating_sub(1);
    let along = move |at: usize, count: u32| {
        let steps = (count as usize).saturating_sub(1).max(1);
        let place = at as f32 * last as f32 / steps as f32;
        let before = (place as usize).min(last);
        (before, (before + 1).min(last), place - before as f32)
    };
    patch::order(grid).map(move |(row, column)| {
        let (top, bottom, down) = along(row, grid.rows);
        let (left, right, across) = along(column, grid.columns);
        let at = |y: usize, x: usize| (y * side + x) as u32;
        [
            (at(top, left), (1.0 - down) * (1.0 - across)),
            (at(top, right), (1.0 - down) * across),
            (at(bottom, left), down * (1.0 - across)),
            (at(bottom, right), down * across),
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
    fn windows_of_one_size_stand_together() {
        let window_index = WindowIndex::new(grid(4, 6), Some(2));
        assert_eq!(window_index.windows, [16, 8]);
        assert_eq!(window_index.order, [0, 1, 3, 4, 2, 5]);
        let a4 = WindowIndex::new(grid(64, 46), Some(4));
        assert_eq!(a4.windows.len(), 8 * 6);
        assert_eq!(a4.windows.iter().sum::<usize>(), 64 * 46);
        assert_eq!((a4.windows[39], a4.windows[40]), (64, 48));
    }

    #[test]
    fn learnt_places_are_stretched_over_the_page() {
        let all: Vec<_> = interpolated_pos_embed(grid(2, 4), 7).collect();
        // Patches stand two by two: the third one begins the second row.
        assert_eq!(all[0][0], (0, 1.0));
        assert_eq!(all[1].map(|(at, _)| at), [2, 3, 9, 10]);
        assert_eq!(all[2][0], (42, 1.0));
        assert_eq!(all[7][0], (48, 1.0));
        let halfway: Vec<_> = interpolated_pos_embed(grid(2, 4), 4).collect();
        assert_eq!(halfway[1][0], (1, 1.0));
        let odd: Vec<_> = interpolated_pos_embed(grid(2, 6), 4).collect();
        assert_eq!(odd[1].map(|(at, _)| at), [0, 1, 4, 5]);
        let shares = odd[1].map(|(_, share)| share);
        assert!(
            (shares[1] - 0.6).abs() < 1e-6 && shares[2] == 0.0,
            "{shares:?}"
        );
    }

    #[test]
    fn without_windows_tokens_stay_in_reading_order() {
        let window_index = WindowIndex::new(grid(4, 6), None);
        assert_eq!(
            (window_index.order, window_index.windows),
            ((0..6).collect(), vec![24])
        );
    }
}
