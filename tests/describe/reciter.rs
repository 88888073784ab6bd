//! A tiny model that knows our two manuals by heart (`tests/golden/reciter/README.md`), behind the real `mlx_vlm.server`: from
//! the pixels of pages to descriptions that are found.

use serde_json::Value;

use crate::mlx::Server;
use crate::sandbox::{Sandbox, manual};
use crate::titles::{MANUALS, golden, right};

/// nDCG@5 of our questions, by pictures, words and descriptions together.
fn quality(desk: &Sandbox) -> f64 {
    let done = desk.run(&["eval", &manual("questions.json"), "--json"]);
    let report = done.json();
    let mut rows = report["results"].as_array().unwrap().iter();
    let hybrid = rows.find(|row| row["mode"] == "hybrid").unwrap();
    hybrid["ndcg_at_5"]["mean"].as_f64().unwrap()
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are quoted in the README")]
fn our_manuals_are_recited_and_found_by_what_is_said() {
    let desk = Sandbox::built_in().with("INGEST_DESCRIBE_MEGAPIXELS", "0.4");
    let files = MANUALS.map(manual);
    assert_eq!(desk.run(&[&files[0], &files[1]]).code, 0);
    let before = quality(&desk);
    let server = Server::serve(golden("model"));
    let done = server.describe(&desk, &["--max-tokens", "300"]);
    let told = done.json();
    println!("{told}");
    let (titles, pages) = right(&desk);
    println!("{titles} of {pages} titles");
    assert!(pages == 53 && titles >= 48, "{titles} of {pages}: {told}");
    let after = quality(&desk);
    println!("nDCG@5 of the questions {before:.3}, with descriptions {after:.3}");
    assert!(after >= before, "{after} is less than {before}");
    // Two pictures in one question give two right titles; small ones, since the model makes few tokens of any.
    let desk = desk.with("INGEST_DESCRIBE_MEGAPIXELS", "0.2");
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
    let done = server.describe(&desk, &pairs);
    let told = done.json();
    println!("{told}");
    assert_eq!((done.code, &told["described"]), (0, &6.into()), "{told}");
    let alone: u64 = told["retries"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert!(
        alone <= 2,
        "two of three pairs are told apart at once: {told}"
    );
    assert_eq!(right(&desk).0, titles);
}
