//! Bindings to PDFium, and the only file that names `pdfium_render`. PDFium is not thread-safe: one thread owns it.
//!
//! Pages are drawn by the raw functions, directly into the shared memory: RGB, three bytes a pixel.

#![expect(
    unsafe_code,
    reason = "PDFium is a C library; its handles are wrapped only here"
)]

use std::collections::HashSet;
use std::f32::consts::FRAC_PI_2;
use std::ffi::{c_int, c_ulong, c_void};
use std::path::Path;
use std::ptr;

use memmap2::Mmap;
use pdfium_render::prelude::{Pdfium as Loader, PdfiumLibraryBindings};

use super::protocol::OpenError;
use super::{Bookmark, Manual, size, text};
use crate::page::Size;

/// An opaque PDFium handle.
type Handle = *mut c_void;

/// `FPDFBitmap_BGR`: three bytes a pixel.
const BGR: c_int = 2;
/// `FPDF_ANNOT | FPDF_REVERSE_BYTE_ORDER`: annotations are drawn, red comes first.
const FLAGS: c_int = 1 | 16;
/// `FPDF_ERR_PASSWORD`.
const WRONG_PASSWORD: c_ulong = 4;
/// Maximum number of bookmarks, against malicious outlines; the rest is dropped.
const MAX_BOOKMARKS: usize = 20_000;
const MAX_DEPTH: usize = 32;
/// Maximum characters of a page; the rest is dropped.
const MAX_CHARS: c_int = 1 << 20;
/// Minimum number of letters to determine the rotation of a page: a stamp in the margin of a scan has some.
const MIN_LETTERS: usize = 40;
/// Maximum characters of a title or label; the rest is dropped.
const MAX_TITLE: usize = 1000;

/// The loaded library.
#[derive(Clone, Copy)]
pub(super) struct Pdfium {
    bindings: &'static dyn PdfiumLibraryBindings,
}

impl Pdfium {
    /// Loads and initialises the library; once per process.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        let bindings = Loader::bind_to_library(path).map_err(|e| e.to_string())?;
        let bindings: &'static dyn PdfiumLibraryBindings = Box::leak(bindings);
        // SAFETY: the first call to the library, as it requires.
        unsafe { bindings.FPDF_InitLibrary() };
        Ok(Self { bindings })
    }

    /// Opens a memory-mapped PDF.
    pub(super) fn open(self, file: Mmap, password: Option<&str>) -> Result<Document, OpenError> {
        let given = password.is_some();
        if password.is_some_and(|p| p.contains('\0')) {
            return Err(OpenError::Password { given });
        }
        // SAFETY: the map moves into the document, its bytes do not; they outlive the handle (see `Drop`).
        let handle: Handle =
            unsafe { self.bindings.FPDF_LoadMemDocument64(&file, password) }.cast();
        if !handle.is_null() {
            return Ok(Document {
                pdfium: self,
                handle,
                _file: file,
            });
        }
        // SAFETY: only returns a value.
        match unsafe { self.bindings.FPDF_GetLastError() } {
            WRONG_PASSWORD => Err(OpenError::Password { given }),
            _ => Err(OpenError::Format),
        }
    }
}

/// An open PDF.
pub(super) struct Document {
    pdfium: Pdfium,
    handle: Handle,
    /// The bytes that the handle reads from.
    _file: Mmap,
}

impl Drop for Document {
    fn drop(&mut self) {
        // SAFETY: the handle is open; pages and text pages borrow the document, so none is left.
        unsafe { self.pdfium.bindings.FPDF_CloseDocument(self.handle.cast()) };
    }
}

impl Document {
    /// The number of pages.
    pub(super) fn count(&self) -> u32 {
        // SAFETY: the handle is open.
        let count = unsafe { self.pdfium.bindings.FPDF_GetPageCount(self.handle.cast()) };
        u32::try_from(count).unwrap_or(0)
    }

    /// Page count, labels and outline.
    pub(super) fn contents(&self) -> Manual {
        let pages = self.count();
        let labels: Vec<String> = (0..pages).map(|index| self.label(index)).collect();
        let none = labels.iter().all(String::is_empty);
        let (outline, is_outline_cut) = self.outline(pages);
        Manual {
            pages,
            labels: if none { Vec::new() } else { labels },
            outline,
            is_outline_cut,
        }
    }

