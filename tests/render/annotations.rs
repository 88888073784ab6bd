//! What people wrote onto a page, and what is not on it: hidden layers and text outside the page box.

use std::time::{Duration, Instant};

use super::rendered;
use super::support::pdf::{self, FONT};

/// The text of a page with annotations.
fn text_with(annotations: &[&str], extra: &[String]) -> String {
    let list: String = annotations
        .iter()
        .map(|a| format!("<< /Type /Annot /Rect [72 600 372 620] {a} >> "))
        .collect();
    let entries = format!("/Annots [{list}] /Resources << {FONT} >>");
    rendered(&pdf::page_with(&entries, "", "", extra)).text
}

#[test]
fn words_of_markup_annotations_are_in_the_text() {
    for (annotation, expected) in [
        (
            "/Subtype /FreeText /F 4 /DA (/F1 12 Tf 0 g) /Contents (see Quokka)",
            "see Quokka",
        ),
        (
            "/Subtype /Text /Contents (Platypus valve)",
            "Platypus valve",
        ),
        (
            "/Subtype /Highlight /QuadPoints [72 720 200 720 72 700 200 700] /Contents (ask Otto)",
            "ask Otto",
        ),
        ("/Subtype /Square /Contents (wrong part)", "wrong part"),
        (
            "/Subtype /Text /RC (<body><p>Rich <b>note</b></p></body>)",
            "Rich note",
        ),
        ("/Subtype /Text /Contents <FEFF00DC0062>", "Üb"),
    ] {
        assert_eq!(
            text_with(&[annotation], &[]),
            format!("plain words\n{expected}"),
            "{annotation}"
        );
    }
}

#[test]
fn stamps_are_read_from_what_they_draw() {
    let stamp = "/Subtype /Stamp /F 4 /Name /SBApproved /AP << /N 5 0 R >>";
    let text = text_with(&[stamp], &[pdf::text_form("", "APPROVED")]);
    assert_eq!(text, "plain words\nAPPROVED");
    let hidden = "/Subtype /Stamp /F 2 /AP << /N 5 0 R >>";
    let note = "/Subtype /Stamp /F 4 /Contents (checked)";
    let text = text_with(&[hidden, note], &[pdf::text_form("", "DRAFT")]);
    assert_eq!(text, "plain words\nchecked");
}

#[test]
fn replies_are_read_and_hidden_notes_links_and_popups_are_not() {
    let reply = "/Subtype /Text /F 30 /IRT 99 0 R /Contents (agreed, 45 Nm)";
    let state = "/Subtype /Text /F 30 /IRT 99 0 R /StateModel (Review) /State (Accepted) /Contents (Accepted set by Otto)";
    let text = text_with(
        &[
            "/Subtype /Text /F 2 /Contents (hidden)",
            "/Subtype /Text /F 32 /Contents (not viewed)",
            "/Subtype /Link /Contents (link)",
            "/Subtype /Popup /Contents (popup)",
            reply,
            state,
        ],
        &[],
    );
    assert_eq!(text, "plain words\nagreed, 45 Nm");
}

#[test]
fn notes_beside_the_page_are_left_out() {
    for (rectangle, expected) in [
        ("[72 600 372 620]", "plain words\nnoted"),
        ("[600 600 900 620]", "plain words\nnoted"),
        ("[900 600 1200 620]", "plain words"),
        ("[372 -40 72 -10]", "plain words"),
    ] {
        let entries = format!(
            "/Annots [<< /Type /Annot /Subtype /Text /Rect {rectangle} /Contents (noted) >>] /Resources << {FONT} >>"
        );
        let page = pdf::page_with(&entries, "", "", &[]);
        assert_eq!(rendered(&page).text, expected, "{rectangle}");
    }
}

#[test]
fn what_the_page_says_anyway_is_not_repeated() {
    let copied =
        "/Subtype /Highlight /QuadPoints [72 720 200 720 72 700 200 700] /Contents (plain  words)";
    assert_eq!(text_with(&[copied, copied], &[]), "plain words");
}

/// Helvetica, and a font that is not in the file and may be missing on this machine.
const FONTS: &str = "/Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> /F2 << /Type /Font /Subtype /Type0 \
    /BaseFont /HeiseiMin-W3 /Encoding /UniJIS-UCS2-H /DescendantFonts [<< /Type /Font /Subtype /CIDFontType0 \
    /BaseFont /HeiseiMin-W3 /DW 1000 /CIDSystemInfo << /Registry (Adobe) /Ordering (Japan1) /Supplement 2 >> \
    /FontDescriptor << /Type /FontDescriptor /FontName /HeiseiMin-W3 /Flags 6 /FontBBox [-123 -257 1001 910] \
    /ItalicAngle 0 /Ascent 709 /Descent -241 /CapHeight 709 /StemV 69 >> >>] >> >>";

