//! Search as people write: spellings of codes, scripts without spaces, letters that the model cannot read, sections.

use rusqlite::Connection;
use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::support::pdf::{self, PLAIN, Pdf};

/// A page with a line of text in a font for Japanese, Chinese or Korean that is not embedded.
fn east_asian(text: &str, [collection, encoding]: [&str; 2]) -> Vec<u8> {
    let mut pdf = Pdf::new();
    let (root, tree) = (pdf.add(""), pdf.add(""));
    let descriptor = pdf.add(
        "<< /Type /FontDescriptor /FontName /Serif /Flags 6 /FontBBox [-100 -200 1000 900] /ItalicAngle 0 /Ascent 700
/Descent -200 /CapHeight 700 /StemV 70 >>",
    );
    let descendant = pdf.add(format!(
        "<< /Type /Font /Subtype /CIDFontType0 /BaseFont /Serif /CIDSystemInfo << /Registry (Adobe) /Ordering ({collection})
/Supplement 2 >> /DW 1000 /FontDescriptor {descriptor} 0 R >>"
    ));
    let font = pdf.add(format!(
        "<< /Type /Font /Subtype /Type0 /BaseFont /Serif /Encoding /{encoding} /DescendantFonts [{descendant} 0 R] >>"
    ));
    let hex: String = text
        .encode_utf16()
        .map(|unit| format!("{unit:04X}"))
        .collect();
    let entries = format!("/MediaBox [0 0 595 842] /Resources << /Font << /F1 {font} 0 R >> >>");
    let content = format!("BT /F1 24 Tf 72 740 Td <{hex}> Tj ET");
    let page = pdf.page(tree, &entries, content.as_bytes());
    pdf.set(root, format!("<< /Type /Catalog /Pages {tree} 0 R >>"));
    pdf.set(
        tree,
        format!("<< /Type /Pages /Count 1 /Kids [{page} 0 R] >>"),
    );
    pdf.finish(root)
}

/// A page with several lines of text.
fn lines(lines: &[&str]) -> Vec<u8> {
    let shown: String = lines
        .iter()
        .map(|line| format!("({line}) Tj T* "))
        .collect();
    format!("BT /F1 14 Tf 40 TL 72 740 Td {shown} ET").into_bytes()
}

/// A file whose outline has these bookmarks: title, page, height on the page.
fn outlined(contents: &[Vec<u8>], bookmarks: &[(String, usize, u32)]) -> Vec<u8> {
    let mut pdf = Pdf::new();
    let (root, tree, outline) = (pdf.add(""), pdf.add(""), pdf.add(""));
    let kids: Vec<usize> = contents
        .iter()
        .map(|content| pdf.page(tree, PLAIN, content))
        .collect();
    let first = outline + 1 + 2 * contents.len();
    let last = first + bookmarks.len() - 1;
    for (index, (title, page, height)) in bookmarks.iter().enumerate() {
        let next = match first + index < last {
            true => format!("/Next {} 0 R", first + index + 1),
            false => String::new(),
        };
        let page = kids[page - 1];
        pdf.add(format!(
            "<< /Title ({title}) /Parent {outline} 0 R /Dest [{page} 0 R /XYZ 0 {height} null] {next} >>"
        ));
    }
    pdf.set(
        outline,
        format!("<< /Type /Outlines /First {first} 0 R /Last {last} 0 R >>"),
    );
    pdf.set(
        root,
        format!("<< /Type /Catalog /Pages {tree} 0 R /Outlines {outline} 0 R >>"),
    );
    let list: String = kids.iter().map(|kid| format!("{kid} 0 R ")).collect();
    pdf.set(
        tree,
        format!("<< /Type /Pages /Count {} /Kids [{list}] >>", kids.len()),
    );
    pdf.finish(root)
}

fn first(hits: &Value) -> (&str, u64) {
    let hit = &hits[0];
    (
        hit["manual"].as_str().unwrap_or("none"),
        hit["page"].as_u64().unwrap_or(0),
    )
}

