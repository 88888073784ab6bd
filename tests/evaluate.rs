//! Our measures of retrieval beside those of trec_eval, on random rankings.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::process::Command;

use ingest::evaluate::{Relevant, ndcg, recall, reciprocal_rank};
use ingest::page::{ManualId, PageId};
use serde_json::{Value, json};

/// trec_eval's measures of every question, in order.
const TREC: &str = r#"
import json, sys
import pytrec_eval
given = json.load(open(sys.argv[1]))
names = {"ndcg_cut.5,10", "recall.1,5,10", "recip_rank"}
found = pytrec_eval.RelevanceEvaluator(given["qrels"], names).evaluate(given["run"])
print(json.dumps([found[name] for name in sorted(given["run"])]))
"#;

fn python() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/python.sh");
    let done = Command::new("bash").arg(script).output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A question: its ranking, and what is relevant, of which some was not found.
fn question(random: &mut fastrand::Rng) -> (Vec<PageId>, Relevant) {
    let manual = ManualId::new("m");
    let mut pages: Vec<u32> = (1..=40).collect();
    random.shuffle(&mut pages);
    let ranking = pages[..random.usize(1..20)]
        .iter()
        .map(|&n| PageId::new(&manual, n))
        .collect();
    random.shuffle(&mut pages);
    let relevant = pages[..random.usize(1..8)]
        .iter()
        .map(|&n| (PageId::new(&manual, n), random.u32(1..4)));
    (ranking, relevant.collect())
}

#[test]
fn measures_equal_those_of_trec_eval() {
    let mut random = fastrand::Rng::with_seed(11);
    let questions: Vec<_> = (0..300).map(|_| question(&mut random)).collect();
    let name = |n: usize| format!("q{n:04}");
    let (mut qrels, mut run) = (BTreeMap::new(), BTreeMap::new());
    for (n, (ranking, relevant)) in questions.iter().enumerate() {
        let grades: BTreeMap<String, u32> = relevant
            .iter()
            .map(|(page, grade)| (page.to_string(), *grade))
            .collect();
        // trec_eval ranks by score.
        let scores = ranking
            .iter()
            .enumerate()
            .map(|(rank, page)| (page.to_string(), 100.0 - rank as f64));
        qrels.insert(name(n), json!(grades));
        run.insert(name(n), json!(scores.collect::<BTreeMap<String, f64>>()));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({"qrels": qrels, "run": run}).to_string()).unwrap();
    let done = Command::new(python())
        .args(["-c", TREC])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let theirs: Vec<Value> = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(theirs.len(), questions.len());
    for ((ranking, relevant), theirs) in questions.iter().zip(&theirs) {
        for (measure, ours) in [
            ("ndcg_cut_5", ndcg(ranking, relevant, 5)),
            ("ndcg_cut_10", ndcg(ranking, relevant, 10)),
            ("recall_1", recall(ranking, relevant, 1)),
            ("recall_5", recall(ranking, relevant, 5)),
            ("recall_10", recall(ranking, relevant, 10)),
            ("recip_rank", reciprocal_rank(ranking, relevant)),
        ] {
            let theirs = theirs[measure].as_f64().unwrap();
            assert!(
                (ours - theirs).abs() < 1e-9,
                "{measure}: {ours} is not {theirs}"
            );
        }
    }
}
