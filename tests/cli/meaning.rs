//! Search by meaning: pages in other words than the query, stores without text vectors, and what a hit shows.

use crate::multilingual;
use crate::sandbox::{CommandOutput, Sandbox, manual};
use crate::support::pdf;

const PAGES: [&str; 4] = [
    "Press mute to stop the siren.",
    "The pump needs 12 litres of oil.",
    "Tighten the bolts crosswise.",
    "Enter the PIN code at the panel.",
];

/// A second line, with which a page says enough not to be read as a scan.
const MORE: &str = ") Tj 0 -40 Td (Read the manual before you start.";

/// A library of [`PAGES`].
fn filled() -> Sandbox {
    let sandbox = Sandbox::built_in();
    sandbox.write("panel.pdf", &pdf::good(&PAGES));
    sandbox
}

#[test]
fn a_page_that_says_the_same_in_other_words_is_found() {
    let sandbox = filled();
    assert_eq!(sandbox.run(&["panel.pdf"]).code, 0);
    for (question, page) in [
        ("How do I silence the alarm?", 1),
        ("what quantity of lubricant is required", 2),
        ("passcode", 4),
    ] {
        let found = sandbox.run(&["search", question, "--meaning", "-k", "1"]);
        let (first, line) = found.out.split_once('\n').unwrap();
        assert!(first.contains(&format!("page {page}")), "{}", found.out);
        assert_eq!(line.trim(), PAGES[page - 1], "{question}");
    }
}

#[test]
fn a_store_without_text_vectors_gets_them_without_embedding_images_again() {
    let sandbox = Sandbox::built_in();
    let pages = PAGES.map(|page| format!("{page}{MORE}"));
    sandbox.write(
        "panel.pdf",
        &pdf::good(&pages.each_ref().map(String::as_str)),
    );
    let without = sandbox
        .command(&["panel.pdf"])
        .env("INGEST_EMBED_MEANING", "false")
        .output();
    assert!(without.unwrap().status.success());
    let question = ["search", "silence the alarm", "--meaning"];
    let refused = sandbox.run(&question);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(
        refused.err.contains("`ingest` the files again"),
        "{}",
        refused.err
    );
    assert_eq!(sandbox.run(&["search", "oil"]).code, 0);
    let again = sandbox.run(&["panel.pdf", "--json"]).json();
    let manual = &again["manuals"][0];
    assert_eq!(
        (&manual["stored"], &manual["kept"]),
        (&4.into(), &4.into()),
        "{again}"
    );
    assert!(
        sandbox
            .run(&question)
            .out
            .starts_with("1. panel.pdf page 1")
    );
    // Now they are up to date.
    let third = sandbox.run(&["panel.pdf", "--json"]).json();
    assert_eq!(third["manuals"][0]["unchanged"], 4, "{third}");
}

#[test]
fn a_page_without_a_text_layer_is_read() {
    let sandbox = filled();
    assert_eq!(sandbox.run(&["panel.pdf"]).code, 0);
    let picture = ["show", "panel", "1", "--out", "scan.png"];
    assert_eq!(sandbox.run(&picture).code, 0);
    let store = ["--store", "scans.db"];
    let run = |args: &[&str]| sandbox.run(&[args, &store].concat());
    assert_eq!(run(&["scan.png"]).code, 0);
    let found = run(&["search", "How do I silence the alarm?", "--meaning"]);
    assert!(found.out.starts_with("1. scan.png page 1"), "{}", found.out);
    let found = run(&["search", "stop", "--text"]);
    let lines: Vec<&str> = found.out.lines().collect();
    assert_eq!(
        lines[1..],
        ["   read from the image: stop"],
        "{}",
        found.out
    );
    let found = run(&["search", "stop", "--text", "--json"]).json();
    let hit = &found[0];
    assert_eq!((&hit["page"], &hit["snippet"]), (&1.into(), &"".into()));
    assert_eq!(hit["words_read"], serde_json::json!(["stop"]));
    let again = run(&["scan.png", "--json"]).json();
    assert_eq!(again["manuals"][0]["unchanged"], 1, "{again}");
}

