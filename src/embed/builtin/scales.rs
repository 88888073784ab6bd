//! Multi-scale encoding: the page at full size, and at half its size where its type is large.
//!
//! The tower recognises type of 10 to 26 pixels per em. Headings are larger and are recognised at half the size. Cells
//! without words, or with stop words only, are left out.

use std::collections::BTreeSet;

use super::emphasis;
use super::ink::Ink;
use super::page_tower::{self, DIM};
use super::weights::PageWeights;
use crate::page::Size;
use crate::patch::GrayPage;

/// Minimum word logit of a cell: drops 13 of a thousand cells with words, and 36 % of all printed cells (octave and
/// circuit-macros).
const MIN_WORD_LOGIT: f32 = -3.0;
/// Maximum rows of a page; the cells with the highest word logits are kept.
pub(super) const MAX_ROWS: usize = 600;
/// Minimum type size, in pixels per em, that is encoded again at half the size.
const LARGE_TYPE: f32 = 21.0;

/// A row of a page: its cell, word logit and vector.
struct Row {
    cell: usize,
    word_logit: f32,
    vector: Vec<f32>,
}

/// The cells of a page that get a row, and their vectors concatenated, with the extra float of [`emphasis`].
/// A cell at half the size is given as the upper left of the four full-size cells that it covers.
pub(super) fn rows(weights: &PageWeights, page: &GrayPage, ink: &Ink) -> (Vec<usize>, Vec<f32>) {
    let cells: Vec<usize> = (0..ink.printed.len()).filter(|i| ink.printed[*i]).collect();
    let outputs = page_tower::encode_cells(weights, ink, &cells);
    let sizes = emphasis::smoothed(&outputs.sizes, &cells, ink.columns);
    let selected: Vec<usize> = (0..cells.len())
        .filter(|i| outputs.word_logits[*i] >= MIN_WORD_LOGIT)
        .collect();
    let scores =
        emphasis::body_text_scores(&selected.iter().map(|i| sizes[*i]).collect::<Vec<_>>());
    let mut rows: Vec<Row> = selected
        .iter()
        .zip(&scores)
        .map(|(&i, &score)| Row {
            cell: cells[i],
            word_logit: outputs.word_logits[i],
            vector: emphasis::attenuated(&outputs.vectors[i * DIM..][..DIM], score).collect(),
        })
        .collect();
    let large: BTreeSet<(usize, usize)> = (0..cells.len())
        .filter(|i| sizes[*i] >= LARGE_TYPE.ln())
        .map(|i| (cells[i] / ink.columns / 2, cells[i] % ink.columns / 2))
        .collect();
    if !large.is_empty() {
        rows.extend(headings(weights, page, ink.columns, &large));
    }
    if rows.len() > MAX_ROWS {
        rows.sort_by(|a, b| b.word_logit.total_cmp(&a.word_logit));
        rows.truncate(MAX_ROWS);
    }
    rows.sort_by_key(|row| row.cell);
    (
        rows.iter().map(|row| row.cell).collect(),
        rows.into_iter().flat_map(|row| row.vector).collect(),
    )
}

/// The page at half its size: the mean of every 2 x 2 pixels, or of the pixels that exist at the edges.
fn halved(page: &GrayPage) -> GrayPage {
    let (w, h) = (page.size.width as usize, page.size.height as usize);
    let mean = |x: usize, y: usize| {
        let (right, below) = ((x + 1).min(w - 1), (y + 1).min(h - 1));
        let at = |x: usize, y: usize| u16::from(page.pixels[y * w + x]);
        let sum = at(x, y) + at(right, y) + at(x, below) + at(right, below);
        u8::try_from((sum + 2) / 4).unwrap_or(u8::MAX)
    };
    GrayPage {
        size: Size::new(page.size.width.div_ceil(2), page.size.height.div_ceil(2)),
        pixels: (0..h)
            .step_by(2)
            .flat_map(|y| (0..w).step_by(2).map(move |x| (x, y)))
            .map(|(x, y)| mean(x, y))
            .collect(),
    }
}

/// Rows of the page at half its size, for the given cells (row, column).
fn headings(
    weights: &PageWeights,
    page: &GrayPage,
    columns: usize,
    large: &BTreeSet<(usize, usize)>,
) -> impl Iterator<Item = Row> {
    let ink = Ink::new(&halved(page));
    let cells: Vec<usize> = large
        .iter()
        .map(|(row, column)| row * ink.columns + column)
        .filter(|cell| ink.printed[*cell])
        .collect();
    let outputs = page_tower::encode_cells(weights, &ink, &cells);
    cells
        .into_iter()
        .enumerate()
        .map(move |(i, cell)| Row {
            cell: cell / ink.columns * 2 * columns + cell % ink.columns * 2,
            word_logit: outputs.word_logits[i],
            vector: emphasis::attenuated(&outputs.vectors[i * DIM..][..DIM], 0.0).collect(),
        })
        .filter(|row| row.word_logit >= MIN_WORD_LOGIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halved_page_is_the_mean_of_2_by_2_pixels() {
        let page = GrayPage {
            size: Size::new(3, 3),
            pixels: vec![0, 4, 10, 8, 12, 20, 100, 200, 50],
        };
        let halved = halved(&page);
        assert_eq!(halved.size, Size::new(2, 2));
        assert_eq!(halved.pixels, [6, 15, 150, 50]);
    }
}
