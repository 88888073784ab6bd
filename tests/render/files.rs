//! Image files: one page, or, for TIFF, a page for every frame.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage};
use ingest::page::{PageSet, Size};
use ingest::render::Error;
use tiff::encoder::colortype::{Gray8, RGB8};
use tiff::encoder::{Compression, TiffEncoder};
use tiff::tags::Tag;

use super::{Fixture, ink};

#[test]
fn image_files_are_manuals_of_one_page() {
    let mut fixture = Fixture::new();
    let image = image::RgbImage::from_fn(300, 200, |x, y| image::Rgb([x as u8, y as u8, 7]));
    for name in ["a.png", "a.tif", "photo.jpeg"] {
        let path = fixture.folder.path().join(name);
        image.save(&path).unwrap();
        assert_eq!(fixture.open(&path, None).unwrap().pages, 1, "{name}");
        let page = fixture.pages(&PageSet::all()).remove(0).1.unwrap();
        assert_eq!(page.image.size(), Size::new(300, 200));
        assert!(page.text.is_empty() && !page.blank);
        assert!(name == "photo.jpeg" || page.image.rgb() == image.as_raw());
    }
    let torn = &std::fs::read(fixture.folder.path().join("a.png")).unwrap()[..400];
    let truncated = fixture.render("torn.png", torn);
    assert!(matches!(truncated, Err(Error::Image(_))), "{truncated:?}");
}

#[test]
fn other_pictures_that_people_have_are_read() {
    let mut fixture = Fixture::new();
    let image = DynamicImage::ImageRgb8(RgbImage::from_fn(300, 200, |x, y| {
        image::Rgb([x as u8, y as u8, 7])
    }));
    for (name, format) in [
        ("a.webp", ImageFormat::WebP),
        ("a.gif", ImageFormat::Gif),
        ("a.bmp", ImageFormat::Bmp),
    ] {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        let page = super::only(fixture.render(name, &bytes.into_inner()).unwrap());
        assert_eq!(page.image.size(), Size::new(300, 200), "{name}");
        assert!(!page.blank && page.text.is_empty());
    }
}

/// A gray frame with a black bar, `level` rows from the top.
fn frame(width: u32, height: u32, level: u32) -> Vec<u8> {
    let pixel = |n: u32| if n / width == level { 0 } else { 255 };
    (0..width * height).map(pixel).collect()
}

/// The row of the first pixel that is not white.
fn first_ink(page: &ingest::render::Rendered) -> usize {
    let at = page
        .image
        .rgb()
        .iter()
        .position(|value| *value < 128)
        .unwrap();
    at / 3 / page.image.size().width as usize
}

#[test]
fn every_frame_of_a_tiff_is_a_page() {
    for compression in [
        Compression::Uncompressed,
        Compression::Lzw,
        Compression::Packbits,
    ] {
        let mut bytes = Cursor::new(Vec::new());
        let mut tiff = TiffEncoder::new(&mut bytes)
            .unwrap()
            .with_compression(compression);
        for (width, height, level) in [(80, 100, 10), (120, 60, 20), (80, 100, 30)] {
            let data = frame(width, height, level);
            tiff.write_image::<Gray8>(width, height, &data).unwrap();
        }
        let pages = Fixture::new().render("scan.tif", bytes.get_ref()).unwrap();
        let seen = pages
            .into_iter()
            .map(Result::unwrap)
            .map(|page| (page.image.size(), first_ink(&page)));
        let expected = [(80, 100, 10), (120, 60, 20), (80, 100, 30)];
        assert_eq!(
            seen.collect::<Vec<_>>(),
            expected.map(|(w, h, l)| (Size::new(w, h), l as usize))
        );
    }
}

#[test]
fn smaller_copies_are_no_pages_and_dots_become_square() {
    let mut bytes = Cursor::new(Vec::new());
    let mut tiff = TiffEncoder::new(&mut bytes).unwrap();
    for (kind, vertical) in [(0_u32, 98), (1, 98), (0, 196)] {
        let mut image = tiff.new_image::<Gray8>(204, 98).unwrap();
        image
            .encoder()
            .write_tag(Tag::NewSubfileType, kind)
            .unwrap();
        let dpi = |dots| tiff::encoder::Rational { n: dots, d: 1 };
        image
            .encoder()
            .write_tag(Tag::XResolution, dpi(204))
            .unwrap();
        image
            .encoder()
            .write_tag(Tag::YResolution, dpi(vertical))
            .unwrap();
        image.write_data(&frame(204, 98, 5)).unwrap();
    }
    let pages = Fixture::new().render("fax.tif", bytes.get_ref()).unwrap();
    let sizes: Vec<Size> = pages
        .into_iter()
        .map(|page| page.unwrap().image.size())
        .collect();
    assert_eq!(sizes, [Size::new(204, 204), Size::new(204, 98)]);
}

