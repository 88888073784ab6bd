//! Forms: the environment that draws form fields, and the values that were filled in.

use std::ffi::{c_int, c_ulong, c_void};

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::{Handle, utf16};

/// `FORMTYPE_NONE`.
const NO_FORM: c_int = 0;
/// `FORMTYPE_XFA_FULL`: the pages are made from XML by the viewer.
const XFA_FULL: c_int = 2;
/// Field types (`fpdf_formfill.h`).
const CHECK_BOX: c_int = 2;
const RADIO_BUTTON: c_int = 3;
const COMBO_BOX: c_int = 4;
const LIST_BOX: c_int = 5;
const TEXT_FIELD: c_int = 6;
const SIGNATURE: c_int = 7;
/// Flag of a text field that hides what is typed (ISO 32000-2, table 231).
const PASSWORD_FIELD: c_int = 1 << 13;
/// Maximum characters of a value; the rest is dropped.
const MAX_VALUE: usize = 1 << 16;
/// Maximum number of options of a choice field that are read.
const MAX_OPTIONS: c_int = 10_000;
/// States of check boxes that say no more than "checked".
const PLAIN_STATES: [&str; 6] = ["yes", "on", "true", "checked", "x", "off"];

/// The form of an open document. PDFium draws its fields only with an environment, which must be made before a page is
/// loaded.
pub(super) struct FormEnvironment {
    bindings: &'static dyn PdfiumLibraryBindings,
    handle: Handle,
    kind: c_int,
    /// PDFium keeps a pointer to it.
    _info: Box<FormFillInfo>,
}

/// `FPDF_FORMFILLINFO` (`fpdf_formfill.h`) without callbacks; larger than PDFium's.
#[repr(C)]
struct FormFillInfo {
    version: c_int,
    callbacks: [usize; 64],
}

impl FormEnvironment {
    /// The environment of a document; `None` if it has no form, or PDFium cannot make one.
    pub(super) fn open(
        bindings: &'static dyn PdfiumLibraryBindings,
        document: Handle,
    ) -> Option<Self> {
        // SAFETY: the document is open.
        let kind = unsafe { bindings.FPDF_GetFormType(document.cast()) };
        if kind == NO_FORM {
            return None;
        }
        let mut info = Box::new(FormFillInfo {
            version: 2,
            callbacks: [0; 64],
        });
        // SAFETY: the document is open, zero means "no callback", and the structure lives as long as the environment.
        let handle: Handle = unsafe {
            let info: *mut FormFillInfo = &raw mut *info;
            bindings.FPDFDOC_InitFormFillEnvironment(document.cast(), info.cast())
        }
        .cast();
        if handle.is_null() {
            return None;
        }
        // SAFETY: the environment was just made. Viewers highlight fields that can be filled in; a printed page does not.
        unsafe { bindings.FPDF_SetFormFieldHighlightAlpha(handle.cast(), 0) };
        Some(Self {
            bindings,
            handle,
            kind,
            _info: info,
        })
    }

    /// Whether the viewer must make the pages from an XFA form, which PDFium cannot.
    pub(super) fn is_xfa(&self) -> bool {
        self.kind == XFA_FULL
    }

    /// Prepares the fields of a page that was just loaded.
    pub(super) fn page_loaded(&self, page: Handle) {
        // SAFETY: both are open.
        unsafe {
            self.bindings
                .FORM_OnAfterLoadPage(page.cast(), self.handle.cast())
        };
    }

    /// Forgets the fields of a page that is about to be closed.
    pub(super) fn page_closing(&self, page: Handle) {
        // SAFETY: both are open.
        unsafe {
            self.bindings
                .FORM_OnBeforeClosePage(page.cast(), self.handle.cast())
        };
    }

    /// The handle, for drawing.
    pub(super) fn handle(&self) -> Handle {
        self.handle
    }

