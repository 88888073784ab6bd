//! What people wrote onto a page: values of form fields and the words of markup annotations.

use std::ffi::{c_int, c_void};

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::page::Page;
use super::text_page::TextPage;
use super::{Handle, utf16};

/// Annotation subtypes (`fpdf_annot.h`).
const LINK: c_int = 2;
const FREE_TEXT: c_int = 3;
const STAMP: c_int = 13;
const POPUP: c_int = 16;
const WIDGET: c_int = 20;
/// Subtypes that have no words of a reader: links, popups (they show the words of another annotation), media, marks of the
/// printer, watermarks of the producer, 3D.
const WORDLESS: [c_int; 10] = [0, LINK, POPUP, 18, 19, WIDGET, 21, 22, 23, 24];
/// Flags (ISO 32000-2, table 167): hidden, and not shown on the screen.
const HIDDEN: c_int = 1 << 1;
const NO_VIEW: c_int = 1 << 5;
/// `FLAT_NORMALDISPLAY`.
const AS_DISPLAYED: c_int = 0;
/// Maximum number of annotations that are read, and characters of one; the rest is dropped.
const MAX_ANNOTATIONS: c_int = 10_000;
const MAX_CONTENTS: usize = 1 << 16;

/// The words of the form fields and markup annotations of a page, in their order, one entry each.
pub(super) fn texts(page: &Page<'_>) -> Vec<String> {
    let (bindings, handle) = (page.bindings(), page.handle());
    // SAFETY: the page is open.
    let count = unsafe { bindings.FPDFPage_GetAnnotCount(handle.cast()) };
    let count = count.min(MAX_ANNOTATIONS);
    let (mut texts, mut drawn_only) = (Vec::new(), Vec::new());
    let page_box = page.bounding_box();
    for index in 0..count {
        // SAFETY: the page is open, and the index below its count.
        let annotation = Annotation {
            bindings,
            handle: unsafe { bindings.FPDFPage_GetAnnot(handle.cast(), index) }.cast(),
        };
        let is_seen =
            !annotation.handle.is_null() && !annotation.is_hidden() && annotation.meets(page_box);
        if !is_seen {
            continue;
        }
        match annotation.subtype() {
            WIDGET => {
                if let Some(form) = &page.document().form {
                    texts.extend(form.values(annotation.handle));
                    drawn_only.extend(form.is_signature(annotation.handle).then_some(index));
                }
            }
            subtype if !WORDLESS.contains(&subtype) => {
                let words = annotation.words();
                let is_drawn = words.is_empty() && matches!(subtype, STAMP | FREE_TEXT);
                drawn_only.extend(is_drawn.then_some(index));
                texts.push(words);
            }
            _ => {}
        }
    }
    if !drawn_only.is_empty() {
        texts.extend(drawn_text(page, count, &drawn_only));
    }
    texts.retain(|text| !text.trim().is_empty());
    texts
}

/// An annotation of an open page.
struct Annotation {
    bindings: &'static dyn PdfiumLibraryBindings,
    handle: Handle,
}

impl Annotation {
    fn subtype(&self) -> c_int {
        // SAFETY: the annotation is open.
        unsafe { self.bindings.FPDFAnnot_GetSubtype(self.handle.cast()) }
    }

    fn flags(&self) -> c_int {
        // SAFETY: the annotation is open.
        unsafe { self.bindings.FPDFAnnot_GetFlags(self.handle.cast()) }
    }

    /// Whether it is not on the screen. Replies are not drawn either, but viewers list them with what they reply to, unless
    /// they only record a state ("accepted").
    fn is_hidden(&self) -> bool {
        if self.has("IRT") {
            return self.has("StateModel");
        }
        self.flags() & (HIDDEN | NO_VIEW) != 0
    }

    /// Whether part of it is inside the page box: left, top, right and bottom.
    fn meets(&self, page_box: Option<[f32; 4]>) -> bool {
        let (Some([left, top, right, bottom]), Some([l, t, r, b])) = (page_box, self.rectangle())
        else {
            return true;
        };
        l.min(r) <= right && r.max(l) >= left && b.min(t) <= top && t.max(b) >= bottom
    }

    /// Left, top, right and bottom on the page.
    fn rectangle(&self) -> Option<[f32; 4]> {
        let mut rect = [0.0_f32; 4];
        // SAFETY: the annotation is open; `FS_RECTF` is four floats.
        let known = unsafe {
            let to = rect.as_mut_ptr().cast();
            self.bindings.FPDFAnnot_GetRect(self.handle.cast(), to)
        };
        (known != 0).then_some(rect)
    }

