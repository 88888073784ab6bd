//! A small picture of a page, for result lists.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageBuffer, Rgb, imageops};

use crate::page::PageImage;

/// Width and height a thumbnail fits into.
const BOX: u32 = 320;
/// Bytes a thumbnail may take.
const MOST: usize = 40_000;
/// JPEG qualities, tried until one is small enough.
const QUALITIES: [u8; 3] = [70, 45, 20];

/// A JPEG of at most 40 KB that fits into 320 x 320; empty only if even the worst quality is larger.
pub(super) fn thumbnail(page: &PageImage) -> Vec<u8> {
    let size = page.size();
    let Some(full) = ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(size.width, size.height, page.rgb())
    else {
        return Vec::new();
    };
    let scale = (f64::from(BOX) / f64::from(size.width.max(size.height))).min(1.0);
    let side = |px: u32| ((f64::from(px) * scale).round() as u32).max(1);
    let small = imageops::thumbnail(&full, side(size.width), side(size.height));
    QUALITIES
        .iter()
        .filter_map(|&quality| encode(&small, quality))
        .find(|jpeg| jpeg.len() <= MOST)
        .unwrap_or_default()
}

fn encode(picture: &image::RgbImage, quality: u8) -> Option<Vec<u8>> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality)
        .encode(
            picture.as_raw(),
            picture.width(),
            picture.height(),
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
    fn even_noise_makes_a_small_thumbnail() {
        let noise: Vec<u8> = (0..640u32 * 900 * 3)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let jpeg = thumbnail(&PageImage::new(Size::new(640, 900), noise).unwrap());
        assert!(!jpeg.is_empty() && jpeg.len() <= MOST);
        assert_eq!(image::load_from_memory(&jpeg).unwrap().height(), BOX);
    }
}
