//! TIFF files: every frame is a page, as scanners and fax machines write them.

use std::collections::HashSet;
use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};
use memmap2::MmapMut;
use tiff::ColorType;
use tiff::decoder::ifd::Value;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, IfdPointer, PhotometricInterpretation, Tag};

use super::fax::{self, FaxImage};
use super::image_file;

/// Maximum number of frames, and of entries in the directory of one; the rest is dropped.
const MAX_FRAMES: usize = 100_000;
const MAX_ENTRIES: u64 = 1_000;
/// Bits of `NewSubfileType`: a smaller copy of another frame, and a mask of one.
const REDUCED_OR_MASK: u32 = 1 | 4;
/// Ratios of horizontal to vertical resolution that are taken seriously: a fax has up to 204 x 98 dpi.
const ASPECTS: std::ops::Range<f32> = 1.1..4.0;

type Reader<'a> = Decoder<Cursor<&'a [u8]>>;

/// A frame of a file.
pub(super) enum Frame {
    /// Its pixels.
    Pixels(RgbImage),
    /// A PDF of one page with the frame's fax data, which PDFium decodes.
    Fax(Vec<u8>),
}

/// An open TIFF file.
pub(super) struct TiffFile {
    bytes: MmapMut,
    /// Positions of the pages among the frames.
    frames: Vec<usize>,
}

impl TiffFile {
    /// Reads the list of frames. `bytes` is a private copy of the file: see [`make_palettes_gray`].
    pub(super) fn open(mut bytes: MmapMut) -> Result<Self, String> {
        let frames = page_frames(&bytes)?;
        make_palettes_gray(&mut bytes, &frames);
        let frames = frames.into_iter().filter(|frame| frame.is_page);
        let frames = frames.map(|frame| frame.index).collect();
        Ok(Self { bytes, frames })
    }

    /// Number of pages.
    pub(super) fn pages(&self) -> u32 {
        self.frames.len() as u32
    }

    /// Decodes the frame of page `number`, counted from 1, to at most `max_pixels` with at most `memory` bytes.
    pub(super) fn page(&self, number: u32, max_pixels: u64, memory: u64) -> Result<Frame, String> {
        let index = (number as usize)
            .checked_sub(1)
            .and_then(|n| self.frames.get(n));
        let index = *index.ok_or("the file has no such frame")?;
        self.decode(index, max_pixels, memory)
            .map_err(|e| e.to_string())
    }

    fn decode(&self, index: usize, max_pixels: u64, memory: u64) -> Result<Frame, Failure> {
        let mut limits = Limits::default();
        limits.decoding_buffer_size = (memory / 2) as usize;
        limits.intermediate_buffer_size = (memory / 4) as usize;
        limits.ifd_value_size = (memory / 16) as usize;
        let mut decoder = reader(&self.bytes)?.with_limits(limits);
        decoder.seek_to_image(index)?;
        let aspect = aspect(&mut decoder);
        if let Some(fax) = fax_image(&mut decoder, &self.bytes, aspect)? {
            return Ok(Frame::Fax(fax::to_pdf(&fax)));
        }
        let mut image = pixels(&mut decoder)?;
        if aspect != 1.0 {
            image = stretched(&image, aspect);
        }
        let orientation = decoder.find_tag_unsigned::<u8>(Tag::Orientation)?;
        if let Some(orientation) = orientation.and_then(Orientation::from_exif) {
            image.apply_orientation(orientation);
        }
        Ok(Frame::Pixels(image_file::page_image(image, max_pixels)?))
    }
}

/// Why a frame cannot be decoded.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Tiff(#[from] tiff::TiffError),
    #[error("{0}")]
    Unsupported(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Unsupported(why)
    }
}

fn reader(bytes: &[u8]) -> tiff::TiffResult<Reader<'_>> {
    Decoder::new(Cursor::new(bytes))
}

/// An entry of the list of frames.
struct FrameEntry {
    index: usize,
    /// Offset of its directory in the file.
    directory: u64,
    /// Whether it is a page: no smaller copy and no mask of another frame, unless there is nothing else.
    is_page: bool,
}

