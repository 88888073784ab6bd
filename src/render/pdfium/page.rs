//! A loaded page: its size, its pixels and its text. Pages are drawn directly into the shared memory: RGB, three bytes a
//! pixel.

use std::f32::consts::FRAC_PI_2;
use std::ffi::c_int;

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::text_page::TextPage;
use super::{Document, Handle};
use crate::page::Size;
use crate::render::size;

/// `FPDFBitmap_BGR`: three bytes a pixel.
const BGR: c_int = 2;
/// `FPDF_REVERSE_BYTE_ORDER`: red comes first.
const RED_FIRST: c_int = 16;
/// `FPDF_ANNOT`: annotations are drawn.
const ANNOTATIONS: c_int = 1;
/// Minimum number of letters to determine the rotation of a page: a stamp in the margin of a scan has some.
const MIN_LETTERS: usize = 40;
/// A crop box that no page is larger than.
const EVERYTHING: f32 = 1e6;

/// A loaded page.
pub(in crate::render) struct Page<'a> {
    document: &'a Document,
    handle: Handle,
    index: c_int,
}

impl Document {
    /// Loads a page, counted from 1.
    pub(in crate::render) fn page(&self, number: u32) -> Result<Page<'_>, String> {
        let index = c_int::try_from(number).map_err(|e| e.to_string())? - 1;
        let bindings = self.pdfium.bindings;
        // SAFETY: the handle is open; PDFium returns null for an index out of range.
        let handle: Handle = unsafe { bindings.FPDF_LoadPage(self.handle.cast(), index) }.cast();
        if handle.is_null() {
            return Err("PDFium cannot load it".into());
        }
        if let Some(form) = &self.form {
            form.page_loaded(handle);
        }
        let page = Page {
            document: self,
            handle,
            index,
        };
        let (width, height) = page.dimensions();
        if width == 0.0 || height == 0.0 {
            // The crop box does not meet the media box: as other viewers, show the media box. PDFium intersects them.
            let (low, high) = (-EVERYTHING, EVERYTHING);
            // SAFETY: the page is open.
            unsafe { bindings.FPDFPage_SetCropBox(handle.cast(), low, low, high, high) };
        }
        Ok(page)
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        if let Some(form) = &self.document.form {
            form.page_closing(self.handle);
        }
        // SAFETY: the handle is open, and the document with it.
        unsafe { self.bindings().FPDF_ClosePage(self.handle.cast()) };
    }
}

