//! Form fields: what was filled in is drawn and searched.

use super::support::pdf::{self, FIRST_EXTRA, FONT};
use super::{Fixture, ink, only, rendered};

/// A page with form fields, each a dictionary of a widget; the field is its own widget.
fn form(fields: &[&str]) -> Vec<u8> {
    let list: String = (0..fields.len())
        .map(|n| format!("{} 0 R ", FIRST_EXTRA + n))
        .collect();
    let objects: Vec<String> = fields
        .iter()
        .map(|field| format!("<< /Type /Annot /Subtype /Widget /DA (/F1 14 Tf 0 g) {field} >>"))
        .collect();
    with_fields(&list, &list, &objects)
}

fn with_fields(fields: &str, annotations: &str, objects: &[String]) -> Vec<u8> {
    pdf::page_with(
        &format!("/Annots [{annotations}] /Resources << {FONT} >>"),
        "",
        &format!(
            "/AcroForm << /NeedAppearances true /DR << {FONT} >> /DA (/F1 14 Tf 0 g) /Fields [{fields}] >>"
        ),
        objects,
    )
}

/// The ink and the text of the page without any field.
const PLAIN_TEXT: &str = "plain words";

fn plain_ink() -> usize {
    ink(&rendered(&form(&[])))
}

#[test]
fn values_of_fields_are_drawn_and_in_the_text() {
    let serial = "/FT /Tx /T (serial) /F 4 /Rect [72 600 372 620]";
    for (field, expected) in [
        (format!("{serial} /V (KX-77431)"), "KX-77431"),
        (format!("{serial} /V <FEFF00DC0062>"), "Üb"),
        (format!("{serial} /V (turned) /MK << /R 90 >>"), "turned"),
        (
            "/FT /Ch /Ff 131072 /T (c) /F 4 /Rect [72 600 372 620] /Opt [(Diesel) (Gas oil)] /V (Gas oil)".into(),
            "Gas oil",
        ),
        (
            "/FT /Ch /T (l) /F 4 /Rect [72 500 372 620] /Opt [[(a) (Left)] [(b) (Right)]] /V (b)".into(),
            "Right",
        ),
    ] {
        let page = rendered(&form(&[&field]));
        assert_eq!(page.text, format!("{PLAIN_TEXT}\n{expected}"), "{field}");
        assert!(ink(&page) > plain_ink() + 50, "{field}: {}", ink(&page));
    }
}

#[test]
fn checked_boxes_and_buttons_are_drawn() {
    let cross = "/AP << /N << /Yes 6 0 R /Diesel 6 0 R /Off 7 0 R >> >>";
    let shape = |content: &str| {
        format!(
            "<< /Type /XObject /Subtype /Form /BBox [0 0 18 18] /Length {} >>\nstream\n{content}\nendstream",
            content.len()
        )
    };
    for (field, expected, is_drawn) in [
        ("/V /Yes /AS /Yes", PLAIN_TEXT, true),
        ("/V /Off /AS /Off", PLAIN_TEXT, false),
        (
            "/Ff 32768 /V /Diesel /AS /Diesel",
            "plain words\nDiesel",
            true,
        ),
    ] {
        let widget = format!(
            "<< /Type /Annot /Subtype /Widget /FT /Btn /T (b) /F 4 /Rect [72 560 90 578] {cross} {field} >>"
        );
        let objects = [widget, shape("2 w 2 2 m 16 16 l S"), shape("")];
        let page = rendered(&with_fields("5 0 R", "5 0 R", &objects));
        assert_eq!(page.text, expected, "{field}");
        assert_eq!(ink(&page) > plain_ink(), is_drawn, "{field}");
    }
}

#[test]
fn hidden_fields_and_passwords_are_left_out() {
    for flags in ["/F 2", "/F 32"] {
        let field = format!("/FT /Tx /T (s) {flags} /Rect [72 600 372 620] /V (secret)");
        let page = rendered(&form(&[&field]));
        assert_eq!(
            (page.text.as_str(), ink(&page)),
            (PLAIN_TEXT, plain_ink()),
            "{flags}"
        );
    }
    let password = "/FT /Tx /Ff 8192 /T (p) /F 4 /Rect [72 600 372 620] /V (secret)";
    assert_eq!(rendered(&form(&[password])).text, PLAIN_TEXT);
}