    fn label(&self, index: u32) -> String {
        let label = utf16(|to, bytes| {
            // SAFETY: the handle is open; `to` has room for `bytes`.
            unsafe {
                self.pdfium.bindings.FPDF_GetPageLabel(
                    self.handle.cast(),
                    index as c_int,
                    to,
                    bytes,
                )
            }
        });
        text::line(&label)
    }

    /// The bookmarks that point to a page, depth first, and whether there are more than [`MAX_BOOKMARKS`]; no bookmark is
    /// visited twice.
    fn outline(&self, pages: u32) -> (Vec<Bookmark>, bool) {
        let (mut bookmarks, mut visited) = (Vec::new(), HashSet::new());
        let mut levels = vec![self.first_child(ptr::null_mut())];
        while let Some(bookmark) = levels.pop() {
            if bookmark.is_null() || visited.contains(&bookmark) {
                continue;
            }
            if visited.len() >= MAX_BOOKMARKS {
                return (bookmarks, true);
            }
            visited.insert(bookmark);
            let level = levels.len() as u32;
            levels.push(self.next_sibling(bookmark));
            if let Some(page) = self.target(bookmark).filter(|page| *page <= pages) {
                let title = text::line(&self.title(bookmark));
                bookmarks.push(Bookmark { title, level, page });
            }
            if levels.len() < MAX_DEPTH {
                levels.push(self.first_child(bookmark));
            }
        }
        (bookmarks, false)
    }

    fn first_child(&self, bookmark: Handle) -> Handle {
        let bindings = self.pdfium.bindings;
        // SAFETY: the document is open; `bookmark` is null or one of its bookmarks.
        unsafe { bindings.FPDFBookmark_GetFirstChild(self.handle.cast(), bookmark.cast()) }.cast()
    }

    fn next_sibling(&self, bookmark: Handle) -> Handle {
        let bindings = self.pdfium.bindings;
        // SAFETY: the document is open; `bookmark` is one of its bookmarks.
        unsafe { bindings.FPDFBookmark_GetNextSibling(self.handle.cast(), bookmark.cast()) }.cast()
    }

    fn title(&self, bookmark: Handle) -> String {
        utf16(|to, bytes| {
            // SAFETY: `bookmark` is a bookmark of the open document; `to` has room for `bytes`.
            unsafe {
                self.pdfium
                    .bindings
                    .FPDFBookmark_GetTitle(bookmark.cast(), to, bytes)
            }
        })
    }

    /// The page a bookmark points to, from 1, directly or by an action.
    fn target(&self, bookmark: Handle) -> Option<u32> {
        let (bindings, document) = (self.pdfium.bindings, self.handle);
        // SAFETY: the document is open; `bookmark`, and the action and destination got from it, belong to it.
        let index = unsafe {
            let mut dest = bindings.FPDFBookmark_GetDest(document.cast(), bookmark.cast());
            if dest.is_null() {
                let action = bindings.FPDFBookmark_GetAction(bookmark.cast());
                if !action.is_null() {
                    dest = bindings.FPDFAction_GetDest(document.cast(), action);
                }
            }
            if dest.is_null() {
                return None;
            }
            bindings.FPDFDest_GetDestPageIndex(document.cast(), dest)
        };
        Some(u32::try_from(index).ok()? + 1)
    }

    /// Loads a page, counted from 1.
    pub(super) fn page(&self, number: u32) -> Result<Page<'_>, String> {
        let index = c_int::try_from(number).map_err(|e| e.to_string())? - 1;
        // SAFETY: the handle is open; PDFium returns null for an index out of range.
        let handle = unsafe {
            self.pdfium
                .bindings
                .FPDF_LoadPage(self.handle.cast(), index)
        };
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
        unsafe { self.bindings().FPDF_ClosePage(self.handle.cast()) };
    }
}