impl Page<'_> {
    pub(super) fn bindings(&self) -> &'static dyn PdfiumLibraryBindings {
        self.document.pdfium.bindings
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle
    }

    pub(super) fn document(&self) -> &Document {
        self.document
    }

    /// Position in the document, from 0.
    pub(super) fn index(&self) -> c_int {
        self.index
    }

    /// Width and height in points.
    pub(super) fn dimensions(&self) -> (f32, f32) {
        // SAFETY: the handle is open.
        unsafe {
            (
                self.bindings().FPDF_GetPageWidthF(self.handle.cast()),
                self.bindings().FPDF_GetPageHeightF(self.handle.cast()),
            )
        }
    }

    /// Size in pixels at a resolution, at most `max_pixels` large.
    pub(in crate::render) fn size(&self, dpi: u32, max_pixels: u64) -> Result<Size, String> {
        let (width, height) = self.dimensions();
        size::of_points(width, height, dpi, max_pixels)
            .ok_or_else(|| format!("a page of {width} x {height} points has no size in pixels"))
    }

    /// Draws it on white into `3 * width * height` bytes, rotated clockwise by `rotation` quarter turns.
    pub(in crate::render) fn draw(
        &self,
        size: Size,
        rotation: u8,
        rgb: &mut [u8],
    ) -> Result<(), String> {
        rgb.fill(255);
        self.draw_over(size, rotation, rgb, true)
    }

    /// Draws it over what is in `rgb`, with or without annotations and form fields.
    pub(super) fn draw_over(
        &self,
        size: Size,
        rotation: u8,
        rgb: &mut [u8],
        with_annotations: bool,
    ) -> Result<(), String> {
        if rgb.len() as u64 != size.area() * 3 {
            return Err("the page image does not fit its slot".into());
        }
        let (width, height) = (size.width as c_int, size.height as c_int);
        let memory = rgb.as_mut_ptr().cast();
        let bindings = self.bindings();
        // SAFETY: `rgb` has `height` rows of `3 * width` bytes, as just checked, and outlives the bitmap, which is
        // destroyed here and does not own it.
        unsafe {
            let bitmap = bindings.FPDFBitmap_CreateEx(width, height, BGR, memory, 3 * width);
            if bitmap.is_null() {
                return Err("PDFium cannot create a bitmap of its size".into());
            }
            let page = self.handle.cast();
            let rotation = c_int::from(rotation);
            let flags = RED_FIRST | if with_annotations { ANNOTATIONS } else { 0 };
            bindings.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, rotation, flags);
            if let Some(form) = self.document.form.as_ref().filter(|_| with_annotations) {
                let form = form.handle().cast();
                bindings.FPDF_FFLDraw(form, bitmap, page, 0, 0, width, height, rotation, flags);
            }
            bindings.FPDFBitmap_Destroy(bitmap);
        }
        Ok(())
    }

    /// The clockwise quarter turns after which most of its letters are upright; 0 if there are fewer than
    /// [`MIN_LETTERS`], or no majority. `/Rotate` rotates the page clockwise in addition to its letters.
    pub(in crate::render) fn rotation(&self) -> u8 {
        let Some(text_page) = TextPage::load(self.bindings(), self.handle) else {
            return 0;
        };
        // SAFETY: the page is open.
        let page_rotation = unsafe { self.bindings().FPDFPage_GetRotation(self.handle.cast()) };
        let mut letters = [0_usize; 4];
        for angle in (0..text_page.count()).filter_map(|index| text_page.letter_angle(index)) {
            let quarters = (angle / FRAC_PI_2).round() as c_int + page_rotation;
            letters[quarters.rem_euclid(4) as usize] += 1;
        }
        let total: usize = letters.iter().sum();
        let most = (0..4_u8).find(|&quarters| letters[usize::from(quarters)] * 2 > total);
        match most {
            Some(quarters) if total >= MIN_LETTERS => (4 - quarters) % 4,
            _ => 0,
        }
    }

    /// Its text layer as PDFium reads it: what is inside the page box.
    pub(super) fn raw_text(&self) -> String {
        let Some(text_page) = TextPage::load(self.bindings(), self.handle) else {
            return String::new();
        };
        let count = text_page.count();
        let visible = self.runs_inside(&text_page, count);
        let text = |&(start, length): &(c_int, c_int)| text_page.text(start, length);
        visible.iter().map(text).collect()
    }

    /// The runs of characters inside the page box, as start and length. Added spaces and line ends belong to the character
    /// before them.
    fn runs_inside(&self, text_page: &TextPage, count: c_int) -> Vec<(c_int, c_int)> {
        let page_box = self.bounding_box();
        let mut runs: Vec<(c_int, c_int)> = Vec::new();
        let mut inside = true;
        for index in 0..count {
            if let Some((x, y)) = text_page.origin(index) {
                inside = page_box.is_none_or(|[left, top, right, bottom]| {
                    (left..=right).contains(&x) && (bottom..=top).contains(&y)
                });
            }
            match runs.last_mut() {
                _ if !inside => {}
                Some((start, length)) if *start + *length == index => *length += 1,
                _ => runs.push((index, 1)),
            }
        }
        runs
    }

    /// Left, top, right and bottom of the visible part in page coordinates.
    pub(super) fn bounding_box(&self) -> Option<[f32; 4]> {
        let mut rect = [0.0_f32; 4];
        // SAFETY: the page is open; `FS_RECTF` is four floats.
        let known = unsafe {
            self.bindings()
                .FPDF_GetPageBoundingBox(self.handle.cast(), rect.as_mut_ptr().cast())
        };
        (known != 0).then_some(rect)
    }
}
