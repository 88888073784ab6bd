//! Picture files as manuals of one page.

use std::io::Cursor;

use fast_image_resize::images::Image;
use fast_image_resize::{PixelType, Resizer};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

use super::size;
use crate::page::Size;

/// Decodes a picture upright, on white, at most so many pixels large.
pub(super) fn decode(bytes: &[u8], max_pixels: u64, memory: u64) -> Result<RgbImage, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes));
    let mut limits = Limits::default();
    limits.max_alloc = Some(memory / 2);
    reader.limits(limits);
    let reader = reader.with_guessed_format().map_err(|e| e.to_string())?;
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    picture.apply_orientation(orientation);
    shrink(on_white(picture), max_pixels)
}

fn on_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let source = picture.into_rgba8();
    let mut flat = RgbImage::new(source.width(), source.height());
    for (from, to) in source.pixels().zip(flat.pixels_mut()) {
        let alpha = u32::from(from.0[3]);
        for (value, out) in from.0.iter().zip(&mut to.0) {
            *out = ((u32::from(*value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
    }
    flat
}

fn shrink(picture: RgbImage, max_pixels: u64) -> Result<RgbImage, String> {
    let size = Size::new(picture.width(), picture.height());
    let target = size::of_picture(size, max_pixels);
    if target == size {
        return Ok(picture);
    }
    let from = Image::from_vec_u8(size.width, size.height, picture.into_raw(), PixelType::U8x3)
        .map_err(|e| e.to_string())?;
    let mut to = Image::new(target.width, target.height, PixelType::U8x3);
    Resizer::new()
        .resize(&from, &mut to, None)
        .map_err(|e| e.to_string())?;
    RgbImage::from_raw(target.width, target.height, to.into_vec())
        .ok_or_else(|| "the picture does not fit its memory".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(picture: &DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
    }

    #[test]
    fn transparent_is_white() {
        let clear = DynamicImage::ImageRgba8(image::RgbaImage::new(3, 2));
        let picture = decode(&png(&clear), 100, 1 << 20).unwrap();
        assert!(picture.iter().all(|v| *v == 255));
    }

    #[test]
    fn large_pictures_shrink() {
        let large = DynamicImage::ImageRgb8(RgbImage::new(400, 100));
        let picture = decode(&png(&large), 10_000, 1 << 20).unwrap();
        assert_eq!(picture.dimensions(), (200, 50));
    }

    #[test]
    fn rubbish_is_refused() {
        assert!(decode(b"\x89PNG\r\n\x1a\nrubbish", 100, 1 << 20).is_err());
    }
}
