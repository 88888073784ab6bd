//! Compression: pooling at indexing, pooling and quantisation by `sync`, and its evaluation by `eval --compress`.

use serde_json::Value;

use crate::browser::chromium;
use crate::sandbox::Sandbox;
use crate::support::pdf;

const PAGES: [&str; 4] = [
    "How to reset the alarm panel: hold both keys for five seconds",
    "Spare part 40-1177 and the order numbers of all gaskets",
    "Fault code E-104 means that there is no flow in the pump circuit",
    "Torque of the bolts and the diagram of the expansion valve",
];
const QUESTIONS: &str = r#"[
    {"question": "reset the alarm panel", "manual": "pump.pdf", "pages": [1]},
    {"question": "order numbers of gaskets", "manual": "pump.pdf", "pages": [2]},
    {"question": "fault code E-104 no flow", "manual": "pump.pdf", "pages": [3]},
    {"question": "zeppelin", "manual": "pump.pdf", "pages": [4]}]"#;

/// A library without vectors of the text, so that sizes are those of the page vectors.
fn indexed_library() -> Sandbox {
    let sandbox = Sandbox::built_in().with("INGEST_EMBED_MEANING", "false");
    sandbox.write("pump.pdf", &pdf::good(&PAGES));
    sandbox.write("questions.json", QUESTIONS.as_bytes());
    sandbox
}

fn rows(sandbox: &Sandbox, page: usize) -> u64 {
    let shown = sandbox.run(&["show", "pump.pdf", &page.to_string(), "--json"]);
    shown.json()["vectors"].as_u64().unwrap()
}

fn first(sandbox: &Sandbox, question: &str) -> u64 {
    let found = sandbox.run(&["search", "--visual", question, "--json"]);
    assert_eq!(found.code, 0, "{}", found.err);
    found.json()[0]["page"].as_u64().unwrap()
}

#[test]
fn pooling_at_indexing_and_by_sync_gives_the_same_profile() {
    let sandbox = indexed_library();
    assert_eq!(sandbox.run(&["pump.pdf", "--store", "whole.db"]).code, 0);
    let whole = Sandbox::run(
        &sandbox,
        &["show", "pump.pdf", "3", "--json", "--store", "whole.db"],
    );
    let whole = whole.json()["vectors"].as_u64().unwrap();
    assert_eq!(sandbox.run(&["pump.pdf", "--pool-factor", "3"]).code, 0);
    assert_eq!(rows(&sandbox, 3), whole / 3);
    // The factor is part of the profile: queries are not pooled, and the file is unchanged for the same factor only.
    assert_eq!(first(&sandbox, "fault code E-104 no flow"), 3);
    let again = sandbox
        .run(&["pump.pdf", "--pool-factor", "3", "--json"])
        .json();
    assert_eq!(again["manuals"][0]["unchanged"], 4, "{again}");
    let plain = sandbox.run(&["pump.pdf", "--json"]).json();
    assert_eq!(
        plain["manuals"][0]["stored"], 4,
        "another collection: {plain}"
    );
    // Pooling stored pages gives the same profile, and the heat map is that of all vectors.
    let copied = sandbox.run(&[
        "sync",
        "--from",
        "whole.db",
        "--to",
        "copy.db",
        "--pool-factor",
        "3",
    ]);
    assert_eq!(copied.code, 0, "{}", copied.err);
    let unpooled = sandbox.run(&[
        "sync",
        "--from",
        "copy.db",
        "--to",
        "x.db",
        "--pool-factor",
        "2",
    ]);
    assert_eq!(unpooled.code, 64, "{}", unpooled.err);
    assert!(
        unpooled.err.contains("already pooled by 3"),
        "{}",
        unpooled.err
    );
    let heat_map = |store: &str, out: &str| {
        let question = "fault code E-104 no flow";
        let args = [
            "show", "pump.pdf", "3", "--out", out, "--query", question, "--store", store,
        ];
        let done = sandbox.run(&args);
        assert_eq!(done.code, 0, "{}", done.err);
        std::fs::read(sandbox.path(out)).unwrap()
    };
    assert!(heat_map("copy.db", "pooled.png") == heat_map("whole.db", "whole.png"));
}

#[test]
fn eval_prints_bytes_and_quality_of_every_compression() {
    let sandbox = indexed_library();
    assert_eq!(sandbox.run(&["pump.pdf"]).code, 0);
    let before = std::fs::read(sandbox.path("library.db")).unwrap();
    let list = "pool-2,int8,1-bit,first-4,pool-3+int8";
    let args = ["eval", "questions.json", "--compress", list, "--json"];
    let done = sandbox.run(&args);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(std::fs::read(sandbox.path("library.db")).unwrap(), before);
    let report = done.json();
    let results = report["results"].as_array().unwrap();
    let bytes = |compression: Option<&str>| {
        let fits =
            |row: &&Value| row["compression"].as_str() == compression && row["mode"] == "visual";
        let row = results.iter().find(fits).unwrap();
        assert!(row["ndcg_at_5"]["mean"].as_f64().unwrap() >= 0.75, "{row}");
        row["bytes_per_page"].as_f64().unwrap()
    };
    let whole = bytes(None);
    // A page has at least one vector.
    let rows: Vec<u64> = (1..=PAGES.len()).map(|page| rows(&sandbox, page)).collect();
    let pooled = |factor: u64| {
        let pooled: u64 = rows.iter().map(|rows| (rows / factor).max(1)).sum();
        pooled as f64 / rows.iter().sum::<u64>() as f64
    };
    for (compression, share) in [
        ("pool-2", pooled(2)),
        ("int8", 130.0 / 256.0),
        ("1-bit", 1.0 / 16.0),
        ("first-4", 1.0 + pooled(4)),
        ("pool-3+int8", 130.0 / 256.0 * pooled(3)),
    ] {
        let found = bytes(Some(compression)) / whole;
        assert!(
            (found / share - 1.0).abs() < 0.001,
            "{compression}: {found}, not {share}"
        );
    }
    let wrong = sandbox.run(&["eval", "questions.json", "--compress", "int4"]);
    assert_eq!(wrong.code, 64);
    assert!(
        wrong
            .err
            .contains("unknown compression `int4`: expected pool-N, first-N, int8 or 1-bit"),
        "{}",
        wrong.err
    );
}

#[test]
fn html_report_shows_failed_queries() {
    let sandbox = indexed_library();
    assert_eq!(sandbox.run(&["pump.pdf"]).code, 0);
    let args = [
        "eval",
        "questions.json",
        "--failures",
        "--html",
        "report.html",
        "--compress",
        "int8",
    ];
    let done = sandbox.run(&args);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains("100.0 %"), "{}", done.out);
    let page = sandbox.path("report.html");
    let dom = chromium(&["--dump-dom"], &page);
    assert_eq!(
        (dom.matches("<svg").count(), dom.matches("<table>").count()),
        (1, 1)
    );
    for part in [
        "zeppelin",
        "expected: pump.pdf, page 4",
        "nothing found",
        "Missed by text",
    ] {
        assert!(dom.contains(part), "{part}: {dom}");
    }
    assert!(dom.contains("data:image/jpeg;base64,"));
    let outside = ["src=\"http", "href=", "src=\"file"];
    assert!(
        outside.iter().all(|link| !dom.contains(link)),
        "no external resources"
    );
}
