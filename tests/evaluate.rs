//! Retrieval measures on random rankings, compared with those of trec_eval.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::process::Command;

use ingest::evaluate::{Qrels, ndcg, recall, reciprocal_rank};
use ingest::page::{ManualId, PageId};
use serde_json::{Value, json};

/// Prints trec_eval's measures of every query, in order.
const TREC_EVAL: &str = r#"
import json, sys
import pytrec_eval
given = json.load(open(sys.argv[1]))
names = {"ndcg_cut.5,10", "recall.1,5,10", "recip_rank"}
found = pytrec_eval.RelevanceEvaluator(given["qrels"], names).evaluate(given["run"])
print(json.dumps([found[name] for name in sorted(given["run"])]))
"#;

fn python() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/python.sh");
    let output = Command::new("bash").arg(script).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Returns a random ranking and random judgements; some relevant pages are not ranked.
fn judged_query(rng: &mut fastrand::Rng) -> (Vec<PageId>, Qrels) {
    let manual = ManualId::new("m");
    let mut pages: Vec<u32> = (1..=40).collect();
    rng.shuffle(&mut pages);
    let ranking = pages[..rng.usize(1..20)]
        .iter()
        .map(|&n| PageId::new(&manual, n))
        .collect();
    rng.shuffle(&mut pages);
    let relevant = pages[..rng.usize(1..8)]
        .iter()
        .map(|&n| (PageId::new(&manual, n), rng.u32(1..4)));
    (ranking, relevant.collect())
}

#[test]
fn measures_equal_those_of_trec_eval() {
    let mut rng = fastrand::Rng::with_seed(11);
    let queries: Vec<_> = (0..300).map(|_| judged_query(&mut rng)).collect();
    let name = |n: usize| format!("q{n:04}");
    let (mut qrels, mut run) = (BTreeMap::new(), BTreeMap::new());
    for (n, (ranking, relevant)) in queries.iter().enumerate() {
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
    let output = Command::new(python())
        .args(["-c", TREC_EVAL])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let expected: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(expected.len(), queries.len());
    for ((ranking, relevant), expected) in queries.iter().zip(&expected) {
        for (measure, actual) in [
            ("ndcg_cut_5", ndcg(ranking, relevant, 5)),
            ("ndcg_cut_10", ndcg(ranking, relevant, 10)),
            ("recall_1", recall(ranking, relevant, 1)),
            ("recall_5", recall(ranking, relevant, 5)),
            ("recall_10", recall(ranking, relevant, 10)),
            ("recip_rank", reciprocal_rank(ranking, relevant)),
        ] {
            let expected = expected[measure].as_f64().unwrap();
            assert!(
                (actual - expected).abs() < 1e-9,
                "{measure}: {actual} is not {expected}"
            );
        }
    }
}
