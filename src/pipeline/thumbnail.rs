//! Thumbnails: small JPEG images of pages, for result lists.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageBuffer, Rgb, imageops};

use crate::page::PageImage;

/// Maximum width and height, in pixels.
const MAX_SIDE: u32 = 320;
/// Maximum size in bytes.
const MAX_BYTES: usize = 40_000;
/// JPEG qualities, tried in this order until the file is small enough.
const JPEG_QUALITIES: [u8; 3] = [70, 45, 20];

/// Returns a JPEG of at most 40 KB that fits into 320 x 320; empty only if even the lowest quality is larger.
pub(super) fn thumbnail(page: &PageImage) -> Vec<u8> {
    let size = page.size();
    let Some(full_size) =
        ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(size.width, size.height, page.rgb())
    else {
        return Vec::new();
    };
    let scale = (f64::from(MAX_SIDE) / f64::from(size.width.max(size.height))).min(1.0);
    let side = |px: u32| ((f64::from(px) * scale).round() as u32).max(1);
    let small = imageops::thumbnail(&full_size, side(size.width), side(size.height));
    JPEG_QUALITIES
        .iter()
        .filter_map(|&quality| encode(&small, quality))
        .find(|jpeg| jpeg.len() <= MAX_BYTES)
        .unwrap_or_default()
}

fn encode(thumbnail: &image::RgbImage, quality: u8) -> Option<Vec<u8>> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality)
        .encode(
            thumbnail.as_raw(),
            thumbnail.width(),
            thumbnail.height(),
            ExtendedColorType::Rgb8,
        )
        .ok()?;
    Some(jpeg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Size;

    #[test]
    fn thumbnail_of_noise_fits_the_size_limit() {
        let noise: Vec<u8> = (0..640u32 * 900 * 3)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let jpeg = thumbnail(&PageImage::new(Size::new(640, 900), noise).unwrap());
        assert!(!jpeg.is_empty() && jpeg.len() <= MAX_BYTES);
        assert_eq!(image::load_from_memory(&jpeg).unwrap().height(), MAX_SIDE);
    }
}
