//! The only file that names `pdfium_render`. PDFium takes one call at a time in a process: one thread of a worker owns it.
//!
//! Pages are drawn by the raw calls, straight into the memory they are delivered in: three bytes a pixel, red first.

#![expect(
    unsafe_code,
    reason = "PDFium is a C library; its handles are wrapped here and nowhere else"
)]

use std::collections::HashSet;
use std::f32::consts::FRAC_PI_2;
use std::ffi::{c_int, c_ulong, c_void};
use std::path::Path;
use std::ptr;

use memmap2::Mmap;
use pdfium_render::prelude::{Pdfium as Loader, PdfiumLibraryBindings};

use super::protocol::Refusal;
use super::{Bookmark, Manual, size, text};
use crate::page::Size;

/// What PDFium calls a handle; the types behind it have no name here.
type Handle = *mut c_void;

/// `FPDFBitmap_BGR`: three bytes a pixel.
const BGR: c_int = 2;
/// `FPDF_ANNOT | FPDF_REVERSE_BYTE_ORDER`: annotations are drawn, red comes first.
const FLAGS: c_int = 1 | 16;
/// `FPDF_ERR_PASSWORD`.
const WRONG_PASSWORD: c_ulong = 4;
/// Bookmarks beyond these are left out: an outline may be a bomb.
const MAX_BOOKMARKS: usize = 20_000;
const MAX_DEPTH: usize = 32;
/// Characters of a page beyond these are left out.
const MAX_CHARS: c_int = 1 << 20;
/// Fewer letters do not tell how a page is to be read: a stamp in the margin of a scan has some.
const TELLING: usize = 40;
/// Characters of a title or label beyond these are left out.
const MAX_TITLE: usize = 1000;

/// The loaded library.
#[derive(Clone, Copy)]
pub(super) struct Pdfium {
    calls: &'static dyn PdfiumLibraryBindings,
}

impl Pdfium {
    /// Loads and starts the library; once a process.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        let calls = Loader::bind_to_library(path).map_err(|e| e.to_string())?;
        let calls: &'static dyn PdfiumLibraryBindings = Box::leak(calls);
        // SAFETY: the first call to the library, as it wants.
        unsafe { calls.FPDF_InitLibrary() };
        Ok(Self { calls })
    }

    /// Opens a PDF that is mapped into memory.
    pub(super) fn open(self, file: Mmap, password: Option<&str>) -> Result<Document, Refusal> {
        let given = password.is_some();
        if password.is_some_and(|p| p.contains('\0')) {
            return Err(Refusal::Password { given });
        }
        // SAFETY: the map moves into the document, its bytes do not; they outlive the handle (see `Drop`).
        let handle: Handle = unsafe { self.calls.FPDF_LoadMemDocument64(&file, password) }.cast();
        if !handle.is_null() {
            return Ok(Document {
                pdfium: self,
                handle,
                _file: file,
            });
        }
        // SAFETY: a plain question.
        match unsafe { self.calls.FPDF_GetLastError() } {
            WRONG_PASSWORD => Err(Refusal::Password { given }),
            _ => Err(Refusal::Format),
        }
    }
}

/// An open PDF.
pub(super) struct Document {
    pdfium: Pdfium,
    handle: Handle,
    /// What the handle reads from.
    _file: Mmap,
}

impl Drop for Document {
    fn drop(&mut self) {
        // SAFETY: the handle is open; pages and text pages borrow the document, so none is left.
        unsafe { self.pdfium.calls.FPDF_CloseDocument(self.handle.cast()) };
    }
}

impl Document {
    /// The number of pages.
    pub(super) fn count(&self) -> u32 {
        // SAFETY: the handle is open.
        let count = unsafe { self.pdfium.calls.FPDF_GetPageCount(self.handle.cast()) };
        u32::try_from(count).unwrap_or(0)
    }

    /// Page count, labels and outline.
    pub(super) fn contents(&self) -> Manual {
        let pages = self.count();
        let labels: Vec<String> = (0..pages).map(|index| self.label(index)).collect();
        let none = labels.iter().all(String::is_empty);
        Manual {
            pages,
            labels: if none { Vec::new() } else { labels },
            outline: self.outline(pages),
        }
    }

