//! What PDFium could not draw, without saying so: text in a font that is nowhere, and pictures that cannot be decoded.

use std::ffi::{c_int, c_void};

use super::objects::{Kind, Object};
use super::page::Page;
use super::text_page::TextPage;
use crate::page::Size;
use crate::render::Undrawn;

/// Part of the font size, above and below the baseline, in which a line of letters has ink.
const STRIP: f32 = 0.15;
/// Minimum number of letters for a line of text to count: bullets and symbols are often in fonts of their own.
const MIN_LETTERS: usize = 2;
/// Maximum number of objects that are examined; the rest counts as drawn.
const MAX_OBJECTS: usize = 20_000;
/// Minimum side of a picture in pixels.
const MIN_SIDE: u32 = 8;
/// Side of the cells, in pixels, in which a page image is compared.
const CELL: u32 = 8;

/// What is missing on the page image `rgb`, each reason once.
pub(super) fn find(
    page: &Page<'_>,
    objects: &[&Object],
    size: Size,
    rotation: u8,
    rgb: &[u8],
) -> Vec<Undrawn> {
    let objects = &objects[..objects.len().min(MAX_OBJECTS)];
    let canvas = Canvas {
        page,
        size,
        rotation,
        rgb,
    };
    let mut found = missing_fonts(&canvas, objects);
    for picture in undecodable_pictures(&canvas, objects) {
        if !found.contains(&picture) {
            found.push(picture);
        }
    }
    found
}

/// Lines of text without any ink. PDFium gives such a line bounds without height (or width, if it is rotated).
fn missing_fonts(canvas: &Canvas<'_>, objects: &[&Object]) -> Vec<Undrawn> {
    let bindings = canvas.page.bindings();
    let mut letters = String::new();
    let mut text_page = None;
    for object in objects {
        if object.kind != (Kind::Text { visible: true }) {
            continue;
        }
        let Some([left, bottom, right, top]) = object.bounds(bindings) else {
            continue;
        };
        if !object.is_flat(bindings) {
            continue;
        }
        let text_page = text_page
            .get_or_insert_with(|| TextPage::load(bindings, canvas.page.handle()))
            .as_ref();
        let text = text_page.map_or_else(String::new, |page| page.object_text(object.handle));
        let margin = STRIP * font_size(canvas, object);
        let around = [left - margin, bottom - margin, right + margin, top + margin];
        let is_missing = text.chars().any(char::is_alphanumeric)
            && canvas
                .colour_of(around)
                .is_some_and(|colour| object.fill(bindings) != Some(colour));
        if is_missing {
            letters.extend(text.chars().filter(|c| c.is_alphanumeric()));
        }
    }
    match letters.chars().count() >= MIN_LETTERS {
        true => vec![Undrawn::Font {
            script: script_of(&letters).to_owned(),
        }],
        false => Vec::new(),
    }
}

/// The font size of a text object on the page, in points.
fn font_size(canvas: &Canvas<'_>, object: &Object) -> f32 {
    let bindings = canvas.page.bindings();
    let (mut size, mut matrix) = (0.0_f32, [1.0_f32, 0.0, 0.0, 1.0, 0.0, 0.0]);
    // SAFETY: the text object belongs to the loaded page; `FS_MATRIX` is six floats.
    unsafe {
        bindings.FPDFTextObj_GetFontSize(object.handle.cast(), &raw mut size);
        bindings.FPDFPageObj_GetMatrix(object.handle.cast(), matrix.as_mut_ptr().cast());
    }
    let scale = |m: &[f32; 6]| (m[0] * m[3] - m[1] * m[2]).abs().sqrt();
    size.abs() * scale(&matrix) * scale(&object.to_page)
}

