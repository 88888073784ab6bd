//! One page at two scales: as it is, and at half its size where its print is large.
//!
//! The tower reads print of 10 to 26 pixels an em. Headings are larger; at half the size it reads them, too. Cells in
//! which no word stands, or only words that nobody asks for, are left out.

use std::collections::BTreeSet;

use super::emphasis;
use super::ink::Ink;
use super::page::{self, DIM};
use super::weights::PageWeights;
use crate::page::Size;
use crate::patch::GrayPage;

/// A cell is kept from this logit on: three of a thousand cells with words are lost, a quarter of all printed cells.
const WORTH: f32 = -3.0;
/// Most rows of a page; the likeliest cells are kept.
pub(super) const MOST: usize = 600;
/// Print of so many pixels an em is looked at again at half the size.
const LARGE: f32 = 21.0;

/// A row of a page: where it looks, and the vector.
struct Row {
    cell: usize,
    worth: f32,
    vector: Vec<f32>,
}

/// The cells of a page that are worth a row, and their vectors one after the other, with the float of [`emphasis`].
/// Cells of the half page are given as the upper left of the four cells that they cover.
pub(super) fn rows(weights: &PageWeights, page: &GrayPage, ink: &Ink) -> (Vec<usize>, Vec<f32>) {
    let cells: Vec<usize> = (0..ink.printed.len()).filter(|i| ink.printed[*i]).collect();
    let read = page::read(weights, ink, &cells);
    let sizes = emphasis::even(&read.sizes, &cells, ink.columns);
    let worthy: Vec<usize> = (0..cells.len())
        .filter(|i| read.worth[*i] >= WORTH)
        .collect();
    let plain = emphasis::plain(&worthy.iter().map(|i| sizes[*i]).collect::<Vec<_>>());
    let mut rows: Vec<Row> = worthy
        .iter()
        .zip(&plain)
        .map(|(&i, &plain)| Row {
            cell: cells[i],
            worth: read.worth[i],
            vector: emphasis::faded(&read.vectors[i * DIM..][..DIM], plain).collect(),
        })
        .collect();
    let large: BTreeSet<(usize, usize)> = (0..cells.len())
        .filter(|i| sizes[*i] >= LARGE.ln())
        .map(|i| (cells[i] / ink.columns / 2, cells[i] % ink.columns / 2))
        .collect();
    if !large.is_empty() {
        rows.extend(headings(weights, page, ink.columns, &large));
    }
    if rows.len() > MOST {
        rows.sort_by(|a, b| b.worth.total_cmp(&a.worth));
        rows.truncate(MOST);
    }
    rows.sort_by_key(|row| row.cell);
    (
        rows.iter().map(|row| row.cell).collect(),
        rows.into_iter().flat_map(|row| row.vector).collect(),
    )
}

/// The page at half its size: the mean of every two by two pixels, or of what there is of them at the edges.
fn half(page: &GrayPage) -> GrayPage {
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

/// Rows of the page at half its size, for the cells (row, column) given.
fn headings(
    weights: &PageWeights,
    page: &GrayPage,
    columns: usize,
    large: &BTreeSet<(usize, usize)>,
) -> impl Iterator<Item = Row> {
    let ink = Ink::of(&half(page));
    let cells: Vec<usize> = large
        .iter()
        .map(|(row, column)| row * ink.columns + column)
        .filter(|cell| ink.printed[*cell])
        .collect();
    let read = page::read(weights, &ink, &cells);
    cells
        .into_iter()
        .enumerate()
        .map(move |(i, cell)| Row {
            cell: cell / ink.columns * 2 * columns + cell % ink.columns * 2,
            worth: read.worth[i],
            vector: emphasis::faded(&read.vectors[i * DIM..][..DIM], 0.0).collect(),
        })
        .filter(|row| row.worth >= WORTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_page_is_the_mean_of_fours() {
        let page = GrayPage {
            size: Size::new(3, 3),
            pixels: vec![0, 4, 10, 8, 12, 20, 100, 200, 50],
        };
        let half = half(&page);
        assert_eq!(half.size, Size::new(2, 2));
        assert_eq!(half.pixels, [6, 15, 150, 50]);
    }
}
