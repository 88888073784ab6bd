//! End to end: the tiny model overfitted to the sample manuals (`tests/golden/reciter/README.md`) behind the real
//! `mlx_vlm.server`, from page images to searchable descriptions.

use serde_json::Value;

use crate::mlx::Server;
use crate::sandbox::{Sandbox, manual};
use crate::titles::{MANUALS, correct_titles, golden};

/// nDCG@5 of the questions in hybrid search.
fn ndcg(sandbox: &Sandbox) -> f64 {
    let done = sandbox.run(&["eval", &manual("questions.json"), "--json"]);
    let report = done.json();
    let mut rows = report["results"].as_array().unwrap().iter();
    let hybrid = rows.find(|row| row["mode"] == "hybrid").unwrap();
    hybrid["ndcg_at_5"]["mean"].as_f64().unwrap()
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are quoted in the README")]
fn descriptions_have_the_right_titles_and_do_not_lower_ndcg() {
    let sandbox = Sandbox::built_in().with("INGEST_DESCRIBE_MEGAPIXELS", "0.4");
    let files = MANUALS.map(manual);
    assert_eq!(sandbox.run(&[&files[0], &files[1]]).code, 0);
    let before = ndcg(&sandbox);
    let server = Server::serve(golden("model"));
    let done = server.describe(&sandbox, &["--max-tokens", "300"]);
    let report = done.json();
    println!("{report}");
    let (titles, pages) = correct_titles(&sandbox);
    println!("{titles} of {pages} titles");
    assert!(pages == 53 && titles >= 48, "{titles} of {pages}: {report}");
    let after = ndcg(&sandbox);
    println!("nDCG@5 of the questions {before:.3}, with descriptions {after:.3}");
    // Less than one question whose page falls from the first to the second place.
    let tolerance = (1.0 - 1.0 / 3_f64.log2()) / 70.0;
    assert!(after > before - tolerance, "{after} is less than {before}");
    // Two images per request give two right titles; small ones, since the model makes few tokens of any.
    let sandbox = sandbox.with("INGEST_DESCRIBE_MEGAPIXELS", "0.2");
    let pairs = [
        "--manual",
        MANUALS[0],
        "--pages",
        "4-9",
        "--interleave",
        "2",
        "--lanes",
        "1",
        "--redo",
        "all",
    ];
    let done = server.describe(&sandbox, &pairs);
    let report = done.json();
    println!("{report}");
    assert_eq!(
        (done.code, &report["described"]),
        (0, &6.into()),
        "{report}"
    );
    let retried: u64 = report["retries"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert!(retried <= 2, "two of three pairs need no retry: {report}");
    assert_eq!(correct_titles(&sandbox).0, titles);
}
