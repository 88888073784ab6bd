//! Resize, normalise, unfold: the pixels of a page in the order a Qwen vision tower eats them.
//!
//! Equals `Qwen2VLImageProcessor` of transformers 5 bit for bit; see `tests/parity`.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use super::{PatchGrid, PatchSpec, Patches, PrepareError};
use crate::page::{PageImage, Size};

/// How often a still picture stands in the time axis: the tower was made for video, two frames a patch.
pub const FRAMES: usize = 2;

/// The patches of a page.
pub(super) fn prepare(page: &PageImage, spec: &PatchSpec) -> Result<Patches, PrepareError> {
    let size = spec.resized(page.size())?;
    let grid = spec.grid_from_px(page.size())?;
    let rgb = resize::<U8x3>(page.rgb(), page.size(), size, FilterType::CatmullRom)?;
    Ok(Patches {
        grid,
        rows: unfold(&rgb, grid, spec),
    })
}

/// Resizes across, then down. The reference rounds to bytes between the two passes, so their order is part of the result.
/// `P` is the kind of pixel: one is compiled, not all that the library knows.
pub(super) fn resize<P: PixelTrait>(
    pixels: &[u8],
    from: Size,
    to: Size,
    filter: FilterType,
) -> Result<Vec<u8>, PrepareError> {
    let between = Size::new(to.width, from.height);
    let wide = pass::<P>(pixels, from, between, filter)?;
    pass::<P>(&wide, between, to, filter)
}

fn pass<P: PixelTrait>(
    pixels: &[u8],
    from: Size,
    to: Size,
    filter: FilterType,
) -> Result<Vec<u8>, PrepareError> {
    let failed = |why: &dyn std::fmt::Display| PrepareError::Resize(from, why.to_string());
    let mut resized = vec![0; to.area() as usize * size_of::<P>()];
    let source =
        TypedImageRef::<P>::from_buffer(from.width, from.height, pixels).map_err(|e| failed(&e))?;
    let mut target =
        TypedImage::<P>::from_buffer(to.width, to.height, &mut resized).map_err(|e| failed(&e))?;
    let how = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    Resizer::new()
        .resize_typed(&source, &mut target, &how)
        .map_err(|e| failed(&e))?;
    Ok(resized)
}

/// Every value that a byte of each channel can become. The mean and deviation are scaled, not the byte: so does the reference.
fn levels(spec: &PatchSpec) -> [[f32; 256]; 3] {
    let level = |channel: usize, byte: usize| {
        let (mean, std) = (spec.mean[channel] * 255.0, spec.std[channel] * 255.0);
        (byte as f32 - mean) / std
    };
    std::array::from_fn(|channel| std::array::from_fn(|byte| level(channel, byte)))
}

/// Unfolds a picture into patches. Rows: block of tokens down, across, patch inside it down, across.
/// Columns: channel, frame, pixel down, across.
fn unfold(rgb: &[u8], grid: PatchGrid, spec: &PatchSpec) -> Vec<f32> {
    let levels = levels(spec);
    let side = spec.patch as usize;
    let width = grid.columns as usize * side;
    let mut rows = Vec::with_capacity(grid.patches() * 3 * FRAMES * side * side);
    for (row, column) in order(grid) {
        let corner = row * side * width + column * side;
        for (channel, levels) in levels.iter().enumerate() {
            let start = rows.len();
            for line in 0..side {
                let from = (corner + line * width) * 3;
                let pixels = rgb[from..from + side * 3].chunks_exact(3);
                rows.extend(pixels.map(|pixel| levels[pixel[channel] as usize]));
            }
            let end = rows.len();
            for _ in 1..FRAMES {
                rows.extend_from_within(start..end);
            }
        }
    }
    rows
}

/// The patches of a grid as (row, column), the patches of one visual token side by side.
pub fn order(grid: PatchGrid) -> impl Iterator<Item = (usize, usize)> {
    let merge = grid.merge as usize;
    let (down, across) = (grid.rows as usize / merge, grid.columns as usize / merge);
    (0..down * across).flat_map(move |block| {
        let (top, left) = (block / across * merge, block % across * merge);
        (0..merge * merge).map(move |inner| (top + inner / merge, left + inner % merge))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_unfolded_token_by_token() {
        let spec = PatchSpec {
            patch: 1,
            mean: [0.0; 3],
            std: [1.0 / 255.0; 3],
            ..PatchSpec::qwen(1, 1 << 20)
        };
        let grid = PatchGrid {
            rows: 2,
            columns: 4,
            merge: 2,
        };
        let rgb: Vec<u8> = (0..24).collect();
        let rows = unfold(&rgb, grid, &spec);
        let reds: Vec<f32> = rows.chunks_exact(6).map(|row| row[0]).collect();
        assert_eq!(reds, [0.0, 3.0, 12.0, 15.0, 6.0, 9.0, 18.0, 21.0]);
        assert_eq!(rows[..6], [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn a_page_of_the_right_size_is_only_normalised() {
        let page = PageImage::new(Size::new(56, 56), vec![255; 56 * 56 * 3]).unwrap();
        let spec = PatchSpec::qwen(4 * 28 * 28, 768 * 28 * 28);
        let patches = prepare(&page, &spec).unwrap();
        assert_eq!(patches.rows.len(), 16 * 1176);
        let white = (255.0 - spec.mean[0] * 255.0) / (spec.std[0] * 255.0);
        assert_eq!(patches.rows[0], white);
    }
}
