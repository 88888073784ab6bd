//! `ingest eval`: what it refuses, and that its figures are those of the searches.

use crate::desk::Desk;
use crate::support::pdf;

fn shelf() -> Desk {
    let desk = Desk::tiny();
    desk.write(
        "pump.pdf",
        &pdf::good(&["reset the alarm", "part 40-1177", "E-104 no flow"]),
    );
    assert_eq!(desk.run(&["pump.pdf"]).code, 0);
    desk
}

#[test]
fn words_find_their_pages_and_failures_are_listed() {
    let desk = shelf();
    let questions = r#"[
        {"id": "1", "question": "part 40-1177", "manual": "pump.pdf", "pages": [2]},
        {"id": "2", "question": "E-104", "manual": "pump.pdf", "pages": [3]},
        {"id": "3", "question": "zeppelin", "manual": "pump.pdf", "pages": [1, 2]}]"#;
    desk.write("questions.json", questions.as_bytes());
    let done = desk.run(&["eval", "questions.json", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let found = done.json();
    assert_eq!(found["schema"], 2);
    let text = found["results"]
        .as_array()
        .unwrap()
        .iter()
        .find(|set| set["mode"] == "text")
        .unwrap();
    assert_eq!(text["queries"], 3);
    for measure in ["ndcg_at_5", "recall_at_1", "mrr"] {
        let mean = text[measure]["mean"].as_f64().unwrap();
        assert!((mean - 2.0 / 3.0).abs() < 1e-9, "{measure}: {text}");
        assert!(
            text[measure]["low"].as_f64().unwrap() <= mean
                && mean <= text[measure]["high"].as_f64().unwrap()
        );
    }
    let failures = text["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0]["question"], "zeppelin");
    let shown = desk.run(&["eval", "questions.json", "--failures"]);
    assert!(
        shown
            .out
            .contains("`zeppelin` expected pump.pdf, page 1, pump.pdf, page 2; found nothing"),
        "{}",
        shown.out
    );
}

#[test]
fn bad_questions_are_told() {
    let desk = shelf();
    for (text, says) in [
        ("[]", "has no questions"),
        ("[", "EOF"),
        (
            r#"[{"question": "x", "manual": "pump.pdf", "pages": [9]}]"#,
            "pump.pdf, page 9, which answers `x`, is not stored",
        ),
        (
            r#"[{"question": "x", "manual": "other.pdf", "pages": [1]}]"#,
            "other.pdf, page 1",
        ),
    ] {
        desk.write("questions.json", text.as_bytes());
        let done = desk.run(&["eval", "questions.json"]);
        assert_eq!(done.code, 1);
        assert!(done.err.contains(says), "{}", done.err);
    }
    let bare = desk.run(&["eval", "--outline", "pump.pdf"]);
    assert_eq!(bare.code, 1);
    assert!(
        bare.err.contains("no bookmarks that are usable as queries"),
        "{}",
        bare.err
    );
    assert_eq!(desk.run(&["eval", "--outline", "nowhere"]).code, 1);
    assert_eq!(desk.run(&["eval"]).code, 64);
}
