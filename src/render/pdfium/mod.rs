//! Bindings to PDFium, and the only folder that names `pdfium_render`. PDFium is not thread-safe: one thread owns it.

#![expect(
    unsafe_code,
    reason = "PDFium is a C library; its handles are wrapped only here"
)]

mod annotations;
mod content;
mod form;
mod layers;
pub(super) mod library;
mod objects;
mod page;
mod text_page;
mod undrawn;
mod words;

use std::cell::OnceCell;
use std::collections::HashSet;
use std::ffi::{c_int, c_ulong, c_void};
use std::path::Path;
use std::ptr;

use memchr::memmem;
use pdfium_render::prelude::{Pdfium as Loader, PdfiumLibraryBindings};

use super::protocol::OpenError;
use super::{Bookmark, Manual, MissingContent, text};
use form::FormEnvironment;

pub(super) use content::Content;

/// An opaque PDFium handle.
type Handle = *mut c_void;

/// `FPDF_ERR_PASSWORD`.
const WRONG_PASSWORD: c_ulong = 4;
/// Maximum number of bookmarks, against malicious outlines; the rest is dropped.
const MAX_BOOKMARKS: usize = 20_000;
const MAX_DEPTH: usize = 32;
/// Maximum characters of a title or label; the rest is dropped.
const MAX_TITLE: usize = 1000;
/// Maximum number of attached files that are named.
const MAX_ATTACHMENTS: c_int = 1000;
/// Extensions of attached files that people would read as pages: a portfolio is a cover with such files.
const DOCUMENTS: [&str; 13] = [
    "pdf", "doc", "docx", "odt", "rtf", "ppt", "pptx", "xls", "xlsx", "jpg", "jpeg", "png", "tif",
];

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

    /// Opens a PDF in memory, usually a mapped file. The bytes of `file` must not move when it moves.
    pub(super) fn open(
        self,
        file: impl AsRef<[u8]> + 'static,
        password: Option<&str>,
    ) -> Result<Document, OpenError> {
        let given = password.is_some();
        if password.is_some_and(|p| p.contains('\0')) {
            return Err(OpenError::Password { given });
        }
        // SAFETY: the map moves into the document, its bytes do not; they outlive the handle (see `Drop`).
        let handle: Handle = unsafe {
            self.bindings
                .FPDF_LoadMemDocument64(file.as_ref(), password)
        }
        .cast();
        if !handle.is_null() {
            return Ok(Document {
                pdfium: self,
                form: FormEnvironment::open(self.bindings, handle),
                layered_forms: OnceCell::new(),
                handle,
                file: Box::new(file),
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
    /// `None` if the document has no form.
    form: Option<FormEnvironment>,
    /// See [`Self::may_have_layered_forms`].
    layered_forms: OnceCell<bool>,
    /// The bytes that the handle reads from.
    file: Box<dyn AsRef<[u8]>>,
}

impl Drop for Document {
    fn drop(&mut self) {
        self.form = None;
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
            missing: self.missing_content(),
            outline,
            is_outline_cut,
        }
    }

    /// What a viewer would show and PDFium does not.
    fn missing_content(&self) -> Vec<MissingContent> {
        let mut missing = Vec::new();
        if self.form.as_ref().is_some_and(FormEnvironment::is_xfa) {
            missing.push(MissingContent::XfaForm);
        }
        // SAFETY: the handle is open.
        let count = unsafe {
            let bindings = self.pdfium.bindings;
            bindings.FPDFDoc_GetAttachmentCount(self.handle.cast())
        };
        let files: Vec<String> = (0..count.min(MAX_ATTACHMENTS))
            .map(|index| self.attachment(index))
            .filter(|name| is_document(name))
            .collect();
        if !files.is_empty() {
            missing.push(MissingContent::AttachedFiles(files));
        }
        missing
    }

    /// The name of an attached file.
    fn attachment(&self, index: c_int) -> String {
        let bindings = self.pdfium.bindings;
        // SAFETY: the handle is open; the index is below the count.
        let attachment = unsafe { bindings.FPDFDoc_GetAttachment(self.handle.cast(), index) };
        if attachment.is_null() {
            return String::new();
        }
        let name = utf16(MAX_TITLE, |to, bytes| {
            // SAFETY: the attachment belongs to the open document; `to` has room for `bytes`.
            unsafe { bindings.FPDFAttachment_GetName(attachment, to.cast(), bytes) }
        });
        text::line(&name)
    }

    /// Whether a form XObject of the document may belong to an optional content group (ISO 32000-2, 8.11.3.3): its
    /// dictionary, which is never compressed, has an `/OC` entry.
    fn may_have_layered_forms(&self) -> bool {
        let file = self.file.as_ref().as_ref();
        let has_entry = |at: usize| {
            let rest = &file[at + 3..];
            rest.first().is_some_and(u8::is_ascii_whitespace)
                && rest
                    .iter()
                    .find(|b| !b.is_ascii_whitespace())
                    .is_some_and(u8::is_ascii_digit)
        };
        let entries = || memmem::find_iter(file, b"/OC").any(has_entry);
        *self.layered_forms.get_or_init(entries)
    }

    fn label(&self, index: u32) -> String {
        let label = utf16(MAX_TITLE, |to, bytes| {
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
        utf16(MAX_TITLE, |to, bytes| {
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
}

/// Whether a file of this name holds pages.
fn is_document(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| DOCUMENTS.contains(&e.to_ascii_lowercase().as_str()))
}

/// Reads a string of at most `max` characters by a call that fills a buffer with UTF-16 and returns the bytes needed,
/// terminator included.
fn utf16(max: usize, call: impl Fn(*mut c_void, c_ulong) -> c_ulong) -> String {
    let mut units = vec![0_u16; 64];
    let needed = loop {
        let capacity = 2 * units.len();
        let needed = call(units.as_mut_ptr().cast(), capacity as c_ulong) as usize;
        if needed <= capacity || capacity >= 2 * max {
            break needed.min(capacity);
        }
        // PDFium writes all or nothing: a text longer than the buffer is not written at all.
        units.resize((needed / 2).min(1 << 20), 0);
    };
    units.truncate((needed / 2).saturating_sub(1).min(max));
    String::from_utf16_lossy(&units)
}
