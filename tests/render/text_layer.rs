//! Text layers that are no text: the page is treated as a scan.

use super::rendered;
use super::support::pdf;

/// A page in Helvetica whose `ToUnicode` map gives each printed character another one.
fn mapped(lines: &[&str], to: impl Fn(u8) -> u32) -> Vec<u8> {
    let mut file = pdf::Pdf::new();
    let (root, tree) = (file.add(""), file.add(""));
    let pairs: String = (33..127)
        .map(|c| format!("<{c:02X}> <{:04X}>\n", to(c)))
        .collect();
    let map = file.stream(
        "",
        format!(
            "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /M def 1 begincodespacerange <00> <FF> endcodespacerange 94 beginbfchar\n{pairs}endbfchar endcmap end end"
        )
        .as_bytes(),
    );
    let font = format!(
        "/MediaBox [0 0 612 792] /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode {map} 0 R >> >> >>"
    );
    let content: String = lines
        .iter()
        .enumerate()
        .map(|(n, line)| format!("BT /F1 14 Tf 72 {} Td ({line}) Tj ET ", 700 - 20 * n))
        .collect();
    let page = file.page(tree, &font, content.as_bytes());
    file.set(root, format!("<< /Type /Catalog /Pages {tree} 0 R >>"));
    file.set(
        tree,
        format!("<< /Type /Pages /Count 1 /Kids [{page} 0 R] >>"),
    );
    file.finish(root)
}

const LINES: [&str; 2] = [
    "Calibrate the flowmeter before use",
    "The zero point drifts by two percent",
];

#[test]
fn shifted_private_and_replaced_characters_are_no_text() {
    let shift = |by: i64| move |c: u8| u32::try_from(i64::from(c) + by).unwrap();
    for bytes in [
        mapped(&LINES, shift(-29)),
        mapped(&LINES, shift(1)),
        mapped(&LINES, shift(0xe000)),
        mapped(&LINES, |_| 0xfffd),
    ] {
        let page = rendered(&bytes);
        assert!(page.unreadable_text, "{}", page.text);
        assert_eq!(page.text, "");
        assert!(!page.blank);
    }
}

#[test]
fn true_text_stays() {
    let same = |c: u8| u32::from(c);
    let page = rendered(&mapped(&LINES, same));
    assert_eq!((page.unreadable_text, page.text), (false, LINES.join("\n")));
    let codes = ["WKH 4711-AB XUV 9200-2741", "KLM 88 QRS 12 M8x40 DIN 931"];
    assert!(!rendered(&mapped(&codes, same)).unreadable_text);
}