/// The script that most people would name for these letters.
fn script_of(letters: &str) -> &'static str {
    let has = |ranges: &[(char, char)]| {
        letters.chars().any(|c| {
            ranges
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&c))
        })
    };
    const SCRIPTS: [(&str, &[(char, char)]); 9] = [
        (
            "Japanese",
            &[('\u{3041}', '\u{30ff}'), ('\u{ff66}', '\u{ff9f}')],
        ),
        (
            "Korean",
            &[('\u{1100}', '\u{11ff}'), ('\u{ac00}', '\u{d7af}')],
        ),
        (
            "Chinese or Japanese",
            &[('\u{3400}', '\u{9fff}'), ('\u{20000}', '\u{3ffff}')],
        ),
        ("Thai", &[('\u{e00}', '\u{e7f}')]),
        (
            "Arabic",
            &[('\u{600}', '\u{6ff}'), ('\u{fb50}', '\u{fefc}')],
        ),
        ("Hebrew", &[('\u{590}', '\u{5ff}')]),
        ("an Indian script", &[('\u{900}', '\u{dff}')]),
        ("Greek", &[('\u{370}', '\u{3ff}')]),
        ("Cyrillic", &[('\u{400}', '\u{52f}')]),
    ];
    SCRIPTS
        .iter()
        .find(|(_, ranges)| has(ranges))
        .map_or("its text", |(name, _)| name)
}

/// Pictures whose place on the page has one colour, apart from what is drawn over them, and that PDFium cannot decode.
fn undecodable_pictures(canvas: &Canvas<'_>, objects: &[&Object]) -> Vec<Undrawn> {
    let bindings = canvas.page.bindings();
    let Some(first) = objects.iter().position(|o| o.kind == Kind::Image) else {
        return Vec::new();
    };
    let mut covered = Cells::new(canvas.size);
    let mut found = Vec::new();
    for object in objects[first..].iter().rev() {
        if object.kind == (Kind::Text { visible: false }) {
            continue;
        }
        let Some(area) = object.bounds(bindings).and_then(|b| canvas.pixels(b)) else {
            continue;
        };
        let [left, top, right, bottom] = area;
        let is_large = right - left >= MIN_SIDE && bottom - top >= MIN_SIDE;
        if object.kind == Kind::Image
            && is_large
            && covered.is_flat_outside(canvas, area)
            && !decodes(canvas, object)
        {
            let format = format_of(canvas, object).to_owned();
            found.push(Undrawn::Picture { format });
        }
        covered.fill(area);
    }
    found.dedup();
    found
}

/// Whether PDFium can decode a picture.
fn decodes(canvas: &Canvas<'_>, picture: &Object) -> bool {
    let bindings = canvas.page.bindings();
    // SAFETY: the image belongs to the loaded page; the bitmap is ours and destroyed here.
    unsafe {
        let bitmap = bindings.FPDFImageObj_GetBitmap(picture.handle.cast());
        if bitmap.is_null() {
            return false;
        }
        bindings.FPDFBitmap_Destroy(bitmap);
    }
    true
}

/// The name of a picture's last filter.
fn format_of(canvas: &Canvas<'_>, picture: &Object) -> &'static str {
    let bindings = canvas.page.bindings();
    let mut name = [0_u8; 32];
    // SAFETY: the image belongs to the loaded page; the index is below the count, and the buffer has the length given.
    let length = unsafe {
        let image = picture.handle.cast();
        let last: c_int = bindings.FPDFImageObj_GetImageFilterCount(image) - 1;
        let to: *mut c_void = name.as_mut_ptr().cast();
        bindings.FPDFImageObj_GetImageFilter(image, last.max(0), to, name.len() as _)
    };
    let length = (length as usize).saturating_sub(1).min(name.len());
    match &name[..length] {
        b"DCTDecode" => "JPEG",
        b"JPXDecode" => "JPEG 2000",
        b"JBIG2Decode" => "JBIG2",
        b"CCITTFaxDecode" => "fax",
        _ => "",
    }
}

/// Left, top, right and bottom in pixels, the last two exclusive.
type Area = [u32; 4];

/// A page and the image that was drawn of it.
struct Canvas<'a> {
    page: &'a Page<'a>,
    size: Size,
    rotation: u8,
    rgb: &'a [u8],
}

