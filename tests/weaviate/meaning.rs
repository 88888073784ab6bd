//! Search by meaning: text vectors reach the server by every way, and rank pages as those of a file do.

use serde_json::Value;

use crate::library::ServerSandbox;
use crate::sandbox::manual;
use crate::server::shared;

/// A sandbox whose pages get text vectors.
fn sandbox() -> ServerSandbox {
    let sandbox = ServerSandbox::at(&shared().url()).with("INGEST_EMBED_MEANING", "true");
    sandbox.with("INGEST_STORE_INDEX", "muvera")
}

/// The first three pages by meaning for each question.
fn answers(sandbox: &ServerSandbox, questions: &[String], store: &str) -> Vec<Vec<Value>> {
    let top = ["--meaning", "-k", "3", "--store", store];
    let page = |hit: &Value| serde_json::json!([hit["manual"], hit["page"]]);
    let pages = |hits: &Value| hits.as_array().unwrap().iter().map(page).collect();
    let found = sandbox.search(questions, &top);
    found.iter().map(pages).collect()
}

#[test]
fn both_stores_give_the_same_answers() {
    let sandbox = sandbox();
    let manuals = [
        "heat-pump-service-manual.pdf",
        "alarm-panel-firmware-manual.pdf",
    ]
    .map(manual);
    let done = sandbox.run(&[&manuals[0], &manuals[1]]);
    assert_eq!(done.code, 0, "{}", done.err);
    let copied = sandbox.run(&["sync", "--from", &sandbox.url, "--to", "copy.db"]);
    assert_eq!(copied.code, 0, "{}", copied.err);
    let json = std::fs::read_to_string(manual("questions.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let question = |question: &Value| question["question"].as_str().unwrap().to_owned();
    let has_answer = |question: &&Value| question["kind"] != "absent";
    let all = json.as_array().unwrap().iter();
    let questions: Vec<String> = all.filter(has_answer).map(question).collect();
    let server = answers(&sandbox, &questions, &sandbox.url);
    let file = answers(&sandbox, &questions, "copy.db");
    assert!(server.iter().all(|pages| pages.len() == 3));
    let same = server.iter().zip(&file).filter(|(one, other)| one == other);
    let same = same.count() as f64 / questions.len() as f64;
    assert!(
        same >= 0.95,
        "the same three pages for {same:.2} of the questions"
    );
}

#[test]
fn text_vectors_are_sent_from_the_outbox() {
    let sandbox = sandbox();
    let pages = [
        "Press mute to stop the siren.",
        "The pump needs 12 litres of oil.",
    ];
    sandbox.write("panel.pdf", &crate::pdf::good(&pages));
    assert_eq!(sandbox.run(&["panel.pdf", "--offline"]).code, 0);
    assert_eq!(sandbox.run(&["sync"]).code, 0);
    let question = ["search", "silence the alarm", "--meaning"];
    let found = sandbox.run(&question);
    assert!(
        found.out.starts_with("1. panel.pdf page 1"),
        "{}{}",
        found.out,
        found.err
    );
    // Nothing is embedded again.
    let again = sandbox.run(&["panel.pdf", "--json"]).json();
    assert_eq!(ServerSandbox::total(&again, "unchanged"), 2, "{again}");
}
