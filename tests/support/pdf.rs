//! PDF files generated in code, valid and malformed; each function returns the bytes of a file.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test crate uses only some of these"
)]

/// PDF writer: objects by number, from 1.
#[derive(Default)]
pub struct Pdf {
    objects: Vec<Vec<u8>>,
}

impl Pdf {
    /// Creates an empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an object; returns its number.
    pub fn add(&mut self, body: impl Into<Vec<u8>>) -> usize {
        self.objects.push(body.into());
        self.objects.len()
    }

    /// Replaces an object.
    pub fn set(&mut self, number: usize, body: impl Into<Vec<u8>>) {
        self.objects[number - 1] = body.into();
    }

    /// Adds a stream.
    pub fn stream(&mut self, entries: &str, data: &[u8]) -> usize {
        let mut body = format!("<< {entries} /Length {} >>\nstream\n", data.len()).into_bytes();
        body.extend_from_slice(data);
        body.extend_from_slice(b"\nendstream");
        self.add(body)
    }

    /// Adds a page with a content stream; `entries` go into the page's dictionary.
    pub fn page(&mut self, parent: usize, entries: &str, content: &[u8]) -> usize {
        let content = self.stream("", content);
        self.add(format!(
            "<< /Type /Page /Parent {parent} 0 R /Contents {content} 0 R {entries} >>"
        ))
    }

    /// The bytes of the file, with its cross-reference table.
    pub fn finish(&self, root: usize) -> Vec<u8> {
        let mut out = b"%PDF-1.7\n".to_vec();
        let mut table = String::from("0000000000 65535 f \n");
        for (index, body) in self.objects.iter().enumerate() {
            table += &format!("{:010} 00000 n \n", out.len());
            out.extend_from_slice(format!("{} 0 obj\n", index + 1).as_bytes());
            out.extend_from_slice(body);
            out.extend_from_slice(b"\nendobj\n");
        }
        let (size, start) = (self.objects.len() + 1, out.len());
        let end = format!(
            "xref\n0 {size}\n{table}trailer\n<< /Size {size} /Root {root} 0 R >>\nstartxref\n{start}\n%%EOF\n"
        );
        out.extend_from_slice(end.as_bytes());
        out
    }
}

/// Default media box and resources of a page.
pub const PLAIN: &str = "/MediaBox [0 0 612 792] \
    /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>";

/// A content stream with one line of text near the top and a bar at the bottom.
pub fn text_content(text: &str) -> Vec<u8> {
    format!("BT /F1 24 Tf 72 700 Td ({text}) Tj ET 72 72 400 40 re f").into_bytes()
}

/// A file of pages, each with its own dictionary entries and content stream; `catalog` adds entries to the catalogue.
pub fn pages(pages: &[(&str, Vec<u8>)], catalog: &str) -> Vec<u8> {
    let mut pdf = Pdf::new();
    let (root, tree) = (pdf.add(""), pdf.add(""));
    let kids: Vec<usize> = pages
        .iter()
        .map(|(entries, content)| pdf.page(tree, entries, content))
        .collect();
    pdf.set(root, catalogue(tree, catalog));
    pdf.set(tree, tree_of(&kids));
    pdf.finish(root)
}

fn catalogue(tree: usize, entries: &str) -> String {
    format!("<< /Type /Catalog /Pages {tree} 0 R {entries} >>")
}

fn tree_of(kids: &[usize]) -> String {
    let list: String = kids.iter().map(|kid| format!("{kid} 0 R ")).collect();
    format!("<< /Type /Pages /Count {} /Kids [{list}] >>", kids.len())
}

/// A file of one page with the text "plain words", further entries in its dictionary and the catalogue, and further objects,
/// which are numbered from [`FIRST_EXTRA`].
pub fn page_with(entries: &str, content: &str, catalog: &str, extra: &[String]) -> Vec<u8> {
    let mut pdf = Pdf::new();
    let (root, tree) = (pdf.add(""), pdf.add(""));
    let content = format!("BT /F1 24 Tf 72 700 Td (plain words) Tj ET {content}");
    let entries = format!("/MediaBox [0 0 612 792] {entries}");
    let page = pdf.page(tree, &entries, content.as_bytes());
    for object in extra {
        pdf.add(object.as_str());
    }
    pdf.set(root, catalogue(tree, catalog));
    pdf.set(tree, tree_of(&[page]));
    pdf.finish(root)
}

