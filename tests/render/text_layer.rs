//! Text layers that are no text: the page is treated as a scan.

use super::support::pdf;
use super::{Fixture, rendered};

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

#[test]
fn words_are_where_the_ink_is() {
    let fonts = pdf::PLAIN.split_once("/Resources").unwrap().1;
    let turned = [0, 90, 180, 270].map(|degrees| format!("/Rotate {degrees} {}", pdf::PLAIN));
    let cut = format!("/MediaBox [-50 -50 900 900] /CropBox [20 20 500 800] /Resources {fonts}");
    let content = b"BT /F1 24 Tf 72 700 Td (turned page,) Tj 0 -40 Td (E-108) Tj ET".to_vec();
    let entries = turned.iter().chain([&cut]);
    let list: Vec<(&str, Vec<u8>)> = entries.map(|e| (e.as_str(), content.clone())).collect();
    let pages = Fixture::new().render("turned.pdf", &pdf::pages(&list, ""));
    for (number, page) in pages.unwrap().into_iter().enumerate() {
        let page = page.unwrap();
        let mut texts: Vec<&str> = page.words.iter().map(|word| word.text.as_str()).collect();
        texts.sort_unstable();
        assert_eq!(texts, ["E-108", "page,", "turned"], "{number}");
        let size = page.image.size();
        let (width, height) = (size.width as f32, size.height as f32);
        let outside = page
            .image
            .rgb()
            .chunks_exact(3)
            .zip(0..)
            .filter(|(pixel, at)| {
                let (x, y) = ((at % size.width) as f32, (at / size.width) as f32);
                let is_inside = page.words.iter().any(|word| {
                    let [left, top, right, bottom] = word.place;
                    (left * width - 2.0..=right * width + 2.0).contains(&x)
                        && (top * height - 2.0..=bottom * height + 2.0).contains(&y)
                });
                **pixel != [255; 3] && !is_inside
            });
        assert_eq!(outside.count(), 0, "{number}: {:?}", page.words);
        let share = |word: &ingest::render::PlacedWord| {
            let [left, top, right, bottom] = word.place;
            (right - left) * (bottom - top)
        };
        assert!(
            page.words.iter().map(share).sum::<f32>() < 0.02,
            "{:?}",
            page.words
        );
    }
}
