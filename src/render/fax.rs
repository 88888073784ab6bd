//! Fax data (ITU-T T.4 and T.6) as a PDF page: PDFium decodes every variant, also with errors in it.

use std::fmt::Write as _;

/// A picture compressed as a fax, as in a TIFF file.
pub(super) struct FaxImage<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) rows_per_strip: u32,
    /// The data of each strip, from top to bottom.
    pub(super) strips: Vec<&'a [u8]>,
    /// `/K`: -1 Group 4, 0 Group 3 in one dimension, 1 in two (ISO 32000-2, table 11).
    pub(super) k: i32,
    /// Whether each row begins at a byte.
    pub(super) byte_aligned: bool,
    /// Whether black runs stand for white.
    pub(super) black_is_one: bool,
    /// Whether the first pixel is in the lowest bit of a byte.
    pub(super) reversed_bits: bool,
    /// Clockwise rotation in degrees that makes it upright.
    pub(super) rotation: u32,
    /// Horizontal by vertical resolution.
    pub(super) aspect: f32,
}

/// Makes a PDF of one page, on which a pixel has the size of a point.
pub(super) fn to_pdf(fax: &FaxImage<'_>) -> Vec<u8> {
    let (width, height) = match fax.aspect > 1.0 {
        true => (fax.width as f32, fax.height as f32 * fax.aspect),
        false => (fax.width as f32 / fax.aspect, fax.height as f32),
    };
    let point = height / fax.height as f32;
    let mut objects = Objects::default();
    let (mut content, mut names) = (String::new(), String::new());
    for (index, data) in fax.strips.iter().enumerate() {
        let above = (index as u32).saturating_mul(fax.rows_per_strip);
        let rows = fax.height.saturating_sub(above).min(fax.rows_per_strip);
        if rows == 0 {
            break;
        }
        let bottom = (fax.height - above - rows) as f32 * point;
        let drawn = rows as f32 * point;
        let _ = writeln!(
            content,
            "q {width} 0 0 {drawn} 0 {bottom} cm /S{index} Do Q"
        );
        let _ = write!(names, "/S{index} {} 0 R ", FIRST_STRIP + index);
        objects
            .strips
            .push((strip_entries(fax, rows), strip_data(fax, data)));
    }
    objects.page = format!(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Rotate {} /Contents 4 0 R /Resources << /XObject << {names}>> >> >>",
        fax.rotation
    );
    objects.content = content;
    objects.finish()
}

/// Number of the first strip's object: after the catalogue, the page tree, the page and its content.
const FIRST_STRIP: usize = 5;

fn strip_entries(fax: &FaxImage<'_>, rows: u32) -> String {
    format!(
        "/Type /XObject /Subtype /Image /Width {} /Height {rows} /ColorSpace /DeviceGray /BitsPerComponent 1 \
         /Filter /CCITTFaxDecode /DecodeParms << /K {} /Columns {} /Rows {rows} /EncodedByteAlign {} /BlackIs1 {} >>",
        fax.width, fax.k, fax.width, fax.byte_aligned, fax.black_is_one,
    )
}

fn strip_data(fax: &FaxImage<'_>, data: &[u8]) -> Vec<u8> {
    match fax.reversed_bits {
        true => data.iter().map(|byte| byte.reverse_bits()).collect(),
        false => data.to_vec(),
    }
}

/// The objects of the file that are not always the same.
#[derive(Default)]
struct Objects {
    page: String,
    content: String,
    /// Dictionary entries and data of each strip.
    strips: Vec<(String, Vec<u8>)>,
}

impl Objects {
    /// The bytes of the file.
    fn finish(&self) -> Vec<u8> {
        let mut out = b"%PDF-1.7\n".to_vec();
        let mut table = String::from("0000000000 65535 f \n");
        let mut add = |number: usize, body: &[u8]| {
            let _ = writeln!(table, "{:010} 00000 n ", out.len());
            out.extend_from_slice(format!("{number} 0 obj\n").as_bytes());
            out.extend_from_slice(body);
            out.extend_from_slice(b"\nendobj\n");
        };
        add(1, b"<< /Type /Catalog /Pages 2 0 R >>");
        add(2, b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>");
        add(3, self.page.as_bytes());
        add(4, &stream("", self.content.as_bytes()));
        for (index, (entries, data)) in self.strips.iter().enumerate() {
            add(FIRST_STRIP + index, &stream(entries, data));
        }
        let (start, size) = (out.len(), FIRST_STRIP + self.strips.len());
        let end = format!(
            "xref\n0 {size}\n{table}trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
        );
        out.extend_from_slice(end.as_bytes());
        out
    }
}

fn stream(entries: &str, data: &[u8]) -> Vec<u8> {
    let head = format!("<< {entries} /Length {} >>\nstream\n", data.len());
    [head.as_bytes(), data, b"\nendstream"].concat()
}
