//! Window index: the order in which the vision tower processes visual tokens, window by window, and its inverse.
//!
//! Windows do not attend to each other, so their order is free. Those of one size are adjacent here, also those of several
//! images, so that each size is one batched product; the reference orders them row by row. Tokens are put back into reading
//! order at the end.

use crate::patch::{self, PatchGrid};

/// The order of the visual tokens of several images in the vision tower, and the lengths of their windows.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowIndex {
    /// Indices of visual tokens, counted through all images, in the order of the tower.
    pub order: Vec<u32>,
    /// Lengths of the windows, in patches, in the same order.
    pub window_lens: Vec<usize>,
    /// Positions in `order`, image by image, the largest image first: the order of full attention.
    pub image_order: Vec<u32>,
    /// Lengths of the images, in patches, in the order of `image_order`.
    pub image_lens: Vec<usize>,
}

/// The visual tokens of a window.
struct Window {
    image: usize,
    tokens: Vec<u32>,
}

impl WindowIndex {
    /// Computes the window index of images with windows of `side` x `side` visual tokens; `None`: one window for each image.
    pub fn new(grids: &[PatchGrid], side: Option<usize>) -> Self {
        let (mut windows, mut first) = (Vec::new(), 0);
        for (image, &grid) in grids.iter().enumerate() {
            let tokens = windows_of(grid, side, first);
            windows.extend(tokens.into_iter().map(|tokens| Window { image, tokens }));
            first += grid.tokens() as u32;
        }
        windows.sort_by_key(|window| std::cmp::Reverse(window.tokens.len()));
        let unit = grids.first().map_or(1, |grid| grid.merge * grid.merge) as usize;

        let mut by_image: Vec<Vec<u32>> = vec![Vec::new(); grids.len()];
        let mut position = 0;
        for Window { image, tokens } in &windows {
            by_image[*image].extend(position..position + tokens.len() as u32);
            position += tokens.len() as u32;
        }
        by_image.sort_by_key(|positions| std::cmp::Reverse(positions.len()));
        Self {
            window_lens: windows.iter().map(|w| w.tokens.len() * unit).collect(),
            order: windows.into_iter().flat_map(|w| w.tokens).collect(),
            image_lens: by_image.iter().map(|image| image.len() * unit).collect(),
            image_order: by_image.concat(),
        }
    }

    /// Whether `order` is image by image already.
    pub fn is_image_order(&self) -> bool {
        (0..)
            .zip(&self.image_order)
            .all(|(i, &position)| i == position)
    }

    /// The rotary angles of each patch, `head_dim / 2` of them: the first half by its row, the second by its column.
    pub fn rotary_angles(&self, grids: &[PatchGrid], head_dim: usize) -> Vec<f32> {
        let axis = head_dim / 4;
        let frequency = |i: usize| 1.0 / 10_000f32.powf(i as f32 / axis as f32);
        let frequencies: Vec<f32> = (0..axis).map(frequency).collect();
        let patches: Vec<(usize, usize)> = grids.iter().flat_map(|&g| patch::order(g)).collect();
        let mut angles = Vec::with_capacity(patches.len() * axis * 2);
        for (row, column) in self.ordered(&patches) {
            angles.extend(frequencies.iter().map(|f| row as f32 * f));
            angles.extend(frequencies.iter().map(|f| column as f32 * f));
        }
        angles
    }

    /// The learned position embedding of each patch: four rows of a table of `side` x `side`, and their weights (bilinear
    /// interpolation, aligned corners).
    pub fn interpolated_pos_embed(&self, grids: &[PatchGrid], side: usize) -> Vec<[(u32, f32); 4]> {
        let patches = grids.iter().flat_map(|&grid| corners(grid, side));
        self.ordered(&patches.collect::<Vec<_>>()).collect()
    }

    /// What belongs to each patch, image by image, in the order of the tower.
    fn ordered<T: Copy>(&self, patches: &[T]) -> impl Iterator<Item = T> {
        let unit = patches.len() / self.order.len().max(1);
        let token = move |&token: &u32| patches[token as usize * unit..][..unit].iter().copied();
        self.order.iter().flat_map(token)
    }
}

/// The windows of an image in reading order; `first` is its first visual token.
fn windows_of(grid: PatchGrid, side: Option<usize>, first: u32) -> Vec<Vec<u32>> {
    let merge = grid.merge as usize;
    let (rows, columns) = (grid.rows as usize / merge, grid.columns as usize / merge);
    let side = side.unwrap_or(rows.max(columns)).max(1);
    let mut windows = Vec::new();
    for top in (0..rows).step_by(side) {
        for left in (0..columns).step_by(side) {
            let (bottom, right) = ((top + side).min(rows), (left + side).min(columns));
            let line = |y: usize| (left..right).map(move |x| first + (y * columns + x) as u32);
            windows.push((top..bottom).flat_map(line).collect());
        }
    }
    windows
}

