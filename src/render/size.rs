//! Size of a page image in pixels.

use crate::page::Size;

/// Size of a page, given in points, at a resolution; scaled down where it would have more than `max_pixels`.
///
/// Below the limit, fractions of a pixel are rounded up. `None` when a side is not a positive finite number.
pub(super) fn of_points(width: f32, height: f32, dpi: u32, max_pixels: u64) -> Option<Size> {
    let pixels = |points: f32| f64::from(points) * f64::from(dpi) / 72.0;
    let (width, height) = (pixels(width), pixels(height));
    if !(width.is_finite() && height.is_finite() && width > 0.0 && height > 0.0) {
        return None;
    }
    Some(fit(width, height, max_pixels))
}

/// Size of an image, scaled down to at most `max_pixels`.
pub(super) fn of_image(size: Size, max_pixels: u64) -> Size {
    fit(f64::from(size.width), f64::from(size.height), max_pixels)
}

fn fit(width: f64, height: f64, max_pixels: u64) -> Size {
    let max = max_pixels.max(1) as f64;
    let (w, h) = (width.ceil().max(1.0), height.ceil().max(1.0));
    if w * h <= max {
        return Size::new(w as u32, h as u32);
    }
    let shrink = (max / (width * height)).sqrt();
    let w = (width * shrink).floor().clamp(1.0, max);
    let h = (height * shrink).floor().clamp(1.0, (max / w).floor());
    Size::new(w as u32, h as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 16_000_000;

    #[test]
    fn pages_below_the_limit_are_rounded_up() {
        let letter = of_points(612.0, 792.0, 150, LIMIT);
        assert_eq!(letter, Some(Size::new(1275, 1650)));
        let a4 = of_points(595.276, 841.89, 150, LIMIT);
        assert_eq!(a4, Some(Size::new(1241, 1754)));
    }

    #[test]
    fn pages_above_the_limit_keep_their_aspect_ratio() {
        let large = of_points(14_400.0, 14_400.0, 150, LIMIT);
        assert_eq!(large, Some(Size::new(4000, 4000)));
        for (w, h) in [(14_400.0, 10.0), (2e6, 0.001), (0.001, 2e6), (1e30, 1e30)] {
            let size = of_points(w, h, 150, LIMIT).unwrap();
            assert!(size.area() > 0 && size.area() <= LIMIT, "{w} x {h}: {size}");
        }
    }

    #[test]
    fn invalid_page_dimensions_have_no_size() {
        assert_eq!(of_points(0.0, 10.0, 150, LIMIT), None);
        assert_eq!(of_points(f32::NAN, 10.0, 150, LIMIT), None);
    }
}