/// Number of the first further object of [`page_with`].
pub const FIRST_EXTRA: usize = 5;

/// A font for [`page_with`], under the name `F1`.
pub const FONT: &str = "/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>";

/// A form XObject that shows a text.
pub fn text_form(entries: &str, text: &str) -> String {
    let content = format!("BT /F1 14 Tf 2 6 Td ({text}) Tj ET");
    format!(
        "<< /Type /XObject /Subtype /Form /BBox [0 0 300 20] /Resources << {FONT} >> {entries} /Length {} >>\nstream\n{content}\nendstream",
        content.len()
    )
}

/// A valid file with one page per text.
pub fn good(texts: &[&str]) -> Vec<u8> {
    let list: Vec<(&str, Vec<u8>)> = texts
        .iter()
        .map(|text| (PLAIN, text_content(text)))
        .collect();
    pages(&list, "")
}

/// A file without pages.
pub fn zero_pages() -> Vec<u8> {
    pages(&[], "")
}

/// One page in a page tree of `levels` levels.
pub fn deep_tree(levels: usize) -> Vec<u8> {
    let mut pdf = Pdf::new();
    let root = pdf.add(catalogue(2, ""));
    for level in 0..levels {
        pdf.add(format!(
            "<< /Type /Pages /Count 1 /Kids [{} 0 R] >>",
            level + 3
        ));
    }
    pdf.add(format!(
        "<< /Type /Page /Parent {} 0 R {PLAIN} >>",
        levels + 1
    ));
    pdf.finish(root)
}

/// A page tree that contains itself and one valid page.
pub fn cyclic_tree() -> Vec<u8> {
    let mut pdf = Pdf::new();
    let (root, tree) = (pdf.add(""), pdf.add(""));
    let page = pdf.page(tree, PLAIN, &text_content("the only page"));
    pdf.set(root, catalogue(tree, ""));
    pdf.set(tree, tree_of(&[tree, page]));
    pdf.finish(root)
}

/// Two pages, the first of which is `null`.
pub fn null_kid() -> Vec<u8> {
    let mut pdf = Pdf::new();
    let (root, tree) = (pdf.add(""), pdf.add(""));
    let none = pdf.add("null");
    let page = pdf.page(tree, PLAIN, &text_content("the second page"));
    pdf.set(root, catalogue(tree, ""));
    pdf.set(tree, tree_of(&[none, page]));
    pdf.finish(root)
}

/// One page of a size in points.
pub fn sized(width: u32, height: u32) -> Vec<u8> {
    let entries = format!("/MediaBox [0 0 {width} {height}]");
    let bar = format!("0 0 {} {} re f", width / 2, height / 2);
    pages(&[(entries.as_str(), bar.into_bytes())], "")
}

/// A page with an invalid content stream, and a valid page.
pub fn broken_stream() -> Vec<u8> {
    let invalid = b"(((( BT ]] /F9 nonsense Tf >> Tj 0 0 q q".to_vec();
    pages(
        &[(PLAIN, invalid), (PLAIN, text_content("the second page"))],
        "",
    )
}

/// A page with nested forms, each of which draws the next ten times (exponential), and a valid page.
pub fn form_bomb(levels: usize) -> Vec<u8> {
    let mut pdf = Pdf::new();
    let (root, tree) = (pdf.add(""), pdf.add(""));
    let form = "/Type /XObject /Subtype /Form /BBox [0 0 612 792]";
    let mut inner = pdf.stream(form, "0 0 m 612 792 l S ".repeat(50).as_bytes());
    for _ in 0..levels {
        let entries = format!("{form} /Resources << /XObject << /X {inner} 0 R >> >>");
        inner = pdf.stream(&entries, "/X Do ".repeat(10).as_bytes());
    }
    let entries = format!("/MediaBox [0 0 612 792] /Resources << /XObject << /X {inner} 0 R >> >>");
    let bomb = pdf.page(tree, &entries, b"/X Do");
    let page = pdf.page(tree, PLAIN, &text_content("the second page"));
    pdf.set(root, catalogue(tree, ""));
    pdf.set(tree, tree_of(&[bomb, page]));
    pdf.finish(root)
}

