//! Made-up pages and queries of chosen lengths.

use super::checkpoint::{WORDS, noise};
use crate::patch::{FRAMES, PatchGrid, Patches, Prepared};

/// Lengths of sequences in the language model around multiples of 16, 32 and 64, the blocks of GPU kernels, where faults at
/// the ends of sequences show.
const LENGTHS: [usize; 16] = [
    30, 31, 32, 33, 40, 47, 48, 49, 63, 64, 65, 95, 96, 97, 112, 129,
];
/// The patch grid of an A4 page at 768 visual tokens.
const A4: PatchGrid = PatchGrid {
    rows: 64,
    columns: 46,
    merge: 2,
};
/// Words of the longest query.
const MAX_QUERY_WORDS: u32 = 80;

/// Patches of made-up pages; `prompt_tokens` are the rows of a page besides its visual tokens, `patch_size` the side of a patch.
pub(super) fn pages(prompt_tokens: usize, patch_size: usize) -> Vec<Prepared> {
    let tokens = LENGTHS.map(|length| length.saturating_sub(prompt_tokens).max(1));
    // Two of each, so that kernels get several sequences of one length.
    let grids = tokens.map(grid).into_iter().chain([A4]);
    let grids = grids.flat_map(|grid| [grid, grid]);
    let page = |(seed, grid): (u64, PatchGrid)| page(grid, patch_size, seed);
    (1..).zip(grids).map(page).collect()
}

/// The smallest page.
pub(super) fn smallest_page(patch_size: usize) -> Prepared {
    page(grid(1), patch_size, 0)
}

/// The number of visual tokens of a page.
pub(super) fn visual_tokens(page: &Prepared) -> usize {
    match page {
        Prepared::Qwen(patches) => patches.grid.tokens(),
        Prepared::Gray(_) => 0,
    }
}

/// Queries of every length up to that of some blocks.
pub(super) fn queries() -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut query = |words: u32| {
        let words: Vec<String> = (0..words)
            .map(|_| format!("w{}", random.u32(..WORDS)))
            .collect();
        words.join(" ")
    };
    (1..=MAX_QUERY_WORDS).map(&mut query).collect()
}

/// The most square grid of a number of visual tokens.
fn grid(tokens: usize) -> PatchGrid {
    let rows = (1..=tokens.isqrt())
        .rev()
        .find(|rows| tokens.is_multiple_of(*rows));
    let rows = rows.unwrap_or(1);
    PatchGrid {
        rows: 2 * rows as u32,
        columns: (2 * tokens / rows) as u32,
        merge: 2,
    }
}

/// Patches of a page: noise, darker from top to bottom.
fn page(grid: PatchGrid, patch_size: usize, seed: u64) -> Prepared {
    let patch_dim = 3 * FRAMES * patch_size * patch_size;
    let mut random = fastrand::Rng::with_seed(seed);
    let patches = grid.patches();
    let mut rows = Vec::with_capacity(patches * patch_dim);
    for patch in 0..patches {
        let brightness = 1.0 - 2.0 * patch as f32 / patches as f32;
        rows.extend((0..patch_dim).map(|_| brightness + 0.5 * noise(&mut random)));
    }
    Prepared::Qwen(Patches { grid, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_the_chosen_lengths() {
        let lengths: Vec<usize> = pages(11, 14)
            .iter()
            .map(|page| visual_tokens(page) + 11)
            .collect();
        assert_eq!(lengths[..32], LENGTHS.map(|length| [length; 2]).concat());
        // Where the causal kernel of candle 0.11 reads past the last key.
        assert_eq!((&lengths[32..], lengths[32] % 32), (&[747, 747][..], 11));
        assert_eq!(queries().len(), 80);
    }
}
