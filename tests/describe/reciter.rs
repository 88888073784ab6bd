//! A tiny model that knows our two manuals by heart (`tests/golden/reciter/HOW.md`), behind the real `mlx_vlm.server`: from
//! the pixels of pages to descriptions that are found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::desk::{Desk, manual};
use crate::mlx::Server;

const MANUALS: [&str; 2] = [
    "heat-pump-service-manual.pdf",
    "alarm-panel-firmware-manual.pdf",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/reciter")
        .join(name)
}

/// How many pages have the title that the model learnt, of how many.
fn right(desk: &Desk) -> (usize, usize) {
    let titles = std::fs::read_to_string(golden("titles.json")).unwrap();
    let titles: BTreeMap<String, BTreeMap<u32, String>> = serde_json::from_str(&titles).unwrap();
    assert_eq!(desk.run(&["describe", "--export", "all.jsonl"]).code, 0);
    let lines = std::fs::read_to_string(desk.path("all.jsonl")).unwrap();
    let all: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let is_right = |line: &&Value| {
        let number = line["page"].as_u64().unwrap() as u32;
        line["annotation"]["described"]["title"]
            == titles[line["manual"].as_str().unwrap()][&number].as_str()
    };
    (all.iter().filter(is_right).count(), all.len())
}

/// nDCG@5 of our questions, by pictures, words and descriptions together.
fn quality(desk: &Desk) -> f64 {
    let done = desk.run(&["eval", &manual("questions.json"), "--json"]);
    let report = done.json();
    let mut rows = report["results"].as_array().unwrap().iter();
    let hybrid = rows.find(|row| row["mode"] == "hybrid").unwrap();
    hybrid["ndcg_at_5"]["mean"].as_f64().unwrap()
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are quoted in the README")]
fn our_manuals_are_recited_and_found_by_what_is_said() {
    let desk = Desk::built_in().with("INGEST_DESCRIBE_MEGAPIXELS", "0.4");
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
