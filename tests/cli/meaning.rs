//! Search by meaning: pages in other words than the query, stores without text vectors, and what a hit shows.

use crate::sandbox::Sandbox;
use crate::support::pdf;

const PAGES: [&str; 4] = [
    "Press mute to stop the siren.",
    "The pump needs 12 litres of oil.",
    "Tighten the bolts crosswise.",
    "Enter the PIN code at the panel.",
];

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
    let sandbox = filled();
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
