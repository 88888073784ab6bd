//! Resizing, normalising and patchifying page images for the Qwen vision tower.
//!
//! Equals `Qwen2VLImageProcessor` of transformers 5 bit for bit; see `tests/parity`.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use super::{PatchGrid, PatchSpec, Patches, PrepareError};
use crate::page::{PageImage, Size};

/// Frames of a patch along the time axis (`temporal_patch_size`): the tower is made for video; an image is repeated.
pub const FRAMES: usize = 2;

/// Computes the patches of a page.
pub(super) fn prepare(page: &PageImage, spec: &PatchSpec) -> Result<Patches, PrepareError> {
    let size = spec.resized(page.size())?;
    let grid = spec.grid_from_px(page.size())?;
    let rgb = resize::<U8x3>(page.rgb(), page.size(), size, FilterType::CatmullRom)?;
    Ok(Patches {
        grid,
        rows: patchify(&rgb, grid, spec),
    })
}

/// Resizes horizontally, then vertically. The reference rounds to bytes between the two passes, so their order matters.
/// `P` is the pixel type; a generic compiles only the types used.
pub(super) fn resize<P: PixelTrait>(
    pixels: &[u8],
    from: Size,
    to: Size,
    filter: FilterType,
) -> Result<Vec<u8>, PrepareError> {
    let intermediate = Size::new(to.width, from.height);
    let resized = resize_pass::<P>(pixels, from, intermediate, filter)?;
    resize_pass::<P>(&resized, intermediate, to, filter)
}

fn resize_pass<P: PixelTrait>(
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
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    Resizer::new()
        .resize_typed(&source, &mut target, &options)
        .map_err(|e| failed(&e))?;
    Ok(resized)
}

/// Normalised value of every byte by channel. As in the reference, mean and deviation are scaled, not the byte.
fn normalised_levels(spec: &PatchSpec) -> [[f32; 256]; 3] {
    let level = |channel: usize, byte: usize| {
        let (mean, std) = (spec.mean[channel] * 255.0, spec.std[channel] * 255.0);
        (byte as f32 - mean) / std
    };
    std::array::from_fn(|channel| std::array::from_fn(|byte| level(channel, byte)))
}

/// Splits an image into patches. Row order: token row, token column, patch row and column within the token.
/// Column order: channel, frame, pixel row, pixel column.
fn patchify(rgb: &[u8], grid: PatchGrid, spec: &PatchSpec) -> Vec<f32> {
    let levels = normalised_levels(spec);
    let side = spec.patch as usize;
    let width = grid.columns as usize * side;
    let mut rows = Vec::with_capacity(grid.patches() * 3 * FRAMES * side * side);
    for (row, column) in order(grid) {
        let origin = row * side * width + column * side;
        for (channel, levels) in levels.iter().enumerate() {
            let start = rows.len();
            for line in 0..side {
                let from = (origin + line * width) * 3;
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

/// Patches of a grid as (row, column), in the order of the tower: patches of one visual token are adjacent.
pub fn order(grid: PatchGrid) -> impl Iterator<Item = (usize, usize)> {
    let merge = grid.merge as usize;
    let (down, across) = (grid.rows as usize / merge, grid.columns as usize / merge);
    (0..down * across).flat_map(move |token| {
        let (top, left) = (token / across * merge, token % across * merge);
        (0..merge * merge).map(move |inner| (top + inner / merge, left + inner % merge))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_patchified_token_by_token() {
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
        let rows = patchify(&rgb, grid, &spec);
        let reds: Vec<f32> = rows.chunks_exact(6).map(|row| row[0]).collect();
        assert_eq!(reds, [0.0, 3.0, 12.0, 15.0, 6.0, 9.0, 18.0, 21.0]);
        assert_eq!(rows[..6], [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn a_page_of_the_target_size_is_only_normalised() {
        let page = PageImage::new(Size::new(56, 56), vec![255; 56 * 56 * 3]).unwrap();
        let spec = PatchSpec::qwen(4 * 28 * 28, 768 * 28 * 28);
        let patches = prepare(&page, &spec).unwrap();
        assert_eq!(patches.rows.len(), 16 * 1176);
        let white = (255.0 - spec.mean[0] * 255.0) / (spec.std[0] * 255.0);
        assert_eq!(patches.rows[0], white);
    }
}