/// A page with two layers, of which the first is off, and content on them.
fn layered(content: &str) -> String {
    let properties = "/Properties << /Off 5 0 R /On 6 0 R /AnyOff 7 0 R /Not 8 0 R >>";
    let forms = "/XObject << /OffForm 9 0 R /Plain 10 0 R /Scan 11 0 R >>";
    let scan = pdf::text_form("/OC 6 0 R", "scanned")
        .replace("BT", "BT 3 Tr")
        .replace("/Length ", "/Length 5 ");
    let scan = scan.replacen("/Length 5 ", "/Length ", 1);
    let extra = [
        "<< /Type /OCG /Name (Off) >>".to_owned(),
        "<< /Type /OCG /Name (On) >>".to_owned(),
        "<< /Type /OCMD /OCGs [5 0 R] /P /AnyOn >>".to_owned(),
        "<< /Type /OCMD /OCGs [5 0 R] /P /AllOff >>".to_owned(),
        pdf::text_form("/OC 5 0 R", "form"),
        pdf::text_form("", "form"),
        scan,
    ];
    let catalog = "/OCProperties << /OCGs [5 0 R 6 0 R] /D << /OFF [5 0 R] >> >>";
    let entries = format!("/Resources << {FONTS} {properties} {forms} >>");
    rendered(&pdf::page_with(&entries, content, catalog, &extra)).text
}

#[test]
fn text_of_hidden_layers_is_left_out() {
    let line = "BT /F1 14 Tf 72 640 Td (layer) Tj ET";
    let white = "1 g BT /F1 14 Tf 72 640 Td (white) Tj ET";
    for (content, expected) in [
        (format!("/OC /On BDC {line} EMC"), "plain words\nlayer"),
        (format!("/OC /Off BDC {line} EMC"), "plain words"),
        (format!("/OC /AnyOff BDC {line} EMC"), "plain words"),
        (format!("/OC /Not BDC {line} EMC"), "plain words\nlayer"),
        (format!("/OC /On BDC {white} EMC"), "plain words\nwhite"),
        ("q 1 0 0 1 72 640 cm /OffForm Do Q".into(), "plain words"),
        (
            "q 1 0 0 1 72 640 cm /Plain Do Q".into(),
            "plain words\nform",
        ),
        (
            "/OC /Off BDC q 1 0 0 1 72 640 cm /Plain Do Q EMC".into(),
            "plain words",
        ),
        (
            "q 1 0 0 1 72 640 cm /Scan Do Q".into(),
            "plain words\nscanned",
        ),
    ] {
        assert_eq!(layered(&content), expected, "{content}");
    }
}

#[test]
fn visible_layer_in_a_missing_font_keeps_its_text() {
    let line = "BT /F2 14 Tf 72 640 Td <65E5672C8A9E> Tj ET";
    let content = format!("/OC /On BDC {line} EMC");
    assert_eq!(layered(&content), "plain words\n日本語");
}

#[test]
fn layers_of_a_page_of_many_objects_are_checked() {
    let line = |y| format!("BT /F1 14 Tf 72 {y} Td (layer {y}) Tj ET");
    let (hidden, shown) = (line(640), line(600));
    let paths = "9 9 m 90 90 l S ".repeat(60_000);
    let content = format!("{paths} /OC /Off BDC {hidden} EMC /OC /On BDC {shown} EMC");
    let start = Instant::now();
    assert_eq!(layered(&content), "plain words\nlayer 600");
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn text_outside_the_page_box_is_left_out() {
    let content = "BT /F1 14 Tf 72 100 Td (cut off) Tj ET BT /F1 14 Tf 900 300 Td (beside) Tj ET";
    let entries = |boxes: &str| format!("{boxes} /Resources << {FONT} >>");
    let page = rendered(&pdf::page_with(
        &entries("/CropBox [0 200 612 792]"),
        content,
        "",
        &[],
    ));
    assert_eq!(page.text, "plain words");
    let page = rendered(&pdf::page_with(&entries("/Rotate 90"), content, "", &[]));
    assert_eq!(
        page.text, "cut off\nplain words",
        "in the order of the rotated page"
    );
}

#[test]
fn crop_box_that_misses_the_media_box_is_ignored() {
    for crop in [
        "[1000 1000 1200 1200]",
        "[-500 0 -10 792]",
        "[0 792 612 1500]",
    ] {
        let entries = format!("/CropBox {crop} /Resources << {FONT} >>");
        let page = rendered(&pdf::page_with(&entries, "", "", &[]));
        assert_eq!(
            (page.image.size().width, page.image.size().height),
            (1275, 1650),
            "{crop}"
        );
        assert_eq!(page.text, "plain words", "{crop}");
    }
}