fn page_frames(bytes: &[u8]) -> Result<Vec<FrameEntry>, String> {
    let mut decoder = reader(bytes).map_err(|e| e.to_string())?;
    let (mut frames, mut seen) = (Vec::new(), HashSet::new());
    let mut next = decoder.ifd_pointer();
    while let Some(IfdPointer(offset)) = next
        && frames.len() < MAX_FRAMES
        && seen.insert(offset)
    {
        // A torn file ends here; the frames before it are whole.
        let Ok(directory) = decoder.read_directory(IfdPointer(offset)) else {
            break;
        };
        let kind = decoder
            .read_directory_tags(&directory)
            .find_tag_unsigned::<u32>(Tag::NewSubfileType);
        frames.push(FrameEntry {
            index: frames.len(),
            directory: offset,
            is_page: kind.ok().flatten().unwrap_or(0) & REDUCED_OR_MASK == 0,
        });
        next = directory.next();
    }
    if !frames.iter().any(|frame| frame.is_page) {
        frames.iter_mut().for_each(|frame| frame.is_page = true);
    }
    Ok(frames)
}

/// Declares the indices of palette images to be gray levels: the decoder refuses palettes, which [`pixels`] looks up.
fn make_palettes_gray(bytes: &mut [u8], frames: &[FrameEntry]) {
    let is_little = bytes.starts_with(b"II");
    let is_big_tiff = bytes.get(2..4).is_some_and(|version| version.contains(&43));
    let number = |field: &[u8]| {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        match is_little {
            true => field.iter().rev().fold(0, add),
            false => field.iter().fold(0, add),
        }
    };
    // The number of entries, the length of one, and where its value begins (TIFF 6.0, section 2; BigTIFF).
    let (count_bytes, entry_bytes, value_at) = match is_big_tiff {
        true => (8, 20, 12),
        false => (2, 12, 8),
    };
    for frame in frames {
        let start = frame.directory as usize;
        let count = bytes
            .get(start..start.saturating_add(count_bytes))
            .map_or(0, number);
        for entry in 0..count.min(MAX_ENTRIES) as usize {
            let at = start + count_bytes + entry * entry_bytes;
            let Some(entry) = bytes.get_mut(at..at + entry_bytes) else {
                break;
            };
            let value = &entry[value_at..value_at + 2];
            if number(&entry[..2]) == u64::from(Tag::PhotometricInterpretation.to_u16())
                && number(value) == u64::from(PhotometricInterpretation::RGBPalette.to_u16())
            {
                let gray = PhotometricInterpretation::BlackIsZero.to_u16();
                let gray = if is_little {
                    gray.to_le_bytes()
                } else {
                    gray.to_be_bytes()
                };
                entry[value_at..value_at + 2].copy_from_slice(&gray);
            }
        }
    }
}

/// Horizontal by vertical resolution; 1 where they are about equal or not plausible.
fn aspect(decoder: &mut Reader<'_>) -> f32 {
    let mut resolution = |tag| match decoder.find_tag(tag) {
        Ok(Some(Value::Rational(dots, units))) => dots as f32 / units as f32,
        _ => 1.0,
    };
    let ratio = resolution(Tag::XResolution) / resolution(Tag::YResolution);
    match ASPECTS.contains(&ratio) || ASPECTS.contains(&(1.0 / ratio)) {
        true => ratio,
        false => 1.0,
    }
}

/// The image with its coarser direction enlarged, so that its pixels become square.
fn stretched(image: &DynamicImage, aspect: f32) -> DynamicImage {
    let (width, height) = (image.width(), image.height());
    let by = |side: u32, factor: f32| (side as f32 * factor).round() as u32;
    let (width, height) = match aspect > 1.0 {
        true => (width, by(height, aspect)),
        false => (by(width, 1.0 / aspect), height),
    };
    image.resize_exact(width, height, image::imageops::FilterType::Triangle)
}