/// A page with `count` diagonal strokes, and a valid page.
pub fn strokes(count: usize) -> Vec<u8> {
    let content = "0 0 m 612 792 l S\n".repeat(count).into_bytes();
    pages(
        &[(PLAIN, content), (PLAIN, text_content("the second page"))],
        "",
    )
}

/// Pages rotated by 0, 90, 180 and 270 degrees, and one with a crop box far from the origin.
pub fn rotated() -> Vec<u8> {
    let fonts = PLAIN.split_once("/Resources").map_or("", |(_, r)| r);
    let entries: Vec<String> = [0, 90, 180, 270]
        .iter()
        .map(|degrees| format!("/Rotate {degrees} {PLAIN}"))
        .chain([format!(
            "/MediaBox [-1000 -1000 3000 3000] /CropBox [1000 1000 1612 1792] /Resources {fonts}"
        )])
        .collect();
    let cut = b"BT /F1 24 Tf 1072 1700 Td (turned page) Tj ET 1072 1072 400 40 re f".to_vec();
    let list: Vec<(&str, Vec<u8>)> = entries
        .iter()
        .enumerate()
        .map(|(index, e)| {
            let content = if index < 4 {
                text_content("turned page")
            } else {
                cut.clone()
            };
            (e.as_str(), content)
        })
        .collect();
    pages(&list, "")
}

/// One upright page, then pages as from scanners and wide tables: text running upwards, downwards, upwards on a rotated
/// page, and upside down.
pub fn sideways() -> Vec<u8> {
    let fonts = PLAIN.split_once("/Resources").map_or("", |(_, r)| r);
    let wide = format!("/MediaBox [0 0 792 612] /Resources {fonts}");
    let rotated_wide = format!("/Rotate 90 {wide}");
    let upside_down = format!("/Rotate 180 {PLAIN}");
    let text = "a table that is wider than the paper that it is printed on";
    let with_matrix = |matrix: &str| [matrix.as_bytes(), &text_content(text)].concat();
    let upwards = with_matrix("0 1 -1 0 792 0 cm ");
    pages(
        &[
            (PLAIN, with_matrix("")),
            (&wide, upwards.clone()),
            (&wide, with_matrix("0 -1 1 0 0 612 cm ")),
            (&rotated_wide, upwards),
            (&upside_down, with_matrix("")),
        ],
        "",
    )
}

/// Four pages labelled i, ii, 1, 2, with an outline of three bookmarks, the last of which links back to the first.
pub fn labelled() -> Vec<u8> {
    let mut pdf = Pdf::new();
    let (root, tree) = (pdf.add(""), pdf.add(""));
    let kids: Vec<usize> = ["i", "ii", "1", "2"]
        .iter()
        .map(|text| pdf.page(tree, PLAIN, &text_content(text)))
        .collect();
    let outline = pdf.objects.len() + 1;
    let (first, inner, last) = (outline + 1, outline + 2, outline + 3);
    let (k1, k3, k4) = (kids[0], kids[2], kids[3]);
    pdf.add(format!(
        "<< /Type /Outlines /First {first} 0 R /Last {last} 0 R >>"
    ));
    pdf.add(format!(
        "<< /Title (Preface) /Parent {outline} 0 R /Dest [{k1} 0 R /Fit] /First {inner} 0 R /Last {inner} 0 R /Next {last} 0 R >>"
    ));
    pdf.add(format!(
        "<< /Title (Alarms) /Parent {first} 0 R /A << /S /GoTo /D [{k3} 0 R /Fit] >> >>"
    ));
    pdf.add(format!(
        "<< /Title (Wiring) /Parent {outline} 0 R /Dest [{k4} 0 R /Fit] /Next {first} 0 R >>"
    ));
    let labels = "/PageLabels << /Nums [0 << /S /r >> 2 << /S /D >>] >>";
    pdf.set(
        root,
        catalogue(tree, &format!("/Outlines {outline} 0 R {labels}")),
    );
    pdf.set(tree, tree_of(&kids));
    pdf.finish(root)
}

/// Pseudo-random bytes, always the same.
pub fn random(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(|_| next()).collect()
}