    fn label(&self, index: u32) -> String {
        let label = utf16(|to, bytes| {
            // SAFETY: the handle is open; `to` has room for `bytes`.
            unsafe {
                self.pdfium
                    .calls
                    .FPDF_GetPageLabel(self.handle.cast(), index as c_int, to, bytes)
            }
        });
        text::line(&label)
    }

    /// The bookmarks that point to a page, depth first; no bookmark is visited twice.
    fn outline(&self, pages: u32) -> Vec<Bookmark> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut levels = vec![self.first_child(ptr::null_mut())];
        while let Some(mark) = levels.pop() {
            if mark.is_null() || seen.len() >= MAX_BOOKMARKS || !seen.insert(mark) {
                continue;
            }
            let level = levels.len() as u32;
            levels.push(self.next_sibling(mark));
            if let Some(page) = self.target(mark).filter(|page| *page <= pages) {
                let title = text::line(&self.title(mark));
                found.push(Bookmark { title, level, page });
            }
            if levels.len() < MAX_DEPTH {
                levels.push(self.first_child(mark));
            }
        }
        found
    }

    fn first_child(&self, mark: Handle) -> Handle {
        let calls = self.pdfium.calls;
        // SAFETY: the document is open; `mark` is null or one of its bookmarks.
        unsafe { calls.FPDFBookmark_GetFirstChild(self.handle.cast(), mark.cast()) }.cast()
    }

    fn next_sibling(&self, mark: Handle) -> Handle {
        let calls = self.pdfium.calls;
        // SAFETY: the document is open; `mark` is one of its bookmarks.
        unsafe { calls.FPDFBookmark_GetNextSibling(self.handle.cast(), mark.cast()) }.cast()
    }

    fn title(&self, mark: Handle) -> String {
        utf16(|to, bytes| {
            // SAFETY: `mark` is a bookmark of the open document; `to` has room for `bytes`.
            unsafe {
                self.pdfium
                    .calls
                    .FPDFBookmark_GetTitle(mark.cast(), to, bytes)
            }
        })
    }

    /// The page a bookmark points to, from 1, directly or by an action.
    fn target(&self, mark: Handle) -> Option<u32> {
        let (calls, document) = (self.pdfium.calls, self.handle);
        // SAFETY: the document is open; `mark`, and the action and destination got from it, belong to it.
        let index = unsafe {
            let mut place = calls.FPDFBookmark_GetDest(document.cast(), mark.cast());
            if place.is_null() {
                let action = calls.FPDFBookmark_GetAction(mark.cast());
                if !action.is_null() {
                    place = calls.FPDFAction_GetDest(document.cast(), action);
                }
            }
            if place.is_null() {
                return None;
            }
            calls.FPDFDest_GetDestPageIndex(document.cast(), place)
        };
        Some(u32::try_from(index).ok()? + 1)
    }

    /// Loads a page, counted from 1.
    pub(super) fn page(&self, number: u32) -> Result<Page<'_>, String> {
        let index = c_int::try_from(number).map_err(|e| e.to_string())? - 1;
        // SAFETY: the handle is open; PDFium refuses an index that is not there.
        let handle = unsafe { self.pdfium.calls.FPDF_LoadPage(self.handle.cast(), index) };
        if handle.is_null() {
            return Err("PDFium cannot load it".into());
        }
        Ok(Page {
            document: self,
            handle: handle.cast(),
        })
    }
}

/// A loaded page.
pub(super) struct Page<'a> {
    document: &'a Document,
    handle: Handle,
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and the document with it.
        unsafe { self.calls().FPDF_ClosePage(self.handle.cast()) };
    }
}

