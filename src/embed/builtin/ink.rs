//! Binarisation by cell: which cells of a page contain print.

use crate::patch::GrayPage;

/// Height of a cell in pixels.
pub(super) const CELL_HEIGHT: usize = 16;
/// Width of a cell in pixels.
pub(super) const CELL_WIDTH: usize = 48;

/// Minimum difference between the darkest and the lightest pixel of a printed cell.
const MIN_CONTRAST: u8 = 48;
/// Minimum number of pixels on either side of the threshold halfway between them.
const MIN_PIXELS: usize = 3;

/// The page as ink, from 0 (white) to 1 (black), padded with white on the right and below to whole cells.
pub(super) struct Ink {
    /// Rows of cells.
    pub(super) rows: usize,
    /// Cells in a row.
    pub(super) columns: usize,
    /// Pixels, row by row.
    pub(super) pixels: Vec<f32>,
    /// Whether each cell contains print.
    pub(super) printed: Vec<bool>,
}

impl Ink {
    /// Converts a page to ink and finds its printed cells.
    pub(super) fn new(page: &GrayPage) -> Self {
        let (w, h) = (page.size.width as usize, page.size.height as usize);
        let (rows, columns) = (h.div_ceil(CELL_HEIGHT), w.div_ceil(CELL_WIDTH));
        let width = columns * CELL_WIDTH;
        let mut gray = vec![u8::MAX; rows * CELL_HEIGHT * width];
        for (to, from) in gray
            .chunks_exact_mut(width)
            .zip(page.pixels.chunks_exact(w))
        {
            to[..w].copy_from_slice(from);
        }
        let printed = (0..rows * columns)
            .map(|i| is_printed(&gray, width, i / columns, i % columns))
            .collect();
        let pixels = gray.iter().map(|&g| 1.0 - f32::from(g) / 255.0).collect();
        Self {
            rows,
            columns,
            pixels,
            printed,
        }
    }

    /// Width in pixels.
    pub(super) fn width(&self) -> usize {
        self.columns * CELL_WIDTH
    }
}

fn is_printed(gray: &[u8], width: usize, row: usize, column: usize) -> bool {
    let lines = || {
        gray[row * CELL_HEIGHT * width..][..CELL_HEIGHT * width]
            .chunks_exact(width)
            .map(move |line| &line[column * CELL_WIDTH..][..CELL_WIDTH])
    };
    let (low, high) = lines()
        .flatten()
        .fold((u8::MAX, 0), |(low, high), &g| (low.min(g), high.max(g)));
    if high.saturating_sub(low) < MIN_CONTRAST {
        return false;
    }
    let threshold = low + (high - low) / 2;
    let dark = lines().flatten().filter(|g| **g <= threshold).count();
    dark.min(CELL_HEIGHT * CELL_WIDTH - dark) >= MIN_PIXELS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Size;

    #[test]
    fn cells_with_strokes_are_printed() {
        let mut pixels = vec![255; 100 * 70];
        for x in 60..70 {
            pixels[20 * 100 + x] = 0;
            pixels[65 * 100 + x] = 0;
        }
        let ink = Ink::new(&GrayPage {
            size: Size::new(100, 70),
            pixels,
        });
        assert_eq!((ink.rows, ink.columns, ink.width()), (5, 3, 144));
        let printed: Vec<usize> = (0..15).filter(|i| ink.printed[*i]).collect();
        assert_eq!(printed, [4, 13]);
    }

    #[test]
    fn uniform_gray_is_not_print() {
        let ink = Ink::new(&GrayPage {
            size: Size::new(48, 16),
            pixels: vec![120; 48 * 16],
        });
        assert_eq!(ink.printed, [false]);
    }
}