/// The inverse of a permutation: for each index its position.
pub fn inverse(order: &[u32]) -> Vec<u32> {
    let mut inverse = vec![0; order.len()];
    for (position, &index) in (0..).zip(order) {
        inverse[index as usize] = position;
    }
    inverse
}

/// The corners of each patch of an image in a table of `side` x `side`, and their weights.
fn corners(grid: PatchGrid, side: usize) -> impl Iterator<Item = [(u32, f32); 4]> {
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
        let window_index = WindowIndex::new(&[grid(4, 6)], Some(2));
        assert_eq!(window_index.window_lens, [16, 8]);
        assert_eq!(window_index.order, [0, 1, 3, 4, 2, 5]);
        assert!(window_index.is_image_order());
        let a4 = WindowIndex::new(&[grid(64, 46)], Some(4));
        assert_eq!(a4.window_lens.len(), 8 * 6);
        assert_eq!(a4.window_lens.iter().sum::<usize>(), 64 * 46);
        assert_eq!((a4.window_lens[39], a4.window_lens[40]), (64, 48));
    }

    #[test]
    fn windows_of_one_size_are_adjacent_across_images() {
        let several = WindowIndex::new(&[grid(4, 2), grid(4, 6), grid(4, 6)], Some(2));
        assert_eq!(several.window_lens, [16, 16, 8, 8, 8]);
        assert_eq!(
            several.order,
            [2, 3, 5, 6, 8, 9, 11, 12, 0, 1, 4, 7, 10, 13]
        );
        // Both large images, then the small one.
        assert_eq!(several.image_lens, [24, 24, 8]);
        assert_eq!(
            several.image_order,
            [0, 1, 2, 3, 10, 11, 4, 5, 6, 7, 12, 13, 8, 9]
        );
        assert!(!several.is_image_order());
    }

    #[test]
    fn order_of_an_image_does_not_depend_on_the_others() {
        let grids = [grid(64, 46), grid(10, 12), grid(64, 46)];
        let together = WindowIndex::new(&grids, Some(4));
        let alone = WindowIndex::new(&grids[..1], Some(4));
        let of_image = |index: usize| &together.image_order[index * 736..][..736];
        for (index, first) in [(0, 0), (1, 736 + 30)] {
            let tokens = of_image(index)
                .iter()
                .map(|&i| together.order[i as usize] - first);
            assert!(tokens.eq(alone.order.iter().copied()));
        }
        let order = &together.order;
        assert!(inverse(&inverse(order)).iter().eq(order));
    }

    #[test]
    fn pos_embed_is_interpolated_over_the_grid() {
        let all: Vec<_> = corners(grid(2, 4), 7).collect();
        // Patches are ordered two by two: the third one begins the second row.
        assert_eq!(all[0][0], (0, 1.0));
        assert_eq!(all[1].map(|(entry, _)| entry), [2, 3, 9, 10]);
        assert_eq!(all[2][0], (42, 1.0));
        assert_eq!(all[7][0], (48, 1.0));
        let halfway: Vec<_> = corners(grid(2, 4), 4).collect();
        assert_eq!(halfway[1][0], (1, 1.0));
        let odd: Vec<_> = corners(grid(2, 6), 4).collect();
        assert_eq!(odd[1].map(|(entry, _)| entry), [0, 1, 4, 5]);
        let weights = odd[1].map(|(_, weight)| weight);
        assert!(
            (weights[1] - 0.6).abs() < 1e-6 && weights[2] == 0.0,
            "{weights:?}"
        );
    }

    #[test]
    fn pos_embed_follows_the_order_of_the_tower() {
        let (small, large) = (grid(2, 4), grid(4, 6));
        let grids = [small, large];
        let sorted = WindowIndex::new(&grids, None).interpolated_pos_embed(&grids, 7);
        let large_first: Vec<_> = corners(large, 7).chain(corners(small, 7)).collect();
        assert_eq!(sorted, large_first);
    }

    #[test]
    fn without_windows_tokens_stay_in_reading_order() {
        let window_index = WindowIndex::new(&[grid(4, 6)], None);
        assert_eq!(window_index.order, [0, 1, 2, 3, 4, 5]);
        assert_eq!(window_index.window_lens, [24]);
        let sorted = WindowIndex::new(&[grid(2, 4), grid(4, 6)], None);
        assert_eq!(sorted.order, [2, 3, 4, 5, 6, 7, 0, 1]);
        assert!(sorted.is_image_order());
    }
}