impl Page<'_> {
    fn bindings(&self) -> &'static dyn PdfiumLibraryBindings {
        self.document.pdfium.bindings
    }

    /// Size in pixels at a resolution, at most `max_pixels` large.
    pub(super) fn size(&self, dpi: u32, max_pixels: u64) -> Result<Size, String> {
        // SAFETY: the handle is open.
        let (width, height) = unsafe {
            (
                self.bindings().FPDF_GetPageWidthF(self.handle.cast()),
                self.bindings().FPDF_GetPageHeightF(self.handle.cast()),
            )
        };
        size::of_points(width, height, dpi, max_pixels)
            .ok_or_else(|| format!("a page of {width} x {height} points has no size in pixels"))
    }

    /// Draws it on white into `3 * width * height` bytes, rotated clockwise by `rotation` quarter turns.
    pub(super) fn draw(&self, size: Size, rotation: u8, rgb: &mut [u8]) -> Result<(), String> {
        if rgb.len() as u64 != size.area() * 3 {
            return Err("the page image does not fit its slot".into());
        }
        rgb.fill(255);
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
            bindings.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, rotation, FLAGS);
            bindings.FPDFBitmap_Destroy(bitmap);
        }
        Ok(())
    }

    /// The clockwise quarter turns after which most of its letters are upright; 0 if there are fewer than
    /// [`MIN_LETTERS`], or no majority.
    ///
    /// `FPDFText_GetCharAngle` returns the clockwise rotation of a letter on the page (`fpdf_text.cpp`: from `c` and `a` of
    /// its matrix); `/Rotate` rotates the page clockwise in addition.
    pub(super) fn rotation(&self) -> u8 {
        let bindings = self.bindings();
        let mut letters = [0_usize; 4];
        // SAFETY: the text page is closed before the page, and the indices are within its character count.
        unsafe {
            let text_page = bindings.FPDFText_LoadPage(self.handle.cast());
            if text_page.is_null() {
                return 0;
            }
            let page_rotation = bindings.FPDFPage_GetRotation(self.handle.cast());
            for index in 0..bindings.FPDFText_CountChars(text_page).min(MAX_CHARS) {
                let code_point = bindings.FPDFText_GetUnicode(text_page, index);
                let is_letter = char::from_u32(code_point).is_some_and(char::is_alphanumeric);
                let angle = bindings.FPDFText_GetCharAngle(text_page, index);
                if is_letter && angle >= 0.0 {
                    let quarters = (angle / FRAC_PI_2).round() as c_int + page_rotation;
                    letters[quarters.rem_euclid(4) as usize] += 1;
                }
            }
            bindings.FPDFText_ClosePage(text_page);
        }
        let total: usize = letters.iter().sum();
        let most = (0..4_u8).find(|&quarters| letters[usize::from(quarters)] * 2 > total);
        match most {
            Some(quarters) if total >= MIN_LETTERS => (4 - quarters) % 4,
            _ => 0,
        }
    }

    /// Its whole text layer, including text that is rotated or outside the page box.
    pub(super) fn text(&self) -> String {
        let bindings = self.bindings();
        // SAFETY: the text page is closed before the page. A character is at most two units, plus one for the terminator.
        let units = unsafe {
            let text_page = bindings.FPDFText_LoadPage(self.handle.cast());
            if text_page.is_null() {
                return String::new();
            }
            let count = bindings.FPDFText_CountChars(text_page).clamp(0, MAX_CHARS);
            let mut units = vec![0_u16; 2 * count as usize + 2];
            let written = bindings.FPDFText_GetText(text_page, 0, count, units.as_mut_ptr());
            bindings.FPDFText_ClosePage(text_page);
            units.truncate(usize::try_from(written - 1).unwrap_or(0));
            units
        };
        text::clean(&String::from_utf16_lossy(&units))
    }
}

/// Reads a string by a call that fills a buffer with UTF-16 and returns the bytes needed, terminator included.
fn utf16(call: impl Fn(*mut c_void, c_ulong) -> c_ulong) -> String {
    let mut units = vec![0_u16; 64];
    let needed = loop {
        let capacity = 2 * units.len();
        let needed = call(units.as_mut_ptr().cast(), capacity as c_ulong) as usize;
        if needed <= capacity || capacity > 2 * MAX_TITLE {
            break needed.min(capacity);
        }
        // PDFium writes all or nothing: a text longer than the buffer is not written at all.
        units.resize((needed / 2).min(1 << 20), 0);
    };
    units.truncate((needed / 2).saturating_sub(1).min(MAX_TITLE));
    String::from_utf16_lossy(&units)
}