/// The data of a frame compressed as a fax (Huffman, Group 3 or Group 4); `None` if it is compressed otherwise.
fn fax_image<'a>(
    decoder: &mut Reader<'_>,
    bytes: &'a [u8],
    aspect: f32,
) -> Result<Option<FaxImage<'a>>, Failure> {
    let method = decoder.get_tag_unsigned::<u16>(Tag::Compression)?;
    let options = |decoder: &mut Reader<'_>, tag| decoder.find_tag_unsigned::<u32>(tag);
    let (k, byte_aligned) = match CompressionMethod::from_u16_exhaustive(method) {
        CompressionMethod::Huffman => (0, true),
        CompressionMethod::Fax3 => {
            let two_dimensional = options(decoder, Tag::Unknown(T4_OPTIONS))?.unwrap_or(0) & 1;
            (two_dimensional as i32, false)
        }
        CompressionMethod::Fax4 => (-1, false),
        _ => return Ok(None),
    };
    let (width, height) = decoder.dimensions()?;
    let offsets = decoder.get_tag_u64_vec(Tag::StripOffsets)?;
    let lengths = decoder.get_tag_u64_vec(Tag::StripByteCounts)?;
    let strip = |(offset, length): (&u64, &u64)| {
        let start = usize::try_from(*offset).ok()?;
        let end = start.checked_add(usize::try_from(*length).ok()?)?;
        bytes.get(start..end.min(bytes.len()))
    };
    let strips: Option<Vec<&[u8]>> = offsets.iter().zip(&lengths).map(strip).collect();
    let strips = strips.ok_or_else(|| "its data is missing: the file is cut".to_owned())?;
    let rows = options(decoder, Tag::RowsPerStrip)?
        .unwrap_or(height)
        .min(height);
    let photometric = options(decoder, Tag::PhotometricInterpretation)?;
    Ok(Some(FaxImage {
        width,
        height,
        rows_per_strip: rows.max(1),
        strips,
        k,
        byte_aligned,
        black_is_one: photometric
            == Some(u32::from(PhotometricInterpretation::BlackIsZero.to_u16())),
        reversed_bits: options(decoder, Tag::FillOrder)? == Some(2),
        rotation: match options(decoder, Tag::Orientation)? {
            Some(3) => 180,
            Some(6) => 90,
            Some(8) => 270,
            _ => 0,
        },
        aspect,
    }))
}

/// Options of Group 3 (TIFF 6.0, section 11).
const T4_OPTIONS: u16 = 292;
/// The palette (TIFF 6.0, section 5).
const COLOR_MAP: u16 = 320;

/// The pixels of the current frame.
fn pixels(decoder: &mut Reader<'_>) -> Result<DynamicImage, Failure> {
    let (width, height) = decoder.dimensions()?;
    let color = decoder.colortype()?;
    let mut data = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut data)?;
    let samples: Vec<u8> = match data {
        DecodingResult::U8(values) => values,
        DecodingResult::U16(values) => values.into_iter().map(|v| (v >> 8) as u8).collect(),
        _ => return Err(unsupported(color)),
    };
    let samples = interleaved(samples, layout.planes);
    let row = |bits: u8| packed_row(width, bits);
    let rgb = |samples| RgbImage::from_raw(width, height, samples).map(DynamicImage::ImageRgb8);
    let palette = match decoder.find_tag(Tag::Unknown(COLOR_MAP))? {
        Some(palette) => palette.into_u16_vec()?,
        None => Vec::new(),
    };
    let image = match color {
        ColorType::Gray(bits @ (1 | 2 | 4 | 8)) if !palette.is_empty() => {
            let indices = unpacked(&samples, width, row(bits), bits);
            rgb(indices.flat_map(palette_lookup(&palette)).collect())
        }
        ColorType::Gray(bits @ (1 | 2 | 4)) => {
            let scale = 255 / ((1_u16 << bits) - 1) as u8;
            let gray = unpacked(&samples, width, row(bits), bits).map(|v| v * scale);
            GrayImage::from_raw(width, height, gray.collect()).map(DynamicImage::ImageLuma8)
        }
        ColorType::Gray(8 | 16) => {
            GrayImage::from_raw(width, height, samples).map(DynamicImage::ImageLuma8)
        }
        ColorType::GrayA(8 | 16)
        | ColorType::Multiband {
            bit_depth: 8 | 16,
            num_samples: 2,
        } => image::GrayAlphaImage::from_raw(width, height, samples).map(DynamicImage::ImageLumaA8),
        ColorType::RGB(8 | 16) => rgb(samples),
        ColorType::RGBA(8 | 16) => {
            RgbaImage::from_raw(width, height, samples).map(DynamicImage::ImageRgba8)
        }
        ColorType::CMYK(8 | 16) => rgb(samples.chunks_exact(4).flat_map(rgb_of_cmyk).collect()),
        ColorType::YCbCr(8) => rgb(samples.chunks_exact(3).flat_map(rgb_of_ycbcr).collect()),
        _ => return Err(unsupported(color)),
    };
    image.ok_or_else(|| "its data is shorter than its size".to_owned().into())
}

