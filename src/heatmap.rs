//! Where a page matched a question: the best similarity of each patch with any query vector, laid over the picture.
//!
//! As `colpali_engine.interpretability` does it (patches x query tokens, min/max over the query), with the maximum over
//! tokens in place of one map a token; patches that the model dropped stay clear.

use crate::page::PageImage;
use crate::vectors::{MultiVector, PageVectors, PatchMap};

/// How strong the overlay is where the match is best.
const ALPHA: f32 = 0.55;

/// A picture of the page with the places that matched marked in warm colours.
pub fn overlay(page: PageImage, seen: &PageVectors, query: &MultiVector) -> PageImage {
    let map = relevance(seen, query);
    let size = page.size();
    let (columns, rows) = (
        usize::from(seen.places.columns()),
        usize::from(seen.places.rows()),
    );
    let mut rgb = page.rgb().to_vec();
    for (i, pixel) in rgb.chunks_exact_mut(3).enumerate() {
        let (x, y) = (i % size.width as usize, i / size.width as usize);
        let at = |p: usize, side: u32, cells: usize| {
            ((p as f32 + 0.5) / side as f32 * cells as f32 - 0.5).max(0.0)
        };
        let heat = bilinear(
            &map,
            (columns, rows),
            at(x, size.width, columns),
            at(y, size.height, rows),
        );
        tint(pixel, heat);
    }
    PageImage::new(size, rgb).unwrap_or(page)
}

/// One value a cell, 0..1, row-major; 0 where no vector looks.
fn relevance(seen: &PageVectors, query: &MultiVector) -> Vec<f32> {
    let places = &seen.places;
    let size = usize::from(places.columns()) * usize::from(places.rows());
    let mut map = vec![f32::NEG_INFINITY; size];
    for (row, &cell) in seen.vectors.rows().zip(places.cells()) {
        if cell != PatchMap::NOWHERE {
            let dot = |q: &[f32]| q.iter().zip(row).map(|(a, b)| a * b).sum::<f32>();
            let heat = &mut map[usize::from(cell)];
            *heat = query.rows().map(dot).fold(*heat, f32::max);
        }
    }
    let seen = map.iter().copied().filter(|v| v.is_finite());
    let (low, high) = seen.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    let span = (high - low).max(1e-6);
    map.iter()
        .map(|&v| if v.is_finite() { (v - low) / span } else { 0.0 })
        .collect()
}

fn bilinear(map: &[f32], (columns, rows): (usize, usize), x: f32, y: f32) -> f32 {
    let (x0, y0) = (x as usize, y as usize);
    let at = |x: usize, y: usize| map[y.min(rows - 1) * columns + x.min(columns - 1)];
    let (fx, fy) = (x - x0 as f32, y - y0 as f32);
    let top = at(x0, y0) * (1.0 - fx) + at(x0 + 1, y0) * fx;
    let bottom = at(x0, y0 + 1) * (1.0 - fx) + at(x0 + 1, y0 + 1) * fx;
    top * (1.0 - fy) + bottom * fy
}

/// Lays yellow to red over a pixel; the lower part of the scale stays clear, or every page would glow.
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
    fn the_matching_corner_turns_warm_and_the_rest_stays() {
        let two = NonZeroUsize::new(2).unwrap();
        let vectors =
            MultiVector::new(vec![1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0], two).unwrap();
        let cells = vec![0, 1, 2, 3, PatchMap::NOWHERE];
        let places = PatchMap::new(2, 2, cells, 5).unwrap();
        let query = MultiVector::new(vec![1.0, 0.0], two).unwrap();
        let white = PageImage::new(Size::new(20, 20), vec![255; 1200]).unwrap();
        let marked = overlay(white, &PageVectors { vectors, places }, &query);
        assert_eq!(
            &marked.rgb()[..3],
            [255, 115, 115],
            "best match: red at full strength"
        );
        assert_eq!(&marked.rgb()[1197..], [255, 255, 255]);
    }
}