#[test]
fn manuals_without_text_vectors_are_named_once() {
    let sandbox = filled();
    let pages = [
        "Close the valve to clean the sieve.",
        "Hand in used brake fluid.",
    ];
    let pages = pages.map(|page| format!("{page}{MORE}"));
    sandbox.write(
        "valve.pdf",
        &pdf::good(&pages.each_ref().map(String::as_str)),
    );
    let without = sandbox
        .command(&["valve.pdf"])
        .env("INGEST_EMBED_MEANING", "false")
        .output();
    assert!(without.unwrap().status.success());
    let note = |err: &str| err.matches("are searched by images and words only").count();
    // None has any.
    let found = sandbox.run(&["search", "brake fluid"]);
    assert_eq!(note(&found.err), 1, "{}", found.err);
    assert!(found.err.contains("`ingest FILE` again"), "{}", found.err);
    // One has.
    assert_eq!(sandbox.run(&["panel.pdf"]).code, 0);
    let found = sandbox.run(&["search", "brake fluid"]);
    assert!(
        found.out.starts_with("1. valve.pdf page 2"),
        "{}",
        found.out
    );
    assert!(found.err.contains("only: valve.pdf;"), "{}", found.err);
    assert_eq!(note(&sandbox.run(&["search", "oil", "--quiet"]).err), 0);
    assert_eq!(note(&sandbox.run(&["search", "oil", "--text"]).err), 0);
    std::fs::write(sandbox.path("queries.txt"), "oil\nbrake fluid\n").unwrap();
    let lines = std::fs::File::open(sandbox.path("queries.txt")).unwrap();
    let lines = sandbox.command(&["search", "-"]).stdin(lines).output();
    let lines = String::from_utf8(lines.unwrap().stderr).unwrap();
    assert_eq!(note(&lines), 1, "{lines}");
    let unwanted = sandbox
        .command(&["search", "oil"])
        .env("INGEST_EMBED_MEANING", "false")
        .output();
    assert!(unwanted.unwrap().stderr.is_empty());
    let refused = sandbox.run(&["search", "oil", "--meaning", "--manual", "valve.pdf"]);
    let expected = "no page of valve.pdf has vectors of its text";
    assert!(refused.err.contains(expected), "{}", refused.err);
    // Now both have.
    let again = sandbox.run(&["valve.pdf"]);
    assert!(again.out.contains("images kept"), "{}", again.out);
    assert_eq!(sandbox.run(&["search", "brake fluid"]).err, "");
}

#[test]
fn a_query_without_a_known_word_is_the_cause_and_not_the_store() {
    let sandbox = filled();
    assert_eq!(sandbox.run(&["panel.pdf"]).code, 0);
    for query in ["説明書", "???"] {
        let refused = sandbox.run(&["search", query, "--meaning"]);
        assert_eq!(refused.code, 1);
        let expected = "the query has no word that the text model";
        assert!(refused.err.contains(expected), "{}", refused.err);
        assert!(!refused.err.contains("`ingest`"), "{}", refused.err);
    }
}

/// Writes `scan.png`: a picture of a page of `panel.pdf`, which is in the store.
fn scan_page(sandbox: &Sandbox, page: &str) {
    let picture = ["show", "panel", page, "--out", "scan.png"];
    assert_eq!(sandbox.run(&picture).code, 0);
}

#[test]
fn words_that_were_read_follow_the_picture() {
    let sandbox = filled();
    assert_eq!(sandbox.run(&["panel.pdf"]).code, 0);
    let run = |args: &[&str]| sandbox.run(&[args, &["--store", "scans.db"]].concat());
    let found = |word: &str| run(&["search", word, "--text"]).out.lines().count();
    scan_page(&sandbox, "1");
    assert_eq!(run(&["scan.png"]).code, 0);
    assert_eq!((found("stop"), found("pump")), (2, 0));
    // Other bytes with the same pixels: the words stay.
    let mut bytes = std::fs::read(sandbox.path("scan.png")).unwrap();
    bytes.extend(b"\n");
    sandbox.write("scan.png", &bytes);
    let again = run(&["scan.png", "--json"]).json();
    assert_eq!(again["manuals"][0]["kept"], 1, "{again}");
    assert_eq!((found("stop"), found("pump")), (2, 0));
    scan_page(&sandbox, "2");
    assert_eq!(run(&["scan.png"]).code, 0);
    assert_eq!((found("stop"), found("pump")), (0, 2));
    // A run that reads nothing removes what is no longer true.
    scan_page(&sandbox, "1");
    let unread = sandbox
        .command(&["scan.png", "--store", "scans.db"])
        .env("INGEST_EMBED_MEANING", "false")
        .output();
    assert!(unread.unwrap().status.success());
    assert_eq!((found("stop"), found("pump")), (0, 0));
}

