//! Pins the keys of the JSON of commands that use a vision-language model.

use serde_json::{Value, json};

use crate::fake_server::{Dialect, FakeServer, ReceivedRequest, Reply};
use crate::library::{describe_json, description, library};
use crate::sandbox::{Sandbox, manual};
use crate::shape::assert_shape;

const STATS_KEYS: &str =
    "blank described failed kept manuals memory retries seconds stopped tokens twins";

/// Describes the first page; the answers for the others are not descriptions.
fn first_only(request: &ReceivedRequest) -> Reply {
    Reply::Answer(match request.pages.first() {
        Some(1) => description(1).replace(
            "\"topics\"",
            "\"figures\": [{\"label\": \"Fig. 1\", \"says\": \"the buzzer\"}], \
             \"tables\": [{\"label\": \"Table 1\", \"columns\": [\"code\"], \"says\": \"all codes\"}], \"topics\"",
        ),
        _ => "no".to_owned(),
    })
}

#[test]
fn describe_json_and_stored_annotations_have_the_documented_keys() {
    let sandbox = library();
    let fake = FakeServer::start(Dialect::OpenAi, first_only);
    let (code, report) = describe_json(&sandbox, Dialect::OpenAi, &fake, &["--interleave", "1"]);
    let classes: Vec<&str> = report["retries"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(code, 1, "{report}");
    assert_shape(
        &report,
        &[
            &format!("$: {STATS_KEYS}"),
            "$.failed[]: class page why",
            "$.manuals: ",
            &format!("$.retries: {}", classes.join(" ")),
        ],
    );
    assert_eq!(
        (&report["described"], &report["stopped"]),
        (&json!(1), &json!(false))
    );
    annotations(&sandbox);
}

fn annotations(sandbox: &Sandbox) {
    let shown = |page: &str| sandbox.run(&["show", "pump.pdf", page, "--json"]).json();
    let annotation = |page| shown(page)["annotation"].clone();
    assert_shape(
        &annotation("1"),
        &[
            "$: described model",
            "$.described: figures identifiers language legible rotation summary tables title topics",
            "$.described.figures[]: label says",
            "$.described.identifiers[]: confirmed text",
            "$.described.tables[]: columns label says",
        ],
    );
    assert_shape(
        &annotation("2"),
        &["$: failed model", "$.failed: class why"],
    );
    let found = sandbox.run(&["search", "buzzer", "--json"]).json();
    let keys = "$[]: id label manual page score section snippet summary title";
    assert_shape(&found, &[keys]);
    assert_eq!(sandbox.run(&["describe", "--export", "all.jsonl"]).code, 0);
    let lines = std::fs::read_to_string(sandbox.path("all.jsonl")).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let keys: Vec<&String> = first.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["annotation", "label", "manual", "page"]);
}

#[test]
fn bench_describe_json_has_the_documented_keys() {
    let sandbox = library().with("INGEST_DESCRIBE_MEGAPIXELS", "0.3");
    let questions =
        json!([{"question": "Which?", "manual": "pump.pdf", "pages": [1], "answers": ["no"]}]);
    sandbox.write("questions.json", questions.to_string().as_bytes());
    let fake = FakeServer::start(Dialect::OpenAi, |request| {
        match request.body.to_string().contains("Question:") {
            true => Reply::Answer("no".to_owned()),
            false => Reply::Answer(description(request.pages[0])),
        }
    });
    let candidate = format!("openai=tiny@{}", fake.url);
    let ways = ["--approach", "sequential", "--runs", "1"];
    let args = [
        "bench",
        "describe",
        "--candidate",
        &candidate,
        "--questions",
        "questions.json",
    ];
    let done = sandbox.run(&[&args[..], &ways, &["--json"]].concat());
    assert_shape(
        &done.json(),
        &[
            "$: candidates library machine megapixels pages questions rankings schema version",
            "$.candidates[]: answers consistency error load name rows said server verdict",
            "$.candidates[].answers: blind_simple blind_vqa simple vqa",
            "$.candidates[].consistency: alone alone_distance beside beside_distance",
            "$.candidates[].rows[]: approach batch error rounds",
            "$.candidates[].rows[].rounds[]: attempts described failed first loops mapped memory_change peak \
             prompt_tokens questions seconds speaking tokens truncated unread waiting",
            "$.candidates[].rows[].rounds[].first: p50 p95",
            "$.candidates[].said[]: described page said",
            "$.candidates[].verdict: grade why",
            "$.machine: cpu features memory system threads",
            "$.rankings: accuracy overall speed",
        ],
    );
}

#[test]
fn ingest_with_describe_json_has_the_documented_keys() {
    let fake = FakeServer::start(Dialect::OpenAi, |request| {
        Reply::Answer(description(request.pages[0]))
    });
    let sandbox = Sandbox::built_in()
        .with("INGEST_DESCRIBE_RUNNER", "openai")
        .with("INGEST_DESCRIBE_URL", &fake.url)
        .with("INGEST_DESCRIBE_INTERLEAVE", "1");
    let heat_pump = manual("heat-pump-service-manual.pdf");
    let page = [heat_pump.as_str(), "--pages", "20"];
    let done = sandbox.run(&[&page[..], &["--describe", "--json"]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    assert_shape(
        &done.json(),
        &[
            "$: descriptions load manuals model_waited stopped wall",
            &format!("$.descriptions: {STATS_KEYS}"),
            "$.descriptions.manuals: ",
            "$.descriptions.retries: ",
            "$.manuals[]: blank error failed incomplete kept manual pages path seconds stored unchanged unreadable_text waiting",
            "$.manuals[].seconds: embed prepare render store",
        ],
    );
}
