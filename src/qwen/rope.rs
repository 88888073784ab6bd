//! M-RoPE (Wang et al. 2024): position ids of tokens, and the rotary angles of the language model.

use super::config::Text;
use crate::patch::PatchGrid;

/// Position id of a token, `[t, h, w]`. Text tokens have three equal components.
pub type PositionId = [usize; 3];

/// A segment of the input of the language model, by its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// Text, by its number of tokens.
    Text(usize),
    /// An image, by its patch grid.
    Image(PatchGrid),
}

/// The position ids of the tokens of a sequence of spans (the reference's `get_rope_index`).
pub fn position_ids(spans: &[Span]) -> Vec<PositionId> {
    let mut position_ids = Vec::new();
    let mut start = 0;
    for span in spans {
        match *span {
            Span::Text(count) => {
                position_ids.extend((start..start + count).map(|i| [i; 3]));
                start += count;
            }
            Span::Image(grid) => {
                let merge = grid.merge as usize;
                let (rows, columns) = (grid.rows as usize / merge, grid.columns as usize / merge);
                let position = |i: usize| [start, start + i / columns, start + i % columns];
                position_ids.extend((0..rows * columns).map(position));
                start += rows.max(columns);
            }
        }
    }
    position_ids
}

/// The rotary angles of tokens, `head_dim / 2` each: each section of the frequencies follows one axis. In Qwen3 the axes
/// are interleaved up to the length of their sections; the remaining frequencies follow time.
pub fn rotary_angles(position_ids: &[PositionId], config: &Text) -> Vec<f32> {
    let half = config.head_dim() / 2;
    let frequency = |i: usize| 1.0 / (config.rope_theta as f32).powf(i as f32 / half as f32);
    let sections = config.mrope_section;
    let axis = |i: usize| match config.qk_norm_head_dim {
        None => usize::from(i >= sections[0]) + usize::from(i >= sections[0] + sections[1]),
        Some(_) if i / 3 < sections[i % 3] => i % 3,
        Some(_) => 0,
    };
    let bands: Vec<(f32, usize)> = (0..half).map(|i| (frequency(i), axis(i))).collect();
    let mut angles = Vec::with_capacity(position_ids.len() * half);
    for position in position_ids {
        angles.extend(bands.iter().map(|&(f, axis)| position[axis] as f32 * f));
    }
    angles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_after_an_image_starts_past_its_longer_side() {
        let grid = PatchGrid {
            rows: 4,
            columns: 6,
            merge: 2,
        };
        assert_eq!(
            position_ids(&[Span::Text(2), Span::Image(grid), Span::Text(1)]),
            [
                [0, 0, 0],
                [1, 1, 1],
                [2, 2, 2],
                [2, 2, 3],
                [2, 2, 4],
                [2, 3, 2],
                [2, 3, 3],
                [2, 3, 4],
                [5, 5, 5]
            ]
        );
    }
}