#[test]
fn parts_of_east_asian_words_are_found_before_other_pages() {
    let sandbox = Sandbox::built_in();
    let japan = ["Japan1", "UniJIS-UCS2-H"];
    for (name, text, font) in [
        ("japanese.pdf", "日本語の取扱説明書", japan),
        ("faults.pdf", "E-108エラー", japan),
        ("chinese.pdf", "更换水泵过滤器", ["GB1", "UniGB-UCS2-H"]),
        ("korean.pdf", "펌프의 고장 진단", ["Korea1", "UniKS-UCS2-H"]),
    ] {
        sandbox.write(name, &east_asian(text, font));
    }
    sandbox.write(
        "pump.pdf",
        &pdf::good(&["The pump is blocked", "Error E-107", "Valve"]),
    );
    let run = sandbox.run(&[
        "japanese.pdf",
        "faults.pdf",
        "chinese.pdf",
        "korean.pdf",
        "pump.pdf",
    ]);
    assert_eq!(run.code, 0, "{}", run.err);
    for (question, manual) in [
        ("説明書", "japanese.pdf"),
        ("日本語", "japanese.pdf"),
        ("エラー", "faults.pdf"),
        ("E-108エラー", "faults.pdf"),
        ("E108", "faults.pdf"),
        ("过滤器", "chinese.pdf"),
        ("水泵", "chinese.pdf"),
        ("고장", "korean.pdf"),
    ] {
        for mode in ["--text", "--hybrid"] {
            let found = sandbox.run(&["search", mode, question, "--json"]);
            assert_eq!(found.code, 0, "{}", found.err);
            assert_eq!(first(&found.json()), (manual, 1), "{question} {mode}");
        }
    }
    let found = sandbox.run(&["search", "説明書"]);
    assert!(found.out.contains("日本語の取扱説明書"), "{}", found.out);
}

#[test]
fn a_query_in_letters_that_the_model_cannot_read_says_so() {
    let sandbox = Sandbox::built_in();
    sandbox.write(
        "pump.pdf",
        &pdf::good(&["The pump is blocked", "Error E-107"]),
    );
    assert_eq!(sandbox.run(&["pump.pdf"]).code, 0);
    for question in ["説明書", "насос", "αντλία"] {
        let visual = sandbox.run(&["search", "--visual", question]);
        assert_eq!((visual.code, visual.out.as_str()), (1, ""), "{question}");
        assert!(
            visual.err.contains("cannot read the letters"),
            "{}",
            visual.err
        );
        assert!(
            visual.err.contains("hint: search the text with `--text`"),
            "{}",
            visual.err
        );
        let hybrid = sandbox.run(&["search", "--hybrid", question]);
        assert_eq!((hybrid.code, hybrid.out.as_str()), (0, ""), "{question}");
        let note = format!("cannot read the letters of `{question}`: only the text was searched");
        assert!(hybrid.err.contains(&note), "{}", hybrid.err);
    }
    let readable = sandbox.run(&["search", "--hybrid", "Größe E-107"]);
    assert!(!readable.err.contains("cannot read"), "{}", readable.err);
    assert!(readable.out.contains("page 2"), "{}", readable.out);
}

#[test]
fn spellings_of_a_code_are_found_in_text_and_hybrid_search() {
    let sandbox = Sandbox::built_in();
    let texts = [
        "Error E-409 low pressure",
        "Supply 3.3 V only",
        "Spare part 9200-2741",
        "Screw M8x40",
        "Error E-408 409 rpm",
        "Supply 33 V only",
        "Spare part 9200-2742",
        "Screw M8x45",
    ];
    sandbox.write("pump.pdf", &pdf::good(&texts));
    assert_eq!(sandbox.run(&["pump.pdf"]).code, 0);
    let questions = [
        ("E409", 1),
        ("E 409", 1),
        ("e/409", 1),
        ("Ｅ－４０９", 1),
        ("E\u{2011}409", 1),
        ("3.3V", 2),
        ("92002741", 3),
        ("9200 2741", 3),
        ("M8×40", 4),
        ("M8 x 40", 4),
    ];
    let asked: Vec<String> = questions
        .iter()
        .map(|(question, _)| (*question).to_owned())
        .collect();
    for mode in ["--text", "--hybrid"] {
        for ((question, page), hits) in questions.iter().zip(sandbox.search(&asked, &[mode])) {
            assert_eq!(first(&hits), ("pump.pdf", *page), "{question} {mode}");
        }
    }
}