    /// What was filled into the field of a widget annotation: the text, the chosen options, the name of the checked state.
    pub(super) fn values(&self, widget: Handle) -> Vec<String> {
        let (bindings, form) = (self.bindings, self.handle);
        // SAFETY: the annotation and the environment belong to the open document.
        let (kind, flags) = unsafe {
            (
                bindings.FPDFAnnot_GetFormFieldType(form.cast(), widget.cast()),
                bindings.FPDFAnnot_GetFormFieldFlags(form.cast(), widget.cast()),
            )
        };
        match kind {
            TEXT_FIELD if flags & PASSWORD_FIELD == 0 => vec![self.value(widget)],
            COMBO_BOX | LIST_BOX => {
                let options = self.selected_options(widget);
                match options.is_empty() {
                    true => vec![self.value(widget)],
                    false => options,
                }
            }
            CHECK_BOX | RADIO_BUTTON => self.checked_state(widget).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether a widget annotation is a signature.
    pub(super) fn is_signature(&self, widget: Handle) -> bool {
        let (bindings, form) = (self.bindings, self.handle);
        // SAFETY: the annotation and the environment belong to the open document.
        unsafe { bindings.FPDFAnnot_GetFormFieldType(form.cast(), widget.cast()) == SIGNATURE }
    }

    fn value(&self, widget: Handle) -> String {
        let (bindings, form) = (self.bindings, self.handle);
        self.text(|to, bytes| {
            // SAFETY: as above; `to` has room for `bytes`.
            unsafe {
                bindings.FPDFAnnot_GetFormFieldValue(form.cast(), widget.cast(), to.cast(), bytes)
            }
        })
    }

    /// The labels of the chosen options of a choice field.
    fn selected_options(&self, widget: Handle) -> Vec<String> {
        let (bindings, form) = (self.bindings, self.handle);
        // SAFETY: the annotation and the environment belong to the open document.
        let count = unsafe { bindings.FPDFAnnot_GetOptionCount(form.cast(), widget.cast()) };
        let is_selected = |&index: &c_int| {
            // SAFETY: the index is below the count.
            unsafe { bindings.FPDFAnnot_IsOptionSelected(form.cast(), widget.cast(), index) != 0 }
        };
        let selected = (0..count.min(MAX_OPTIONS)).filter(is_selected);
        let label = |index| {
            self.text(|to, bytes| {
                // SAFETY: as above; `to` has room for `bytes`.
                unsafe {
                    let (form, widget) = (form.cast(), widget.cast());
                    bindings.FPDFAnnot_GetOptionLabel(form, widget, index, to.cast(), bytes)
                }
            })
        };
        selected.map(label).collect()
    }

    /// The state of a checked box, unless it is only a word for "checked".
    fn checked_state(&self, widget: Handle) -> Option<String> {
        let (bindings, form) = (self.bindings, self.handle);
        // SAFETY: the annotation and the environment belong to the open document.
        if unsafe { bindings.FPDFAnnot_IsChecked(form.cast(), widget.cast()) } == 0 {
            return None;
        }
        let state = self.text(|to, bytes| {
            // SAFETY: as above; `to` has room for `bytes`.
            unsafe {
                let (form, widget) = (form.cast(), widget.cast());
                bindings.FPDFAnnot_GetFormFieldExportValue(form, widget, to.cast(), bytes)
            }
        });
        let lower = state.to_lowercase();
        let says_more =
            !PLAIN_STATES.contains(&lower.as_str()) && lower.chars().any(char::is_alphabetic);
        says_more.then_some(state)
    }

    fn text(&self, call: impl Fn(*mut c_void, c_ulong) -> c_ulong) -> String {
        utf16(MAX_VALUE, call)
    }
}

impl Drop for FormEnvironment {
    fn drop(&mut self) {
        // SAFETY: the environment is open, and the document with it; no page is loaded any more.
        unsafe {
            self.bindings
                .FPDFDOC_ExitFormFillEnvironment(self.handle.cast())
        };
    }
}