    fn has(&self, key: &str) -> bool {
        // SAFETY: the annotation is open.
        unsafe { self.bindings.FPDFAnnot_HasKey(self.handle.cast(), key) != 0 }
    }

    fn string(&self, key: &str) -> String {
        utf16(MAX_CONTENTS, |to: *mut c_void, bytes| {
            // SAFETY: the annotation is open; `to` has room for `bytes`.
            unsafe {
                let annotation = self.handle.cast();
                self.bindings
                    .FPDFAnnot_GetStringValue(annotation, key, to.cast(), bytes)
            }
        })
    }

    /// Its words: `/Contents`, or the text of the XHTML in `/RC` (ISO 32000-2, 12.5.6.2).
    fn words(&self) -> String {
        let contents = self.string("Contents");
        match contents.trim().is_empty() {
            true => without_tags(&self.string("RC")),
            false => contents,
        }
    }
}

impl Drop for Annotation {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the annotation is open, and not used any more.
            unsafe { self.bindings.FPDFPage_CloseAnnot(self.handle.cast()) };
        }
    }
}

/// The text between the tags of simple XHTML.
fn without_tags(xhtml: &str) -> String {
    let mut text = String::new();
    for part in xhtml.split('<') {
        let words = part.split_once('>').map_or(part, |(_, words)| words);
        text.push_str(words);
        if part.starts_with("/p") || part.starts_with("br") || part.starts_with("/div") {
            text.push('\n');
        }
    }
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    entities.iter().fold(text, |text, (entity, character)| {
        text.replace(entity, character)
    })
}

/// The text that the annotations at these indices draw: the page is copied, its own content and the other annotations
/// removed and those made content, so that PDFium reads their text. `None` if PDFium cannot.
fn drawn_text(page: &Page<'_>, count: c_int, indices: &[c_int]) -> Option<String> {
    let bindings = page.bindings();
    let copy = Copy {
        bindings,
        // SAFETY: makes a document that nothing else refers to.
        document: unsafe { bindings.FPDF_CreateNewDocument() }.cast(),
    };
    let index = page.index();
    // SAFETY: both documents are open, pages are closed before their document, and a removed object is destroyed once.
    unsafe {
        let source = page.document().handle;
        if bindings.FPDF_ImportPagesByIndex(
            copy.document.cast(),
            source.cast(),
            &raw const index,
            1,
            0,
        ) == 0
        {
            return None;
        }
        let annotated = bindings.FPDF_LoadPage(copy.document.cast(), 0);
        if annotated.is_null() {
            return None;
        }
        for index in (0..bindings.FPDFPage_CountObjects(annotated)).rev() {
            let object = bindings.FPDFPage_GetObject(annotated, index);
            if bindings.FPDFPage_RemoveObject(annotated, object) != 0 {
                bindings.FPDFPageObj_Destroy(object);
            }
        }
        if bindings
            .FPDFPage_GetAnnotCount(annotated)
            .min(MAX_ANNOTATIONS)
            != count
        {
            bindings.FPDF_ClosePage(annotated);
            return None;
        }
        for index in (0..bindings.FPDFPage_GetAnnotCount(annotated)).rev() {
            if !indices.contains(&index) {
                bindings.FPDFPage_RemoveAnnot(annotated, index);
            }
        }
        bindings.FPDFPage_GenerateContent(annotated);
        bindings.FPDFPage_Flatten(annotated, AS_DISPLAYED);
        bindings.FPDF_ClosePage(annotated);
    }
    copy.text()
}

/// A temporary document with one page.
struct Copy {
    bindings: &'static dyn PdfiumLibraryBindings,
    document: Handle,
}

impl Copy {
    /// The text of its page.
    fn text(&self) -> Option<String> {
        // SAFETY: the document is open; the text page is closed before its page.
        unsafe {
            let page = self.bindings.FPDF_LoadPage(self.document.cast(), 0);
            if page.is_null() {
                return None;
            }
            let text = TextPage::load(self.bindings, page.cast())
                .map(|text_page| text_page.text(0, text_page.count()));
            self.bindings.FPDF_ClosePage(page);
            text
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if !self.document.is_null() {
            // SAFETY: the document is open, and no page of it.
            unsafe { self.bindings.FPDF_CloseDocument(self.document.cast()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rich_text_loses_its_tags() {
        let xhtml =
            "<?xml version=\"1.0\"?><body><p>Torque <b>45</b> Nm</p><p>A &amp; B</p></body>";
        assert_eq!(without_tags(xhtml), "Torque 45 Nm\nA & B\n");
    }
}