#[test]
fn a_value_with_two_widgets_is_in_the_text_once() {
    let field = "<< /FT /Tx /T (s) /V (KX-77431) /DA (/F1 14 Tf 0 g) /Kids [6 0 R 7 0 R] >>";
    let widget = |y: u32| {
        format!(
            "<< /Type /Annot /Subtype /Widget /Parent 5 0 R /F 4 /Rect [72 {y} 372 {}] >>",
            y + 20
        )
    };
    let objects = [field.to_owned(), widget(600), widget(500)];
    let page = rendered(&with_fields("5 0 R", "6 0 R 7 0 R", &objects));
    assert_eq!(page.text, "plain words\nKX-77431");
    let one = "/FT /Tx /T (s) /F 4 /Rect [72 600 372 620] /V (KX-77431)";
    let drawn = |page| ink(&page) - plain_ink();
    assert_eq!(drawn(page), 2 * drawn(rendered(&form(&[one]))));
}

#[test]
fn signatures_are_drawn_and_their_text_is_read() {
    let widget = "<< /Type /Annot /Subtype /Widget /FT /Sig /T (s) /F 4 /Rect [72 400 372 420] /AP << /N 6 0 R >> >>";
    let objects = [widget.to_owned(), pdf::text_form("", "Signed by Numbat")];
    let page = rendered(&with_fields("5 0 R", "5 0 R", &objects));
    assert_eq!(page.text, "plain words\nSigned by Numbat");
    assert!(ink(&page) > plain_ink());
    let hidden = "<< /Type /Annot /Subtype /Widget /FT /Tx /T (h) /F 32 /V (secret) /Rect [72 300 372 320] /AP << /N 8 0 R >> >>";
    let objects = [
        widget.to_owned(),
        pdf::text_form("", "Signed by Numbat"),
        hidden.to_owned(),
        pdf::text_form("", "secret"),
    ];
    let page = rendered(&with_fields("5 0 R 7 0 R", "5 0 R 7 0 R", &objects));
    assert_eq!(page.text, "plain words\nSigned by Numbat");
}

#[test]
fn pages_without_fields_keep_their_pixels() {
    let field = "/FT /Tx /T (s) /F 4 /Rect [72 600 372 620] /V (KX-77431)";
    let with_form = with_fields("5 0 R", "", &[format!("<< /Subtype /Widget {field} >>")]);
    let without = pdf::page_with(&format!("/Resources << {FONT} >>"), "", "", &[]);
    assert!(rendered(&with_form) == rendered(&without));
    let empty = form(&["/FT /Tx /T (s) /F 4 /Rect [72 600 372 620]"]);
    assert_eq!(ink(&rendered(&empty)), plain_ink());
}

#[test]
fn xfa_forms_and_attached_documents_are_named() {
    let mut fixture = Fixture::new();
    let mut missing = |catalog: &str, extra: &[String]| {
        let bytes = pdf::page_with(&format!("/Resources << {FONT} >>"), "", catalog, extra);
        let path = fixture.file("cover.pdf", &bytes);
        let manual = fixture.open(&path, None).unwrap();
        let lines: Vec<String> = manual.missing.iter().map(ToString::to_string).collect();
        lines.join("|")
    };
    let xfa = "/NeedsRendering true /AcroForm << /Fields [] /XFA [(template) 5 0 R] >>";
    let template = "<< /Length 10 >>\nstream\n<template>\nendstream".to_owned();
    assert!(missing(xfa, &[template]).starts_with("its pages are an XFA form"));
    let attached = |name: &str| {
        let names = format!("/Names << /EmbeddedFiles << /Names [({name}) 5 0 R] >> >>");
        let spec = format!("<< /Type /Filespec /F ({name}) /UF ({name}) /EF << /F 6 0 R >> >>");
        (
            names,
            [spec, "<< /Length 1 >>\nstream\nx\nendstream".to_owned()],
        )
    };
    let (names, objects) = attached("wiring.pdf");
    let portfolio = format!("/Collection << /View /T >> {names}");
    assert!(missing(&portfolio, &objects).contains("attached files are not read: wiring.pdf;"));
    let (names, objects) = attached("invoice.xml");
    assert_eq!(
        missing(&names, &objects),
        "",
        "data for programs is no page"
    );
}

#[test]
fn rotated_pages_have_their_fields_in_place() {
    let field = "/FT /Tx /T (s) /F 4 /Rect [72 600 372 620] /V (KX-77431)";
    let upright = form(&[field]);
    let rotated = String::from_utf8_lossy(&upright).replace("/MediaBox", "/Rotate 90 /MediaBox");
    let page = only(Fixture::new().render("r.pdf", rotated.as_bytes()).unwrap());
    let ratio = ink(&page) as f64 / ink(&rendered(&upright)) as f64;
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}