#[test]
fn words_that_were_read_stay_in_a_run_with_pooled_vectors() {
    let sandbox = filled();
    assert_eq!(sandbox.run(&["panel.pdf"]).code, 0);
    scan_page(&sandbox, "1");
    let run = |args: &[&str]| sandbox.run(&[args, &["--store", "scans.db"]].concat());
    assert_eq!(run(&["scan.png"]).code, 0);
    let store = rusqlite::Connection::open(sandbox.path("scans.db")).unwrap();
    let pooled = "UPDATE collection SET profile = profile || '-pool3', pool_factor = 3";
    store.execute(pooled, []).unwrap();
    drop(store);
    let mut bytes = std::fs::read(sandbox.path("scan.png")).unwrap();
    bytes.extend(b"\n");
    sandbox.write("scan.png", &bytes);
    let pool = ["--model", "built-in", "--pool-factor", "3"];
    let again = run(&[&["scan.png", "--json"], &pool[..]].concat()).json();
    assert_eq!(again["manuals"][0]["kept"], 1, "{again}");
    let found = run(&["search", "stop", "--text"]);
    assert_eq!(found.out.lines().count(), 2, "{}", found.out);
}

/// A PDF file of a picture, with a text layer beside it.
fn stamped(picture: &image::GrayImage, text: &str) -> Vec<u8> {
    let mut file = pdf::Pdf::new();
    let (root, tree) = (file.add(""), file.add(""));
    let (width, height) = picture.dimensions();
    let entries = format!(
        "/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceGray /BitsPerComponent 8"
    );
    let image = file.stream(&entries, picture.as_raw());
    let entries = format!(
        "/MediaBox [0 0 612 792] /Resources << {} /XObject << /I {image} 0 R >> >>",
        pdf::FONT
    );
    let content = format!("q 612 0 0 792 0 0 cm /I Do Q BT /F1 6 Tf 20 10 Td ({text}) Tj ET");
    let page = file.page(tree, &entries, content.as_bytes());
    file.set(root, format!("<< /Type /Catalog /Pages {tree} 0 R >>"));
    let pages = format!("<< /Type /Pages /Count 1 /Kids [{page} 0 R] >>");
    file.set(tree, pages);
    file.finish(root)
}

#[test]
fn a_page_that_lies_on_its_side_is_read() {
    let sandbox = Sandbox::built_in();
    let heat_pump = manual("heat-pump-service-manual.pdf");
    assert_eq!(sandbox.run(&[&heat_pump, "--pages", "4"]).code, 0);
    let picture = ["show", "heat-pump-service-manual", "4", "--out", "0.png"];
    assert_eq!(sandbox.run(&picture).code, 0);
    let upright = image::open(sandbox.path("0.png")).unwrap();
    for (name, turned) in [
        ("90.png", upright.rotate90()),
        ("180.png", upright.rotate180()),
        ("270.png", upright.rotate270()),
    ] {
        turned.save(sandbox.path(name)).unwrap();
    }
    let run = |args: &[&str]| sandbox.run(&[args, &["--store", "scans.db"]].concat());
    let names = ["0.png", "90.png", "180.png", "270.png"];
    assert_eq!(run(&names).code, 0);
    let best = |name: &str, mode: &str| {
        let question = "safety switch voltage protection gas gloves";
        let found = run(&["search", question, mode, "--manual", name, "--json"]).json();
        (
            found[0]["score"].as_f64().unwrap(),
            found[0]["words_read"].clone(),
        )
    };
    for mode in ["--text", "--meaning", "--visual"] {
        let (score, words) = best("0.png", mode);
        assert!(words.as_array().unwrap().len() >= 2, "{mode}: {words}");
        for name in &names[1..] {
            let turned = best(name, mode);
            assert!(
                (turned.0 / score - 1.0).abs() < 0.1,
                "{mode} {name}: {turned:?}, {score}"
            );
            assert_eq!(turned.1, words, "{mode} {name}");
        }
    }
}

