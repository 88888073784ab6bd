//! Pages of which PDFium could not draw something, without saying so.

use ingest::render::Undrawn;

use super::rendered;
use super::support::pdf::{self, FONT};

/// A page with the words of [`pdf::page_with`] or without any, and a picture of the given filter and data.
fn with_picture(filter: &str, data: &[u8], content: &str) -> Vec<u8> {
    let mut file = pdf::Pdf::new();
    let (root, tree) = (file.add(""), file.add(""));
    let entries = format!(
        "/Type /XObject /Subtype /Image /Width 64 /Height 64 /ColorSpace /DeviceGray /BitsPerComponent 8 {filter}"
    );
    let picture = file.stream(&entries, data);
    let resources =
        format!("/MediaBox [0 0 612 792] /Resources << {FONT} /XObject << /P {picture} 0 R >> >>");
    let page = file.page(tree, &resources, content.as_bytes());
    file.set(root, format!("<< /Type /Catalog /Pages {tree} 0 R >>"));
    file.set(
        tree,
        format!("<< /Type /Pages /Count 1 /Kids [{page} 0 R] >>"),
    );
    file.finish(root)
}

const FULL_PAGE: &str = "q 612 0 0 792 0 0 cm /P Do Q";

fn picture(format: &str) -> Vec<Undrawn> {
    vec![Undrawn::Picture {
        format: format.to_owned(),
    }]
}

#[test]
fn pictures_that_cannot_be_decoded_are_named() {
    for (filter, format) in [
        ("/Filter /JPXDecode", "JPEG 2000"),
        ("/Filter /DCTDecode", "JPEG"),
        ("/Filter /JBIG2Decode", "JBIG2"),
    ] {
        let page = rendered(&with_picture(filter, b"no picture at all", FULL_PAGE));
        assert!(page.blank, "{filter}");
        assert_eq!(page.undrawn, picture(format), "{filter}");
    }
}

#[test]
fn pages_that_are_half_there_are_named_too() {
    let content = format!(
        "0.9 g 0 0 612 792 re f 0 g {FULL_PAGE} BT /F1 24 Tf 72 700 Td (words over it) Tj ET"
    );
    let page = rendered(&with_picture("/Filter /JPXDecode", b"torn", &content));
    assert!(!page.blank);
    assert_eq!(
        (page.undrawn, page.text.as_str()),
        (picture("JPEG 2000"), "words over it")
    );
}

#[test]
fn pictures_of_one_colour_and_empty_pages_are_plainly_blank() {
    let white = rendered(&with_picture("", &[255; 64 * 64], FULL_PAGE));
    assert!(white.blank && white.undrawn.is_empty());
    let covered = format!("{FULL_PAGE} 1 g 0 0 612 792 re f");
    let covered = rendered(&with_picture("", &[0; 64 * 64], &covered));
    assert!(covered.blank && covered.undrawn.is_empty());
    for content in [
        "",
        "1 g BT /F1 24 Tf 72 700 Td (white on white) Tj ET",
        "BT 3 Tr /F1 24 Tf 72 700 Td (invisible) Tj ET",
    ] {
        let page = rendered(&with_picture("", &[0; 64 * 64], content));
        assert!(
            page.blank && page.undrawn.is_empty(),
            "{content}: {:?}",
            page.undrawn
        );
    }
}

/// A page with a line in a font that is not in the file, in UTF-16, and a line in Helvetica if `latin`.
fn with_unembedded_font(
    name: &str,
    ordering: &str,
    encoding: &str,
    utf16: &str,
    latin: &str,
) -> Vec<u8> {
    let content = format!("{latin} BT /F2 24 Tf 72 600 Td <{utf16}> Tj ET");
    let descendant = format!(
        "<< /Type /Font /Subtype /CIDFontType0 /BaseFont /{name} /DW 1000 /CIDSystemInfo << /Registry (Adobe) /Ordering ({ordering}) /Supplement 2 >> /FontDescriptor << /Type /FontDescriptor /FontName /{name} /Flags 6 /FontBBox [-123 -257 1001 910] /ItalicAngle 0 /Ascent 709 /Descent -241 /CapHeight 709 /StemV 69 >> >>"
    );
    let fonts = format!(
        "/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> /F2 << /Type /Font /Subtype /Type0 /BaseFont /{name} /Encoding /{encoding} /DescendantFonts [{descendant}] >> >>"
    );
    let entries = format!("/MediaBox [0 0 612 792] /Resources << {fonts} >>");
    pdf::pages(&[(entries.as_str(), content.into_bytes())], "")
}

#[test]
fn fonts_that_are_missing_are_named_by_their_script() {
    let latin = "BT /F1 14 Tf 72 700 Td (Model AX-5) Tj ET";
    for (name, ordering, encoding, utf16, script) in [
        (
            "HeiseiMin-W3",
            "Japan1",
            "UniJIS-UCS2-H",
            "65E5672C8A9E306E",
            "Japanese",
        ),
        (
            "STSong-Light",
            "GB1",
            "UniGB-UCS2-H",
            "8BF4660E4E66",
            "Chinese or Japanese",
        ),
        (
            "HYSMyeongJo-Medium",
            "Korea1",
            "UniKS-UCS2-H",
            "C0ACC6A9C124BA85C11C",
            "Korean",
        ),
    ] {
        for latin in ["", latin] {
            let page = rendered(&with_unembedded_font(
                name, ordering, encoding, utf16, latin,
            ));
            let missing = vec![Undrawn::Font {
                script: script.to_owned(),
            }];
            // A machine that has such a font draws the line.
            let alone = rendered(&with_unembedded_font(name, ordering, encoding, utf16, ""));
            let expected = if alone.blank { missing } else { Vec::new() };
            assert_eq!(page.undrawn, expected, "{script}, {latin}");
            assert_eq!(page.blank, alone.blank && latin.is_empty());
            assert!(
                page.text.chars().any(|c| c > '\u{1000}'),
                "its text stays: {}",
                page.text
            );
        }
    }
}