#[test]
fn torn_frame_fails_alone() {
    let mut bytes = Cursor::new(Vec::new());
    let mut tiff = TiffEncoder::new(&mut bytes).unwrap();
    for level in [3, 4] {
        tiff.write_image::<RGB8>(10, 10, &frame(30, 10, level))
            .unwrap();
    }
    let mut bytes = bytes.into_inner();
    // The offset of the second frame's data points behind the end.
    let tag = [
        Tag::StripOffsets.to_u16().to_le_bytes(),
        4_u16.to_le_bytes(),
    ]
    .concat();
    let at = bytes.windows(4).rposition(|window| window == tag).unwrap();
    bytes[at + 8..at + 12].copy_from_slice(&0x00ff_ffff_u32.to_le_bytes());
    let pages = Fixture::new().render("torn.tif", &bytes).unwrap();
    assert!(pages[0].is_ok() && pages[1].is_err(), "{:?}", pages[1]);
}

/// A TIFF of one frame of fax data, as scanners write it: one strip, WhiteIsZero.
fn fax_tiff(
    compression: u16,
    options: &[(u16, u32)],
    width: u32,
    height: u32,
    data: &[u8],
) -> Vec<u8> {
    let mut entries = vec![
        (256, width),
        (257, height),
        (258, 1),
        (259, u32::from(compression)),
        (262, 0),
        (273, 8),
        (277, 1),
        (278, height),
        (279, data.len() as u32),
    ];
    entries.extend_from_slice(options);
    entries.sort_unstable();
    let mut bytes = b"II*\0".to_vec();
    let directory = (8 + data.len()).next_multiple_of(2);
    bytes.extend_from_slice(&(directory as u32).to_le_bytes());
    bytes.extend_from_slice(data);
    bytes.resize(directory, 0);
    bytes.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    for (tag, value) in entries {
        bytes.extend_from_slice(&u16::to_le_bytes(tag));
        bytes.extend_from_slice(&4_u16.to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes
}

/// Rows of 16 pixels: white, and with 8 black pixels in the middle (ITU-T T.4: white 4 `1011`, black 8 `000101`, white 16
/// `101010`; end of line `000000000001`).
const WHITE_ROW: &str = "101010";
const BLACK_ROW: &str = "1011 000101 1011";
const END_OF_LINE: &str = "000000000001";

fn bits(text: &str) -> Vec<u8> {
    let bits: Vec<u8> = text
        .bytes()
        .filter(|b| *b != b' ')
        .map(|b| b - b'0')
        .collect();
    bits.chunks(8)
        .map(|byte| {
            byte.iter()
                .enumerate()
                .fold(0, |all, (n, bit)| all | bit << (7 - n))
        })
        .collect()
}

#[test]
fn fax_frames_of_every_kind_are_decoded() {
    let group_3: String = [WHITE_ROW, BLACK_ROW, BLACK_ROW, WHITE_ROW]
        .map(|row| format!("{END_OF_LINE}{row}"))
        .concat();
    let group_3 = bits(&format!("{group_3}{}", END_OF_LINE.repeat(6)));
    let huffman = [WHITE_ROW, BLACK_ROW, BLACK_ROW, WHITE_ROW]
        .map(bits)
        .concat();
    // Group 4: vertical mode 0 `1`, horizontal mode `001`.
    let group_4 = bits(&format!(
        "1 001 1011 000101 1 111 001 101010 0000110111 {}",
        END_OF_LINE.repeat(2)
    ));
    let reversed: Vec<u8> = group_3.iter().map(|byte| byte.reverse_bits()).collect();
    for (name, compression, options, data) in [
        ("Huffman", 2, vec![], huffman),
        ("Group 3", 3, vec![], group_3),
        ("Group 3, reversed", 3, vec![(266, 2)], reversed),
        ("Group 4", 4, vec![], group_4),
    ] {
        let bytes = fax_tiff(compression, &options, 16, 4, &data);
        let page = super::only(Fixture::new().render("fax.tif", &bytes).unwrap());
        assert_eq!(page.image.size(), Size::new(16, 4), "{name}");
        let rows: Vec<usize> = page
            .image
            .rgb()
            .chunks(48)
            .map(|row| row.chunks(3).filter(|pixel| pixel[0] < 128).count())
            .collect();
        assert_eq!(rows[..3], [0, 8, 8], "{name}");
        assert!(ink(&page) >= 16, "{name}");
    }
}