impl Page<'_> {
    fn calls(&self) -> &'static dyn PdfiumLibraryBindings {
        self.document.pdfium.calls
    }

    /// The size it is drawn at.
    pub(super) fn size(&self, dpi: u32, max_pixels: u64) -> Result<Size, String> {
        // SAFETY: the handle is open.
        let (width, height) = unsafe {
            (
                self.calls().FPDF_GetPageWidthF(self.handle.cast()),
                self.calls().FPDF_GetPageHeightF(self.handle.cast()),
            )
        };
        size::of_points(width, height, dpi, max_pixels)
            .ok_or_else(|| format!("a page of {width} x {height} points has no size in pixels"))
    }

    /// Draws it on white, so many quarters clockwise: `3 * width * height` bytes.
    pub(super) fn draw(&self, size: Size, turns: u8, rgb: &mut [u8]) -> Result<(), String> {
        if rgb.len() as u64 != size.area() * 3 {
            return Err("the picture does not fit its memory".into());
        }
        rgb.fill(255);
        let (width, height) = (size.width as c_int, size.height as c_int);
        let memory = rgb.as_mut_ptr().cast();
        let calls = self.calls();
        // SAFETY: `rgb` has `height` rows of `3 * width` bytes, as just checked, and outlives the bitmap, which is
        // destroyed here and does not own it.
        unsafe {
            let bitmap = calls.FPDFBitmap_CreateEx(width, height, BGR, memory, 3 * width);
            if bitmap.is_null() {
                return Err("PDFium makes no bitmap of its size".into());
            }
            let page = self.handle.cast();
            let turns = c_int::from(turns);
            calls.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, turns, FLAGS);
            calls.FPDFBitmap_Destroy(bitmap);
        }
        Ok(())
    }

    /// The quarters clockwise after which most of its letters stand upright; 0 where that is so already, or few tell.
    ///
    /// `FPDFText_GetCharAngle` tells how a letter is turned clockwise on the paper (`fpdf_text.cpp`: of its matrix, `c`
    /// and `a`); `/Rotate` turns the paper clockwise once more.
    pub(super) fn turns(&self) -> u8 {
        let calls = self.calls();
        let mut letters = [0_usize; 4];
        // SAFETY: the text page is closed before the page, and asked about characters that it has.
        unsafe {
            let layer = calls.FPDFText_LoadPage(self.handle.cast());
            if layer.is_null() {
                return 0;
            }
            let paper = calls.FPDFPage_GetRotation(self.handle.cast());
            for at in 0..calls.FPDFText_CountChars(layer).min(MAX_CHARS) {
                let unit = calls.FPDFText_GetUnicode(layer, at);
                let is_letter = char::from_u32(unit).is_some_and(char::is_alphanumeric);
                let angle = calls.FPDFText_GetCharAngle(layer, at);
                if is_letter && angle >= 0.0 {
                    let quarters = (angle / FRAC_PI_2).round() as c_int + paper;
                    letters[quarters.rem_euclid(4) as usize] += 1;
                }
            }
            calls.FPDFText_ClosePage(layer);
        }
        let all: usize = letters.iter().sum();
        let most = (0..4_u8).find(|&way| letters[usize::from(way)] * 2 > all);
        match most {
            Some(way) if all >= TELLING => (4 - way) % 4,
            _ => 0,
        }
    }

    /// Its text layer, whole: also what is rotated or lies outside the page's box.
    pub(super) fn text(&self) -> String {
        let calls = self.calls();
        // SAFETY: the text page is closed before the page. A character is at most two units, and one more ends the text.
        let units = unsafe {
            let layer = calls.FPDFText_LoadPage(self.handle.cast());
            if layer.is_null() {
                return String::new();
            }
            let count = calls.FPDFText_CountChars(layer).clamp(0, MAX_CHARS);
            let mut units = vec![0_u16; 2 * count as usize + 2];
            let written = calls.FPDFText_GetText(layer, 0, count, units.as_mut_ptr());
            calls.FPDFText_ClosePage(layer);
            units.truncate(usize::try_from(written - 1).unwrap_or(0));
            units
        };
        text::clean(&String::from_utf16_lossy(&units))
    }
}

/// Reads a text by a call that fills a buffer with UTF-16 and returns the bytes it wants, the final zero included.
fn utf16(call: impl Fn(*mut c_void, c_ulong) -> c_ulong) -> String {
    let mut units = vec![0_u16; 64];
    let wanted = loop {
        let room = 2 * units.len();
        let wanted = call(units.as_mut_ptr().cast(), room as c_ulong) as usize;
        if wanted <= room || room > 2 * MAX_TITLE {
            break wanted.min(room);
        }
        // A text that is longer than we take is not written at all: PDFium writes all or nothing.
        units.resize((wanted / 2).min(1 << 20), 0);
    };
    units.truncate((wanted / 2).saturating_sub(1).min(MAX_TITLE));
    String::from_utf16_lossy(&units)
}
