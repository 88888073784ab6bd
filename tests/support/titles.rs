//! Titles that the tiny model of `tests/golden/reciter` was trained to give to the pages of the two manuals.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::sandbox::Sandbox;

pub(crate) const MANUALS: [&str; 2] = [
    "heat-pump-service-manual.pdf",
    "alarm-panel-firmware-manual.pdf",
];

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/reciter")
        .join(name)
}

/// Number of pages described with the right title, and number of pages.
pub(crate) fn correct_titles(sandbox: &Sandbox) -> (usize, usize) {
    let titles = std::fs::read_to_string(golden("titles.json")).unwrap();
    let titles: BTreeMap<String, BTreeMap<u32, String>> = serde_json::from_str(&titles).unwrap();
    assert_eq!(sandbox.run(&["describe", "--export", "all.jsonl"]).code, 0);
    let lines = std::fs::read_to_string(sandbox.path("all.jsonl")).unwrap();
    let all: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let is_correct = |line: &&Value| {
        let number = line["page"].as_u64().unwrap() as u32;
        line["annotation"]["described"]["title"]
            == titles[line["manual"].as_str().unwrap()][&number].as_str()
    };
    (all.iter().filter(is_correct).count(), all.len())
}