#[test]
fn a_scan_with_a_stamp_is_read() {
    let sandbox = filled();
    assert_eq!(sandbox.run(&["panel.pdf"]).code, 0);
    scan_page(&sandbox, "1");
    let picture = image::open(sandbox.path("scan.png")).unwrap().to_luma8();
    let stamp = "Downloaded from www.example.com";
    sandbox.write("stamped.pdf", &stamped(&picture, stamp));
    let run = |args: &[&str]| sandbox.run(&[args, &["--store", "scans.db"]].concat());
    assert_eq!(run(&["stamped.pdf"]).code, 0);
    for mode in ["--text", "--meaning", "--hybrid"] {
        for question in ["stop", "downloaded from where"] {
            let found = run(&["search", question, mode]);
            assert!(
                found.out.starts_with("1. stamped.pdf"),
                "{mode}: {}",
                found.err
            );
        }
    }
}

/// A library of [`PAGES`] with a second line, and a tiny multilingual model in the place of the one on the hub.
fn with_multilingual() -> Sandbox {
    let sandbox = Sandbox::built_in();
    let pages = PAGES.map(|page| format!("{page}{MORE}"));
    let pages = pages.each_ref().map(String::as_str);
    sandbox.write("panel.pdf", &pdf::good(&pages));
    multilingual::write(&sandbox.path("intfloat/multilingual-e5-small"));
    sandbox
}

#[test]
fn a_store_with_text_vectors_of_another_model_says_what_to_do() {
    let sandbox = with_multilingual();
    let run = |args: &[&str], meaning: &str| -> CommandOutput {
        let mut command = sandbox.command(args);
        command.env("INGEST_EMBED_MEANING", meaning);
        command.output().unwrap().into()
    };
    let question = ["search", "Press mute to stop the siren.", "--meaning"];
    let ingest = ["panel.pdf", "--json"];
    assert_eq!(run(&ingest, "true").code, 0);
    let refused = run(&question, "multilingual");
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    for part in [
        "all-MiniLM-L6-v2",
        "set `embed.meaning = true`",
        "`ingest` the files again",
    ] {
        assert!(refused.err.contains(part), "{}", refused.err);
    }
    let hybrid = run(&["search", "siren"], "multilingual");
    assert!(hybrid.out.starts_with("1. panel.pdf page 1"));
    let note = "note: the meaning of the text was not searched";
    assert!(hybrid.err.contains(note), "{}", hybrid.err);
    // The images are not embedded again.
    let again = run(&ingest, "multilingual").json();
    let manual = &again["manuals"][0];
    let counts = (&manual["stored"], &manual["kept"]);
    assert_eq!(counts, (&4.into(), &4.into()), "{again}");
    let found = run(&question, "multilingual");
    assert!(
        found.out.starts_with("1. panel.pdf page 1"),
        "{}",
        found.out
    );
    let refused = run(&question, "true");
    let hint = "set `embed.meaning = \"multilingual\"`";
    assert!(refused.err.contains(hint), "{}", refused.err);
    let third = run(&ingest, "multilingual").json();
    assert_eq!(third["manuals"][0]["unchanged"], 4, "{third}");
}

#[test]
fn the_words_read_from_a_scan_are_embedded_by_the_multilingual_model_too() {
    let sandbox = with_multilingual().with("INGEST_EMBED_MEANING", "multilingual");
    assert_eq!(sandbox.run(&["panel.pdf"]).code, 0);
    let picture = ["show", "panel", "1", "--out", "scan.png"];
    assert_eq!(sandbox.run(&picture).code, 0);
    let store = ["--store", "scans.db"];
    let run = |args: &[&str]| sandbox.run(&[args, &store].concat());
    assert_eq!(run(&["scan.png"]).code, 0);
    let found = run(&["search", "Press stop", "--meaning"]);
    assert!(found.out.starts_with("1. scan.png page 1"), "{}", found.out);
}