#[test]
fn a_hit_names_the_section_that_answers_or_the_first_on_its_page() {
    let sandbox = Sandbox::built_in();
    let text = lines(&[
        "1 Filling",
        "Fill with glycol up to the upper mark.",
        "2 Venting",
        "Open the bleed screw slowly.",
        "3 Draining",
        "Let the water out at the tap.",
    ]);
    let next = lines(&[
        "Close the tap when the tank is empty.",
        "4 Storing",
        "Keep it dry.",
    ]);
    let marks = [
        ("1 Filling", 1, 760),
        ("2 Venting", 1, 580),
        ("3 Draining", 1, 400),
        ("4 Storing", 2, 700),
    ];
    let marks = marks.map(|(title, page, height)| (title.to_owned(), page, height));
    sandbox.write("three.pdf", &outlined(&[text, next], &marks));
    assert_eq!(sandbox.run(&["three.pdf"]).code, 0);
    for (question, page, section) in [
        ("glycol upper mark", 1, "1 Filling"),
        ("how to open the bleed screw", 1, "2 Venting"),
        ("draining", 1, "3 Draining"),
        ("let water out", 1, "3 Draining"),
        ("close the tap when empty", 2, "3 Draining"),
        ("keep dry", 2, "4 Storing"),
    ] {
        let hits = sandbox
            .run(&["search", "--text", question, "--json"])
            .json();
        let found = (
            hits[0]["page"].as_u64().unwrap(),
            hits[0]["section"].as_str().unwrap(),
        );
        assert_eq!(found, (page, section), "{question}");
    }
    let show = sandbox.run(&["show", "three.pdf", "1"]);
    assert!(
        show.out
            .contains("section: 1 Filling · 2 Venting · 3 Draining"),
        "{}",
        show.out
    );
}

#[test]
fn pages_behind_an_outline_that_was_cut_have_no_section() {
    let sandbox = Sandbox::built_in();
    let pages: Vec<Vec<u8>> = (1..=100)
        .map(|n| lines(&[&format!("register {n}")]))
        .collect();
    let mark = |n: usize| (format!("Register {n}"), n / 250 + 1, 700);
    let marks: Vec<_> = (0..25_000).map(mark).collect();
    sandbox.write("registers.pdf", &outlined(&pages, &marks));
    let run = sandbox.run(&["registers.pdf", "--pages", "1,79-82,100"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let section = |page: &str| {
        sandbox
            .run(&["show", "registers.pdf", page, "--json"])
            .json()["section"]
            .clone()
    };
    assert_eq!(section("1"), "Register 0");
    assert_eq!(section("79"), "Register 19500");
    assert_eq!(section("80"), "Register 19750");
    for page in ["81", "82", "100"] {
        assert_eq!(section(page), Value::Null, "{page}");
    }
}

#[test]
fn a_page_with_invalid_vectors_does_not_spoil_a_search() {
    let sandbox = Sandbox::built_in();
    let texts = [
        "The compressor is loud",
        "The inverter is hot",
        "The valve is stuck",
    ];
    sandbox.write("pump.pdf", &pdf::good(&texts));
    assert_eq!(sandbox.run(&["pump.pdf"]).code, 0);
    let ask = || {
        let hits = sandbox
            .run(&["search", "--hybrid", "inverter hot", "--json"])
            .json();
        (first(&hits).1, hits[0]["score"].as_f64().unwrap())
    };
    let (before, _) = ask();
    assert_eq!(before, 2);
    // 0x7e00 is NaN in f16.
    let connection = Connection::open(sandbox.path("library.db")).unwrap();
    let bytes: i64 = connection
        .query_row(
            "SELECT length(rows) FROM vectors WHERE page = 3",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let nan: Vec<u8> = [0x00, 0x7e].repeat(bytes as usize / 2);
    connection
        .execute("UPDATE vectors SET rows = ?1 WHERE page = 3", [nan])
        .unwrap();
    drop(connection);
    let (page, score) = ask();
    assert_eq!(page, 2);
    assert!(score.is_finite());
    let hits = sandbox
        .run(&["search", "--visual", "inverter hot", "--json"])
        .json();
    assert_eq!(first(&hits).1, 2);
}
