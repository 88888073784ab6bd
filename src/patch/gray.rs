//! Grayscale preprocessing for the built-in model.

use fast_image_resize::FilterType;
use fast_image_resize::pixels::U8;

use super::{GrayPage, PrepareError, pixels};
use crate::page::{PageImage, Size};

/// Converts a page to grayscale and resizes it to about `budget` pixels, so that body text always has about the
/// same height.
pub(super) fn prepare(page: &PageImage, budget: u32) -> Result<GrayPage, PrepareError> {
    let size = fit(page.size(), budget);
    let luma: Vec<u8> = page.rgb().chunks_exact(3).map(luma).collect();
    // The kernel grows with the reduction, so every pixel of the page contributes.
    let pixels = pixels::resize::<U8>(&luma, page.size(), size, FilterType::CatmullRom)?;
    Ok(GrayPage { size, pixels })
}

/// ITU-R BT.601 luma in 16-bit fixed point, as Pillow's mode `L`.
fn luma(rgb: &[u8]) -> u8 {
    let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
    ((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8
}

/// Largest size of the same aspect ratio with at most `budget` pixels.
pub(super) fn fit(px: Size, budget: u32) -> Size {
    let scale = (f64::from(budget) / px.area() as f64).sqrt();
    let side = |side: u32| ((f64::from(side) * scale).floor() as u32).max(1);
    let (width, height) = (side(px.width), side(px.height));
    // An extreme aspect ratio keeps a side of one pixel; the other side is reduced instead.
    Size::new(
        width.min((budget / height).max(1)),
        height.min((budget / width).max(1)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fit_keeps_the_aspect_ratio_within_the_budget() {
        assert_eq!(fit(Size::new(1240, 1754), 1_100_000), Size::new(881, 1247));
        assert_eq!(fit(Size::new(595, 842), 1_100_000), Size::new(881, 1247));
        assert_eq!(fit(Size::new(1000, 1000), 1_000_000), Size::new(1000, 1000));
        for px in [
            Size::new(1, 1_000_000),
            Size::new(1_000_000, 1),
            Size::new(1, 1),
        ] {
            let size = fit(px, 10_000);
            assert!(size.area() <= 10_000 && size.area() > 0, "{size}");
        }
    }

    #[test]
    fn prepared_pixels_are_the_luma_of_the_page() {
        assert_eq!(luma(&[255, 255, 255]), 255);
        assert_eq!(luma(&[255, 0, 0]), 76);
        assert_eq!(luma(&[0, 255, 0]), 150);
        assert_eq!(luma(&[0, 0, 255]), 29);
        let page = PageImage::new(Size::new(4, 2), [255, 0, 0].repeat(8)).unwrap();
        let gray = prepare(&page, 8).unwrap();
        assert_eq!((gray.size, gray.pixels), (Size::new(4, 2), vec![76; 8]));
    }
}