/// The samples pixel by pixel, if they are stored plane by plane.
fn interleaved(samples: Vec<u8>, planes: usize) -> Vec<u8> {
    if planes < 2 {
        return samples;
    }
    let plane = samples.len() / planes;
    let pixel = |at: usize| (0..planes).map(move |channel| channel * plane + at);
    (0..plane).flat_map(pixel).map(|at| samples[at]).collect()
}

fn unsupported(color: ColorType) -> Failure {
    Failure::Unsupported(format!("colour type {color:?} is not supported"))
}

/// Bytes of a row whose pixels are packed.
fn packed_row(width: u32, bits: u8) -> usize {
    (width as usize * usize::from(bits)).div_ceil(8).max(1)
}

/// The values of pixels of less than a byte, or a byte; rows begin at a byte.
fn unpacked(samples: &[u8], width: u32, row: usize, bits: u8) -> impl Iterator<Item = u8> {
    let per_byte = usize::from(8 / bits);
    samples.chunks(row).flat_map(move |row| {
        let value = move |x: usize| {
            let shift = 8 - bits as usize * (x % per_byte + 1);
            let mask = (1_u16 << bits) - 1;
            row.get(x / per_byte)
                .map_or(0, |byte| (u16::from(*byte) >> shift & mask) as u8)
        };
        (0..width as usize).map(value)
    })
}

/// The colour of an index: a palette holds all reds, then all greens, then all blues, as 16 bits.
fn palette_lookup(palette: &[u16]) -> impl Fn(u8) -> [u8; 3] {
    let third = palette.len() / 3;
    move |index| {
        [0, 1, 2].map(|channel| {
            let value = palette.get(channel * third + usize::from(index));
            value.map_or(0, |v| (v >> 8) as u8)
        })
    }
}

fn rgb_of_cmyk(cmyk: &[u8]) -> [u8; 3] {
    let ink = |at: usize| u16::from(255 - cmyk[at]);
    [0, 1, 2].map(|channel| (ink(channel) * ink(3) / 255) as u8)
}

/// JFIF's conversion (ITU-R BT.601, full range).
fn rgb_of_ycbcr(pixel: &[u8]) -> [u8; 3] {
    let [y, cb, cr] = [0, 1, 2].map(|at| f32::from(pixel[at]));
    let (cb, cr) = (cb - 128.0, cr - 128.0);
    [
        y + 1.402 * cr,
        y - 0.344_136 * cb - 0.714_136 * cr,
        y + 1.772 * cb,
    ]
    .map(|value| value.round().clamp(0.0, 255.0) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_pixels_are_unpacked_row_by_row() {
        let samples = [0b1010_0000, 0b0100_0000];
        let values: Vec<u8> = unpacked(&samples, 3, packed_row(3, 1), 1).collect();
        assert_eq!(values, [1, 0, 1, 0, 1, 0]);
        let values: Vec<u8> = unpacked(&[0x12, 0x30], 3, packed_row(3, 4), 4).collect();
        assert_eq!(values, [1, 2, 3]);
    }

    #[test]
    fn colours_are_converted() {
        assert_eq!(interleaved(vec![1, 2, 3, 4, 5, 6], 3), [1, 3, 5, 2, 4, 6]);
        assert_eq!(rgb_of_cmyk(&[0, 0, 0, 0]), [255, 255, 255]);
        assert_eq!(rgb_of_cmyk(&[0, 255, 255, 0]), [255, 0, 0]);
        assert_eq!(rgb_of_ycbcr(&[255, 128, 128]), [255, 255, 255]);
        assert_eq!(rgb_of_ycbcr(&[76, 85, 255]), [254, 0, 0]);
        let palette = [0, 0xff00, 0, 0x8000, 0, 0x1000];
        assert_eq!(palette_lookup(&palette)(1), [255, 128, 16]);
    }
}
