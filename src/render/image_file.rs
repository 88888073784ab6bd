//! Image files (PNG, JPEG, GIF, WebP, BMP) as manuals of one page; of an animation, the first frame.

use std::io::Cursor;

use fast_image_resize::Resizer;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

use super::size;
use crate::page::Size;

/// Decodes an image: EXIF orientation applied, transparency on white, at most `max_pixels` large.
pub(super) fn decode(bytes: &[u8], max_pixels: u64, memory: u64) -> Result<RgbImage, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes));
    let mut limits = Limits::default();
    limits.max_alloc = Some(memory / 2);
    reader.limits(limits);
    let reader = reader.with_guessed_format().map_err(|e| e.to_string())?;
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    image.apply_orientation(orientation);
    page_image(image, max_pixels)
}

/// An image as a page: transparency on white, at most `max_pixels` large.
pub(super) fn page_image(image: DynamicImage, max_pixels: u64) -> Result<RgbImage, String> {
    shrink(on_white(image), max_pixels)
}

fn on_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let source = image.into_rgba8();
    let mut flat = RgbImage::new(source.width(), source.height());
    for (from, to) in source.pixels().zip(flat.pixels_mut()) {
        let alpha = u32::from(from.0[3]);
        for (value, out) in from.0.iter().zip(&mut to.0) {
            *out = ((u32::from(*value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
    }
    flat
}

fn shrink(image: RgbImage, max_pixels: u64) -> Result<RgbImage, String> {
    let size = Size::new(image.width(), image.height());
    let target = size::of_image(size, max_pixels);
    if target == size {
        return Ok(image);
    }
    let mut small = RgbImage::new(target.width, target.height);
    let from = TypedImageRef::<U8x3>::from_buffer(size.width, size.height, &image)
        .map_err(|e| e.to_string())?;
    let mut to = TypedImage::<U8x3>::from_buffer(target.width, target.height, &mut small)
        .map_err(|e| e.to_string())?;
    Resizer::new()
        .resize_typed(&from, &mut to, None)
        .map_err(|e| e.to_string())?;
    Ok(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(image: &DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn transparent_pixels_become_white() {
        let clear = DynamicImage::ImageRgba8(image::RgbaImage::new(3, 2));
        let image = decode(&png(&clear), 100, 1 << 20).unwrap();
        assert!(image.iter().all(|v| *v == 255));
    }

    #[test]
    fn large_images_are_scaled_down() {
        let large = DynamicImage::ImageRgb8(RgbImage::new(400, 100));
        let image = decode(&png(&large), 10_000, 1 << 20).unwrap();
        assert_eq!(image.dimensions(), (200, 50));
    }

    #[test]
    fn invalid_data_is_an_error() {
        assert!(decode(b"\x89PNG\r\n\x1a\ninvalid", 100, 1 << 20).is_err());
    }
}
