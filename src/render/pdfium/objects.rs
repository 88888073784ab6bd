//! The objects of a page, those inside form XObjects too, with their place on the page.

use std::ffi::{c_int, c_uint, c_ulong};

use pdfium_render::prelude::PdfiumLibraryBindings;

use super::Handle;
use super::page::Page;

/// Maximum number of objects of a page that are listed, and depth of nested forms. A drawing may have hundreds of thousands;
/// of a page with more than these the layers are not told apart, and the text of hidden ones is kept.
const MAX_OBJECTS: usize = 1_000_000;
const MAX_DEPTH: usize = 8;
/// `FPDF_PAGEOBJ_*`.
const TEXT: c_int = 1;
const IMAGE: c_int = 3;
const FORM: c_int = 5;
/// Text render modes that draw nothing: invisible, and clipping only (ISO 32000-2, table 104).
const INVISIBLE_MODES: [c_int; 2] = [3, 7];

/// Points below which an object has no extent.
const MIN_EXTENT: f32 = 0.01;

/// What a page object draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::render) enum Kind {
    /// Text, of which an invisible one draws nothing: the text layer of a scan.
    Text {
        /// Whether its render mode draws it.
        visible: bool,
    },
    /// An image.
    Image,
    /// A path or a shading.
    Other,
}

/// A matrix of PDF: `x' = a x + c y + e`, `y' = b x + d y + f`.
pub(super) type Matrix = [f32; 6];

/// A page object that draws something.
pub(in crate::render) struct Object {
    pub(super) handle: Handle,
    pub(super) kind: Kind,
    /// From its coordinates to those of the page.
    pub(super) to_page: Matrix,
    /// Its optional content: addresses of the marks and forms that it is in and that may be switched off.
    pub(super) layers: Vec<usize>,
}

/// A text or image with its corners on the page: left, bottom, right and top.
pub(super) type Bounds = [f32; 4];

impl Object {
    /// Its bounds in page coordinates.
    pub(super) fn bounds(&self, bindings: &dyn PdfiumLibraryBindings) -> Option<Bounds> {
        let [mut left, mut bottom, mut right, mut top] = [0.0_f32; 4];
        // SAFETY: the object belongs to a loaded page.
        let known = unsafe {
            bindings.FPDFPageObj_GetBounds(
                self.handle.cast(),
                &raw mut left,
                &raw mut bottom,
                &raw mut right,
                &raw mut top,
            )
        };
        let corners =
            [(left, bottom), (right, bottom), (left, top), (right, top)].map(|at| self.place(at));
        let x = corners.map(|(x, _)| x);
        let y = corners.map(|(_, y)| y);
        let least = |of: [f32; 4]| of.into_iter().fold(f32::INFINITY, f32::min);
        let most = |of: [f32; 4]| of.into_iter().fold(f32::NEG_INFINITY, f32::max);
        (known != 0).then(|| [least(x), least(y), most(x), most(y)])
    }

    /// Its address, which tells the objects of a page apart.
    pub(super) fn address(&self) -> usize {
        self.handle as usize
    }

    /// Whether it has no area: text without any ink, whose font is missing or whose letters are spaces.
    pub(super) fn is_flat(&self, bindings: &dyn PdfiumLibraryBindings) -> bool {
        let bounds = self.bounds(bindings);
        bounds.is_none_or(|[left, bottom, right, top]| {
            right - left <= MIN_EXTENT || top - bottom <= MIN_EXTENT
        })
    }

    /// A point of its coordinates on the page.
    fn place(&self, (x, y): (f32, f32)) -> (f32, f32) {
        let [a, b, c, d, e, f] = self.to_page;
        (a * x + c * y + e, b * x + d * y + f)
    }

    /// Its fill colour; `None` if it has none.
    pub(super) fn fill(&self, bindings: &dyn PdfiumLibraryBindings) -> Option<[u8; 3]> {
        let [mut r, mut g, mut b, mut a]: [c_uint; 4] = [0; 4];
        // SAFETY: the object belongs to a loaded page.
        let known = unsafe {
            let object = self.handle.cast();
            bindings
                .FPDFPageObj_GetFillColor(object, &raw mut r, &raw mut g, &raw mut b, &raw mut a)
        };
        (known != 0).then_some([r, g, b].map(|value| value.min(255) as u8))
    }

    /// Switches it on or off for drawing and text, on the loaded page only.
    pub(super) fn set_active(&self, bindings: &dyn PdfiumLibraryBindings, active: bool) {
        // SAFETY: the object belongs to a loaded page.
        unsafe { bindings.FPDFPageObj_SetIsActive(self.handle.cast(), c_int::from(active)) };
    }
}

