//! The characters of a page.

use std::ffi::{c_int, c_ulong};

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::{Handle, utf16};

/// Maximum characters of a page; the rest is dropped.
const MAX_CHARS: c_int = 1 << 20;

/// The characters of a loaded page, in PDFium's reading order. Dropped before the page is closed.
pub(super) struct TextPage {
    bindings: &'static dyn PdfiumLibraryBindings,
    handle: Handle,
}

impl TextPage {
    /// Reads the characters of an open page; `None` if PDFium cannot.
    pub(super) fn load(bindings: &'static dyn PdfiumLibraryBindings, page: Handle) -> Option<Self> {
        // SAFETY: the page is open.
        let handle: Handle = unsafe { bindings.FPDFText_LoadPage(page.cast()) }.cast();
        (!handle.is_null()).then_some(Self { bindings, handle })
    }

    /// Number of characters, at most [`MAX_CHARS`].
    pub(super) fn count(&self) -> c_int {
        // SAFETY: the text page is open.
        let count = unsafe { self.bindings.FPDFText_CountChars(self.handle.cast()) };
        count.clamp(0, MAX_CHARS)
    }

    /// `count` characters from `start`.
    pub(super) fn text(&self, start: c_int, count: c_int) -> String {
        // A character is at most two units, plus one for the terminator.
        let mut units = vec![0_u16; 2 * count as usize + 2];
        // SAFETY: the text page is open, and `units` has room.
        let written = unsafe {
            let (handle, to) = (self.handle.cast(), units.as_mut_ptr());
            self.bindings.FPDFText_GetText(handle, start, count, to)
        };
        units.truncate(usize::try_from(written - 1).unwrap_or(0));
        String::from_utf16_lossy(&units)
    }

    /// The character at `index`, if it is a letter or digit, and its clockwise rotation on the page in radians
    /// (`fpdf_text.cpp`: from `c` and `a` of its matrix).
    pub(super) fn letter_angle(&self, index: c_int) -> Option<f32> {
        let handle = self.handle;
        // SAFETY: the text page is open, and the index within its count.
        let (code_point, angle) = unsafe {
            (
                self.bindings.FPDFText_GetUnicode(handle.cast(), index),
                self.bindings.FPDFText_GetCharAngle(handle.cast(), index),
            )
        };
        let is_letter = char::from_u32(code_point).is_some_and(char::is_alphanumeric);
        (is_letter && angle >= 0.0).then_some(angle)
    }

    /// Where the character at `index` begins, in page coordinates; `None` for a space or line end that PDFium has added, and
    /// for a place that is no number.
    pub(super) fn origin(&self, index: c_int) -> Option<(f32, f32)> {
        let (mut x, mut y) = (0.0_f64, 0.0_f64);
        // SAFETY: the text page is open, and the index within its count.
        let is_placed = unsafe {
            let (bindings, handle) = (self.bindings, self.handle);
            bindings.FPDFText_IsGenerated(handle.cast(), index) == 0
                && bindings.FPDFText_GetCharOrigin(handle.cast(), index, &raw mut x, &raw mut y)
                    != 0
        };
        (is_placed && x.is_finite() && y.is_finite()).then_some((x as f32, y as f32))
    }

    /// The character at `index`; `None` for a space or line end that PDFium has added.
    pub(super) fn letter(&self, index: c_int) -> Option<char> {
        let handle = self.handle;
        // SAFETY: the text page is open, and the index within its count.
        let (code_point, generated) = unsafe {
            (
                self.bindings.FPDFText_GetUnicode(handle.cast(), index),
                self.bindings.FPDFText_IsGenerated(handle.cast(), index),
            )
        };
        char::from_u32(code_point).filter(|c| generated == 0 && !c.is_control())
    }

    /// Two opposite corners of the box of the character at `index`, in page coordinates: left, bottom, right and top.
    pub(super) fn char_box(&self, index: c_int) -> Option<[f64; 4]> {
        let [mut left, mut right, mut bottom, mut top] = [0.0_f64; 4];
        // SAFETY: the text page is open, and the index within its count.
        let known = unsafe {
            self.bindings.FPDFText_GetCharBox(
                self.handle.cast(),
                index,
                &raw mut left,
                &raw mut right,
                &raw mut bottom,
                &raw mut top,
            )
        };
        let corners = [left, bottom, right, top];
        (known != 0 && corners.iter().all(|c| c.is_finite())).then_some(corners)
    }

    /// The text of one text object of the page.
    pub(super) fn object_text(&self, object: Handle) -> String {
        utf16(MAX_CHARS as usize, |to, bytes| {
            // SAFETY: the object belongs to the page; `to` has room for `bytes`.
            unsafe {
                let (object, text_page) = (object.cast(), self.handle.cast());
                let length: c_ulong = bytes;
                self.bindings
                    .FPDFTextObj_GetText(object, text_page, to.cast(), length)
            }
        })
    }
}

impl Drop for TextPage {
    fn drop(&mut self) {
        // SAFETY: the text page is open, and its page with it.
        unsafe { self.bindings.FPDFText_ClosePage(self.handle.cast()) };
    }
}
