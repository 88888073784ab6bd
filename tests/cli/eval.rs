//! `ingest eval`: scores and failures of text search, and rejected question files.

use crate::sandbox::Sandbox;
use crate::support::pdf;

fn indexed_library() -> Sandbox {
    let sandbox = Sandbox::tiny();
    sandbox.write(
        "pump.pdf",
        &pdf::good(&["reset the alarm", "part 40-1177", "E-104 no flow"]),
    );
    assert_eq!(sandbox.run(&["pump.pdf"]).code, 0);
    sandbox
}

#[test]
fn text_search_is_scored_without_absent_questions_and_failures_are_listed() {
    let sandbox = indexed_library();
    let questions = r#"[
        {"id": "1", "question": "part 40-1177", "manual": "pump.pdf", "pages": [2]},
        {"id": "2", "question": "E-104", "manual": "pump.pdf", "pages": [3]},
        {"id": "3", "question": "zeppelin", "manual": "pump.pdf", "pages": [1, 2]},
        {"id": "4", "question": "E-105", "manual": "pump.pdf", "pages": [], "answers": [], "kind": "absent"}]"#;
    sandbox.write("questions.json", questions.as_bytes());
    let done = sandbox.run(&["eval", "questions.json", "--json"]);
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
    let shown = sandbox.run(&["eval", "questions.json", "--failures"]);
    assert!(
        shown
            .out
            .contains("`zeppelin` expected pump.pdf, page 1, pump.pdf, page 2; found nothing"),
        "{}",
        shown.out
    );
}

#[test]
fn invalid_question_files_are_errors() {
    let sandbox = indexed_library();
    for (text, expected) in [
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
        (
            r#"[{"question": "x", "manual": "pump.pdf", "pages": [], "kind": "lexical"}]"#,
            "`x` has no pages",
        ),
        (
            r#"[{"question": "x", "manual": "pump.pdf", "pages": [], "kind": "absent"}]"#,
            "no page answers any of its questions",
        ),
    ] {
        sandbox.write("questions.json", text.as_bytes());
        let done = sandbox.run(&["eval", "questions.json"]);
        assert_eq!(done.code, 1);
        assert!(done.err.contains(expected), "{}", done.err);
    }
    let bare = sandbox.run(&["eval", "--outline", "pump.pdf"]);
    assert_eq!(bare.code, 1);
    assert!(
        bare.err.contains("no bookmarks that are usable as queries"),
        "{}",
        bare.err
    );
    assert_eq!(sandbox.run(&["eval", "--outline", "nowhere"]).code, 1);
    assert_eq!(sandbox.run(&["eval"]).code, 64);
}