impl Canvas<'_> {
    /// The pixels of a rectangle of the page; `None` if none of them is on it.
    fn pixels(&self, [left, bottom, right, top]: [f32; 4]) -> Option<Area> {
        let (x0, y0) = self.pixel(left, bottom)?;
        let (x1, y1) = self.pixel(right, top)?;
        let clip = |value: c_int, limit: u32| value.clamp(0, limit as c_int) as u32;
        let (width, height) = (self.size.width, self.size.height);
        let area = [
            clip(x0.min(x1), width),
            clip(y0.min(y1), height),
            clip(x0.max(x1).saturating_add(1), width),
            clip(y0.max(y1).saturating_add(1), height),
        ];
        (area[0] < area[2] && area[1] < area[3]).then_some(area)
    }

    fn pixel(&self, x: f32, y: f32) -> Option<(c_int, c_int)> {
        let (mut device_x, mut device_y) = (0, 0);
        // SAFETY: the page is open.
        let known = unsafe {
            self.page.bindings().FPDF_PageToDevice(
                self.page.handle().cast(),
                0,
                0,
                self.size.width as c_int,
                self.size.height as c_int,
                c_int::from(self.rotation),
                f64::from(x),
                f64::from(y),
                &raw mut device_x,
                &raw mut device_y,
            )
        };
        (known != 0).then_some((device_x, device_y))
    }

    /// The colour of a rectangle of the page, if it is on the page and has only one.
    fn colour_of(&self, rectangle: [f32; 4]) -> Option<[u8; 3]> {
        let area = self.pixels(rectangle)?;
        let first = self.row(area[1], area[0], area[0] + 1);
        let colour = [first[0], first[1], first[2]];
        self.is_flat(area, colour).then_some(colour)
    }

    fn is_flat(&self, [left, top, right, bottom]: Area, colour: [u8; 3]) -> bool {
        (top..bottom).all(|y| {
            self.row(y, left, right)
                .chunks_exact(3)
                .all(|p| p == colour)
        })
    }

    fn row(&self, y: u32, left: u32, right: u32) -> &[u8] {
        let at = |x: u32| 3 * (y as usize * self.size.width as usize + x as usize);
        &self.rgb[at(left)..at(right)]
    }
}

/// The cells of a page image on which something is drawn.
struct Cells {
    columns: u32,
    covered: Vec<bool>,
}

impl Cells {
    fn new(size: Size) -> Self {
        let columns = size.width.div_ceil(CELL);
        Self {
            columns,
            covered: vec![false; (columns * size.height.div_ceil(CELL)) as usize],
        }
    }

    /// The cells of an area: column, row and index.
    fn of(
        &self,
        [left, top, right, bottom]: Area,
    ) -> impl Iterator<Item = (u32, u32, usize)> + use<> {
        let columns = self.columns;
        (top / CELL..bottom.div_ceil(CELL)).flat_map(move |row| {
            (left / CELL..right.div_ceil(CELL))
                .map(move |column| (column, row, (row * columns + column) as usize))
        })
    }

    fn fill(&mut self, area: Area) {
        for (_, _, index) in self.of(area) {
            self.covered[index] = true;
        }
    }

    /// Whether all pixels of an area in cells on which nothing is drawn have one colour, and there are such.
    fn is_flat_outside(&self, canvas: &Canvas<'_>, area: Area) -> bool {
        let mut colour = None;
        for (column, row, _) in self.of(area).filter(|(_, _, index)| !self.covered[*index]) {
            let cell = [
                (column * CELL).max(area[0]),
                (row * CELL).max(area[1]),
                (column * CELL + CELL).min(area[2]),
                (row * CELL + CELL).min(area[3]),
            ];
            let first = canvas.row(cell[1], cell[0], cell[0] + 1);
            let colour = *colour.get_or_insert([first[0], first[1], first[2]]);
            if !canvas.is_flat(cell, colour) {
                return false;
            }
        }
        colour.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::script_of;

    #[test]
    fn scripts_are_named_by_their_letters() {
        for (letters, script) in [
            ("日本語の取扯説明書", "Japanese"),
            ("说明书", "Chinese or Japanese"),
            ("사용설명서", "Korean"),
            ("คู่มือ", "Thai"),
            ("Pump", "its text"),
        ] {
            assert_eq!(script_of(letters), script);
        }
    }
}
