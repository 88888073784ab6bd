//! JPEG images for requests.

use std::sync::Arc;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::page::Size;

/// JPEG quality of the page images sent.
const QUALITY: u8 = 90;
/// Side of the test image: a multiple of the patches of all model families.
const TEST_SIDE: u32 = 448;

/// Encodes RGB pixels.
pub fn encode(rgb: &[u8], size: Size) -> Arc<[u8]> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    // Writing to memory does not fail.
    drop(encoder.write_image(rgb, size.width, size.height, ExtendedColorType::Rgb8));
    bytes.into()
}

/// A black square on white: an image that every model can describe.
pub fn test_image() -> Arc<[u8]> {
    let is_inside = |at: u32| (TEST_SIDE / 4..TEST_SIDE * 3 / 4).contains(&at);
    let pixels = (0..TEST_SIDE * TEST_SIDE).flat_map(|index| {
        let is_black = is_inside(index / TEST_SIDE) && is_inside(index % TEST_SIDE);
        [if is_black { 0 } else { 255 }; 3]
    });
    let rgb: Vec<u8> = pixels.collect();
    encode(&rgb, Size::new(TEST_SIDE, TEST_SIDE))
}
