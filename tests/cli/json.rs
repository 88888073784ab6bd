//! Pins the keys of the `--json` output of every command.

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, TINY};
use crate::shape::assert_shape;
use crate::support::pdf;

const FILES: [&str; 3] = ["pump.pdf", "cyclic.pdf", "torn.pdf"];

/// A good manual, one with a page that fails, and one that fails as a whole.
fn files() -> Sandbox {
    let sandbox = Sandbox::tiny();
    sandbox.write(
        "pump.pdf",
        &pdf::good(&["reset the alarm", "part 40-1177", "E-104 no flow"]),
    );
    sandbox.write("cyclic.pdf", &pdf::cyclic_tree());
    sandbox.write("torn.pdf", b"%PDF-");
    sandbox
}

fn json(sandbox: &Sandbox, code: i32, args: &[&str]) -> Value {
    let done = sandbox.run(&[args, &["--json"]].concat());
    assert_eq!(done.code, code, "{}", done.err);
    done.json()
}

/// A report of a run that stored or copied pages.
const RUN: &str = "$: load manuals model_waited stopped wall";
const MANUAL: &str = "$.manuals[]: blank error failed incomplete kept manual pages path seconds stored unchanged unreadable_text waiting";

#[test]
fn a_library_from_ingest_to_sync() {
    let sandbox = files();
    let planned = json(&sandbox, 1, &[&FILES[..], &["--dry-run"]].concat());
    assert_shape(
        &planned,
        &[
            "$: batches expected_seconds manuals pages plan",
            "$.manuals[]: error manual pages todo",
            "$.plan: activations asked batch_size limit pictures queues total weights",
        ],
    );
    assert_eq!(
        (
            &planned["pages"],
            &planned["batches"],
            &planned["manuals"][0]
        ),
        (
            &json!(5),
            &json!(3),
            &json!({"manual": "pump.pdf", "pages": 3, "todo": 3, "error": null})
        )
    );

    let stored = json(&sandbox, 1, &FILES);
    assert_shape(
        &stored,
        &[
            RUN,
            MANUAL,
            "$.manuals[].failed[]: page reason",
            "$.manuals[].seconds: embed prepare render store",
        ],
    );
    let numbers = |manual: &Value| {
        let keys = [
            "pages",
            "stored",
            "unchanged",
            "kept",
            "blank",
            "waiting",
            "error",
        ];
        keys.map(|key| manual[key].clone())
    };
    let manuals = stored["manuals"].as_array().unwrap();
    assert_eq!(
        numbers(&manuals[0]),
        [
            json!(3),
            json!(3),
            json!(0),
            json!(0),
            json!(0),
            json!(0),
            Value::Null
        ]
    );
    assert_eq!(
        (&manuals[1]["stored"], &manuals[1]["failed"][0]["page"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        manuals[2]["error"],
        "begins as a PDF, but its end is missing"
    );
    assert_eq!(stored["stopped"], false);

    listed_and_copied(&sandbox);
    pages_found_and_shown(&sandbox);
    evaluation(&sandbox);
}

fn listed_and_copied(sandbox: &Sandbox) {
    let listed = json(sandbox, 0, &["list"]);
    assert_shape(
        &listed,
        &[
            "$[]: blank bytes described file id last_run pages path render stored",
            "$[].last_run: ended failed failures pages_per_second seconds stored",
            "$[].last_run.failures[]: page reason",
            "$[].last_run.seconds: embed prepare render store",
        ],
    );
    assert_eq!(
        (&listed[1]["id"], &listed[1]["stored"], &listed[1]["pages"]),
        (&json!("pump.pdf"), &json!(3), &json!(3))
    );
    let copied = json(sandbox, 0, &["sync", "--to", "copy.db"]);
    assert_shape(&copied, &[RUN, MANUAL, "$.manuals[].seconds: store"]);
    let copies = json(sandbox, 0, &["list", "--store", "copy.db"]);
    assert_eq!(copies, listed, "with the last runs");
}

fn pages_found_and_shown(sandbox: &Sandbox) {
    let found = json(sandbox, 0, &["search", "E-104", "--text"]);
    assert_shape(&found, &["$[]: id label manual page score section snippet"]);
    assert_eq!(
        (&found[0]["manual"], &found[0]["page"], &found[0]["label"]),
        (&json!("pump.pdf"), &json!(3), &Value::Null)
    );
    let shown = json(sandbox, 0, &["show", "pump", "3"]);
    assert_shape(
        &shown,
        &["$: annotation blank id label manual page section sections text vectors"],
    );
    assert_eq!(shown["id"], found[0]["id"]);
    assert_eq!(
        (&shown["vectors"], &shown["blank"], &shown["annotation"]),
        (&json!(58), &json!(false), &Value::Null)
    );
}

fn evaluation(sandbox: &Sandbox) {
    let questions = json!([{"question": "zeppelin", "manual": "pump.pdf", "pages": [1]}]);
    sandbox.write("questions.json", questions.to_string().as_bytes());
    let report = json(
        sandbox,
        0,
        &["eval", "questions.json", "--compress", "int8"],
    );
    let interval = |measure: &str| format!("$.results[].{measure}: high low mean");
    let measures = ["mrr", "ndcg_at_10", "ndcg_at_5"].map(interval);
    let recalls = ["recall_at_1", "recall_at_10", "recall_at_5"].map(interval);
    let mut expected = vec![
        "$: questions results schema version",
        "$.results[]: bytes_per_page compression failures language latency mode model mrr ndcg_at_10 ndcg_at_5 \
         profile queries recall_at_1 recall_at_10 recall_at_5 set store",
        "$.results[].failures[]: expected found question",
        "$.results[].latency: p50 p95",
    ];
    expected.extend(measures.iter().chain(&recalls).map(String::as_str));
    assert_shape(&report, &expected);
    assert_eq!(report["schema"], 2);
    let rows = report["results"].as_array().unwrap();
    let kinds: Vec<_> = rows
        .iter()
        .map(|row| (&row["mode"], &row["compression"]))
        .collect();
    let (visual, text, hybrid) = (json!("visual"), json!("text"), json!("hybrid"));
    let (none, int8) = (Value::Null, json!("int8"));
    assert_eq!(
        kinds,
        [
            (&visual, &none),
            (&text, &none),
            (&hybrid, &none),
            (&visual, &int8),
            (&hybrid, &int8)
        ]
    );
    assert_eq!(
        rows[1]["failures"][0],
        json!({"question": "zeppelin", "expected": ["pump.pdf, page 1"], "found": null})
    );
}

#[test]
fn self_test_of_the_cpu_passes() {
    let sandbox = Sandbox::built_in().with("INGEST_LIMITS_MEMORY_LIMIT", "256 MB");
    let report = json(&sandbox, 0, &["check", "--self-test"]);
    assert_eq!(
        (&report["passed"], &report["device"]),
        (&true.into(), &"cpu (bf16)".into())
    );
    let checks = report["checks"].as_array().unwrap();
    let of = |kind: &str| checks.iter().filter(|check| check["check"] == kind).count();
    assert_eq!((of("agreement"), of("speed"), of("memory")), (6, 10, 1));
    assert_shape(
        &checks[0].clone(),
        &["$: check count inputs least_cosine model not_finite other_neighbours passed rows"],
    );
    // It rounds, so it is not the reference compared with itself.
    let rounds = |check: &Value| check["least_cosine"].as_f64().unwrap() < 0.99999;
    assert!(checks[..6].iter().all(rounds), "{report}");
    let text = sandbox.run(&["check", "--self-test"]);
    let lines: Vec<&str> = text.out.lines().collect();
    assert!(
        lines[0].starts_with("ingest ") && lines[0].contains(" on "),
        "{}",
        text.out
    );
    let agreement = "ok  ColQwen2.5 34 pages of 30 to 745 rows: least cosine 0.999";
    assert!(lines[1].starts_with(agreement), "{}", text.out);
    assert!(
        lines[1].ends_with(", finite, same neighbours"),
        "{}",
        text.out
    );
    assert_eq!(
        lines[lines.len() - 1],
        "passed: cpu (bf16) computes the vectors of cpu (f32)"
    );
    let unused = sandbox.run(&["check", "--self-test", "--model", "built-in"]);
    assert_eq!(unused.code, 64, "{}", unused.err);
    assert!(
        unused.err.contains("--model has no effect on --self-test"),
        "{}",
        unused.err
    );
    let refused = sandbox.run(&["check", "--self-test", "--device", "metal"]);
    if !cfg!(target_os = "macos") {
        assert_eq!(refused.code, 1, "{}", refused.err);
        assert!(
            refused
                .err
                .contains("device `metal` cannot be used: Metal exists on macOS only"),
            "{}",
            refused.err
        );
    }
}

#[test]
fn machine_and_models() {
    let sandbox = Sandbox::tiny();
    let parts = json(&sandbox, 0, &["check", "--load"]);
    assert_shape(&parts, &["$[]: found part ready"]);
    let names: Vec<&Value> = parts
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["part"])
        .collect();
    assert_eq!(
        names,
        ["pdfium", "store", "model", "device", "memory", "weights"]
    );
    assert_shape(
        &json(&sandbox, 0, &["models"]),
        &[
            "$: budget describing embedding recommended recommended_embedding",
            "$.budget: describing embedding left machine store system",
            "$.describing[]: docvqa from memory model note tokens_per_second",
            "$.embedding[]: commercial dim download fits licence measured memory model nano_vidore_v3 page_bytes page_teraflops pages_per_second parameters vidore_v1",
        ],
    );
}

#[test]
fn a_benchmark() {
    let sandbox = files();
    let report = json(&sandbox, 0, &["bench", "pump.pdf", "--runs", "1"]);
    let runs = |of: &str| {
        let run = "batch failed largest_batch load model_waited padding page pages peak_device_memory peak_memory seconds stages";
        let mut lines = vec![
            format!("{of}: manual runs"),
            format!("{of}.runs[]: {run}"),
            format!("{of}.runs[].batch: p50 p95"),
            format!("{of}.runs[].page: p50 p95"),
            format!("{of}.runs[].stages: embed prepare render store"),
        ];
        let stage = |name| format!("{of}.runs[].stages.{name}: seconds share");
        lines.extend(["embed", "prepare", "render", "store"].map(stage));
        lines
    };
    let mut expected = vec![
        "$: machine points schema version warm_up".to_owned(),
        "$.machine: cpu features memory system threads".to_owned(),
        "$.points[]: manuals setup total".to_owned(),
    ];
    expected.extend(runs("$.points[].manuals[]"));
    expected.push("$.points[].setup: batch_size device model profile store workers".to_owned());
    expected.extend(runs("$.points[].total"));
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    assert_shape(&report, &expected);
    let point = &report["points"][0];
    assert_eq!(report["schema"], 1);
    assert_eq!(
        (&point["setup"]["model"], &point["total"]["manual"]),
        (&json!(TINY), &json!("total"))
    );
}

#[test]
fn vectors_in_a_file() {
    let sandbox = files();
    let done = sandbox.run(&["embed", "--query", "seal kit", "--out", "query.safetensors"]);
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{}", done.err);
    let bytes = std::fs::read(sandbox.path("query.safetensors")).unwrap();
    let (_, head) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let notes = head.metadata().clone().unwrap();
    assert_shape(&json!(notes), &["$: dim model pool_factor profile"]);
    assert_eq!(
        (notes["dim"].as_str(), notes["pool_factor"].as_str()),
        ("128", "1")
    );
}
