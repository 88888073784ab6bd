//! Heat maps: the similarity of each patch with the vectors of a query, drawn over the page image or as numbers.
//!
//! [`overlay`] is as in `colpali_engine.interpretability` (patches x query tokens, min-max normalised over the query), but with the
//! maximum over tokens instead of one map per token; cells without a vector stay transparent. [`maps`] has one map per word.

use std::ops::Range;

use crate::page::PageImage;
use crate::vectors::{MultiVector, PageVectors, PatchMap};

/// Opacity of the overlay at the best match.
const ALPHA: f32 = 0.55;

/// Draws the heat map over the page image, in yellow to red.
pub fn overlay(page: PageImage, page_vectors: &PageVectors, query: &MultiVector) -> PageImage {
    let map = relevance(page_vectors, query);
    let size = page.size();
    let (columns, rows) = (
        usize::from(page_vectors.patches.columns()),
        usize::from(page_vectors.patches.rows()),
    );
    let mut rgb = page.rgb().to_vec();
    for (i, pixel) in rgb.chunks_exact_mut(3).enumerate() {
        let (x, y) = (i % size.width as usize, i / size.width as usize);
        let to_cell = |p: usize, side: u32, cells: usize| {
            ((p as f32 + 0.5) / side as f32 * cells as f32 - 0.5).max(0.0)
        };
        let heat = bilinear(
            &map,
            (columns, rows),
            to_cell(x, size.width, columns),
            to_cell(y, size.height, rows),
        );
        tint(pixel, heat);
    }
    PageImage::new(size, rgb).unwrap_or(page)
}

/// For each of some ranges of query vectors, the largest cosine of each cell with any of them, row-major: 255 is a cosine of
/// 1, 0 one of 0 or less, or a cell without a vector. Not rescaled by page: the same number means the same on every page.
pub fn maps(page: &PageVectors, query: &MultiVector, words: &[Range<usize>]) -> Vec<Vec<u8>> {
    let map = |rows: &Range<usize>| {
        let cosines = best_cosines(page, &|| query.rows().skip(rows.start).take(rows.len()));
        let level = |cosine: f32| (cosine.clamp(0.0, 1.0) * 255.0).round() as u8;
        cosines.into_iter().map(level).collect()
    };
    words.iter().map(map).collect()
}

/// The largest cosine of each cell with any of some query vectors, row-major; minus infinity for cells without a vector.
fn best_cosines<'q, I: Iterator<Item = &'q [f32]>>(
    page: &PageVectors,
    query: &dyn Fn() -> I,
) -> Vec<f32> {
    let patches = &page.patches;
    let size = usize::from(patches.columns()) * usize::from(patches.rows());
    let mut map = vec![f32::NEG_INFINITY; size];
    for (row, &cell) in page.vectors.rows().zip(patches.cells()) {
        if cell != PatchMap::NO_CELL {
            let dot = |q: &[f32]| q.iter().zip(row).map(|(a, b)| a * b).sum::<f32>();
            let best = &mut map[usize::from(cell)];
            *best = query().map(dot).fold(*best, f32::max);
        }
    }
    map
}

/// Relevance of each cell, 0..1, row-major; 0 for cells without a vector.
fn relevance(page_vectors: &PageVectors, query: &MultiVector) -> Vec<f32> {
    let map = best_cosines(page_vectors, &|| query.rows());
    let finite = map.iter().copied().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    let span = (high - low).max(1e-6);
    map.iter()
        .map(|&v| if v.is_finite() { (v - low) / span } else { 0.0 })
        .collect()
}

/// Bilinear interpolation of the map at fractional cell coordinates.
fn bilinear(map: &[f32], (columns, rows): (usize, usize), x: f32, y: f32) -> f32 {
    let (x0, y0) = (x as usize, y as usize);
    let at = |x: usize, y: usize| map[y.min(rows - 1) * columns + x.min(columns - 1)];
    let (fx, fy) = (x - x0 as f32, y - y0 as f32);
    let top = at(x0, y0) * (1.0 - fx) + at(x0 + 1, y0) * fx;
    let bottom = at(x0, y0 + 1) * (1.0 - fx) + at(x0 + 1, y0 + 1) * fx;
    top * (1.0 - fy) + bottom * fy
}

/// Blends yellow to red into a pixel; relevance below 0.6 stays transparent, or every page would be tinted.
fn tint(pixel: &mut [u8], heat: f32) {
    let strength = ((heat - 0.6) / 0.4).clamp(0.0, 1.0);
    let alpha = ALPHA * strength;
    let colour = [255.0, 220.0 * (1.0 - strength), 0.0];
    for (value, over) in pixel.iter_mut().zip(colour) {
        *value = (f32::from(*value) * (1.0 - alpha) + over * alpha).round() as u8;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::page::Size;

    #[test]
    fn maps_are_cosines_of_each_word() {
        let two = NonZeroUsize::new(2).unwrap();
        let rows = vec![1.0, 0.0, 0.6, 0.8, -1.0, 0.0];
        let vectors = MultiVector::new(rows, two).unwrap();
        let patches = PatchMap::new(2, 2, vec![0, 3, 1], 3).unwrap();
        let page = PageVectors { vectors, patches };
        let query = MultiVector::new(vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0], two).unwrap();
        let maps = maps(&page, &query, &[0..1, 1..3]);
        assert_eq!(maps, [vec![255, 0, 0, 153], vec![255, 0, 0, 204]]);
    }

    #[test]
    fn overlay_tints_only_the_matching_corner() {
        let two = NonZeroUsize::new(2).unwrap();
        let vectors =
            MultiVector::new(vec![1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0], two).unwrap();
        let cells = vec![0, 1, 2, 3, PatchMap::NO_CELL];
        let patches = PatchMap::new(2, 2, cells, 5).unwrap();
        let query = MultiVector::new(vec![1.0, 0.0], two).unwrap();
        let white = PageImage::new(Size::new(20, 20), vec![255; 1200]).unwrap();
        let marked = overlay(white, &PageVectors { vectors, patches }, &query);
        assert_eq!(
            &marked.rgb()[..3],
            [255, 115, 115],
            "best match: red at full strength"
        );
        assert_eq!(&marked.rgb()[1197..], [255, 255, 255]);
    }
}