/// The objects of a page, at most [`MAX_OBJECTS`].
pub(super) fn of_page(page: &Page<'_>) -> Vec<Object> {
    let bindings = page.bindings();
    let mut reader = Reader {
        bindings,
        forms_are_layers: page.document().may_have_layered_forms(),
        list: Vec::new(),
    };
    let handle = page.handle();
    // SAFETY: the page is open, and the index below its count.
    let count = unsafe { bindings.FPDFPage_CountObjects(handle.cast()) };
    for index in 0..count {
        // SAFETY: as above.
        let object = unsafe { bindings.FPDFPage_GetObject(handle.cast(), index) }.cast();
        reader.read(object, [1.0, 0.0, 0.0, 1.0, 0.0, 0.0], &[], 0);
    }
    reader.list
}

/// Reads the objects of a page.
struct Reader {
    bindings: &'static dyn PdfiumLibraryBindings,
    /// Whether a form XObject may itself be optional content.
    forms_are_layers: bool,
    /// The objects read so far.
    list: Vec<Object>,
}

impl Reader {
    fn read(&mut self, object: Handle, to_page: Matrix, around: &[usize], depth: usize) {
        if object.is_null() || self.list.len() >= MAX_OBJECTS {
            return;
        }
        let layers = [around, &self.optional_content(object)].concat();
        // SAFETY: the object belongs to a loaded page.
        let kind = match unsafe { self.bindings.FPDFPageObj_GetType(object.cast()) } {
            FORM if depth < MAX_DEPTH => {
                return self.read_form(object, to_page, layers, depth);
            }
            TEXT => Kind::Text {
                visible: self.is_visible_text(object),
            },
            IMAGE => Kind::Image,
            _ => Kind::Other,
        };
        self.list.push(Object {
            handle: object,
            kind,
            to_page,
            layers,
        });
    }

    fn read_form(&mut self, form: Handle, to_page: Matrix, mut layers: Vec<usize>, depth: usize) {
        if self.forms_are_layers {
            layers.push(form as usize);
        }
        let mut matrix: Matrix = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        // SAFETY: the form belongs to a loaded page; `FS_MATRIX` is six floats; the index is below the count.
        unsafe {
            let bindings = self.bindings;
            bindings.FPDFPageObj_GetMatrix(form.cast(), matrix.as_mut_ptr().cast());
            let to_page = concatenated(matrix, to_page);
            for index in 0..bindings.FPDFFormObj_CountObjects(form.cast()) {
                let object = bindings.FPDFFormObj_GetObject(form.cast(), index as c_ulong);
                self.read(object.cast(), to_page, &layers, depth + 1);
            }
        }
    }

    fn is_visible_text(&self, object: Handle) -> bool {
        // SAFETY: the text object belongs to a loaded page.
        let mode = unsafe { self.bindings.FPDFTextObj_GetTextRenderMode(object.cast()) };
        !INVISIBLE_MODES.contains(&mode)
    }

    /// The marks `/OC` of an object (ISO 32000-2, 8.11.3.2).
    fn optional_content(&self, object: Handle) -> Vec<usize> {
        // SAFETY: the object belongs to a loaded page; the index is below the count.
        let count = unsafe { self.bindings.FPDFPageObj_CountMarks(object.cast()) };
        let marks = (0..count).map(|index| {
            // SAFETY: as above.
            let bindings = self.bindings;
            let mark = unsafe { bindings.FPDFPageObj_GetMark(object.cast(), index as c_ulong) };
            let mark: Handle = mark.cast();
            mark
        });
        marks
            .filter(|&mark| self.is_optional_content(mark))
            .map(|mark| mark as usize)
            .collect()
    }

    fn is_optional_content(&self, mark: Handle) -> bool {
        let mut name = [0_u16; 4];
        let mut bytes: c_ulong = 0;
        // SAFETY: the mark belongs to a loaded page; `name` has room for the bytes given, and a longer name is not written.
        let read = unsafe {
            self.bindings.FPDFPageObjMark_GetName(
                mark.cast(),
                name.as_mut_ptr().cast(),
                size_of_val(&name) as c_ulong,
                &raw mut bytes,
            )
        };
        read != 0 && bytes == 6 && name[..2] == [u16::from(b'O'), u16::from(b'C')]
    }
}

/// The matrix that does `first`, then `second`.
fn concatenated(first: Matrix, second: Matrix) -> Matrix {
    let [a, b, c, d, e, f] = first;
    let [g, h, i, j, k, l] = second;
    [
        a * g + b * i,
        a * h + b * j,
        c * g + d * i,
        c * h + d * j,
        e * g + f * i + k,
        e * h + f * j + l,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_concatenated_in_order() {
        let shift: Matrix = [1.0, 0.0, 0.0, 1.0, 10.0, 20.0];
        let double: Matrix = [2.0, 0.0, 0.0, 2.0, 0.0, 0.0];
        assert_eq!(
            concatenated(shift, double),
            [2.0, 0.0, 0.0, 2.0, 20.0, 40.0]
        );
        assert_eq!(
            concatenated(double, shift),
            [2.0, 0.0, 0.0, 2.0, 10.0, 20.0]
        );
    }
}
