//! Retrieval quality on the two sample manuals with the defaults: built-in model, SQLite.

use std::collections::HashSet;

use serde_json::Value;

use crate::sandbox::{Sandbox, manual};

struct Question {
    text: String,
    manual: String,
    pages: Vec<u64>,
    paraphrase: bool,
}

/// The questions that pages answer.
fn questions() -> Vec<Question> {
    let json: Value =
        serde_json::from_str(&std::fs::read_to_string(manual("questions.json")).unwrap()).unwrap();
    let question = |q: &Value| Question {
        text: q["question"].as_str().unwrap().to_owned(),
        manual: q["manual"].as_str().unwrap().to_owned(),
        pages: q["pages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p.as_u64().unwrap())
            .collect(),
        paraphrase: q["kind"] == "paraphrase",
    };
    let all = json.as_array().unwrap();
    let has_answer = |q: &&Value| q["kind"] != "absent";
    let questions: Vec<_> = all.iter().filter(has_answer).map(question).collect();
    assert_eq!((questions.len(), all.len()), (70, 90));
    questions
}

/// Recall at `k`: share of questions with a relevant page among the first `k`.
fn recall<'q>(answers: impl Iterator<Item = (&'q Question, &'q Value)>, k: usize) -> f64 {
    let right = |(question, answer): (&Question, &Value)| {
        let hits = answer.as_array().unwrap().iter().take(k);
        hits.into_iter().any(|hit| {
            hit["manual"] == question.manual.as_str()
                && question.pages.contains(&hit["page"].as_u64().unwrap())
        })
    };
    let found: Vec<bool> = answers.map(right).collect();
    found.iter().filter(|f| **f).count() as f64 / found.len() as f64
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are quoted in the README")]
fn questions_about_the_sample_manuals_find_their_pages() {
    let sandbox = Sandbox::built_in();
    let manuals = [
        manual("heat-pump-service-manual.pdf"),
        manual("alarm-panel-firmware-manual.pdf"),
    ];
    let done = sandbox.run(&[&manuals[0], &manuals[1], "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let report = done.json();
    let total = |key: &str| -> u64 {
        (0..2)
            .map(|m| report["manuals"][m][key].as_u64().unwrap())
            .sum()
    };
    assert_eq!((total("pages"), total("stored")), (53, 53), "every page");

    let questions = questions();
    let texts: Vec<String> = questions.iter().map(|q| q.text.clone()).collect();
    let (mut firsts, mut recalls) = (Vec::new(), Vec::new());
    for mode in ["--visual", "--text", "--meaning", "--hybrid"] {
        let answers = sandbox.search(&texts, &[mode, "-k", "5"]);
        let pairs = || questions.iter().zip(&answers);
        let part = |paraphrase| recall(pairs().filter(|(q, _)| q.paraphrase == paraphrase), 5);
        let (first, five) = (recall(pairs(), 1), recall(pairs(), 5));
        println!(
            "{mode}: recall@1 {first:.2}, recall@5 {five:.2} (lexical {:.2}, paraphrase {:.2})",
            part(false),
            part(true)
        );
        firsts.push(first);
        recalls.push(five);
    }
    assert!(
        firsts[0] >= 0.58 && recalls[0] >= 0.78,
        "from pixels alone: {firsts:?}, {recalls:?}"
    );
    assert!(
        firsts[3] >= 0.86 && recalls[3] >= 0.94,
        "hybrid: {firsts:?}, {recalls:?}"
    );
    check_eval(&sandbox, questions.len(), &recalls);
    check_readme_examples(&sandbox);
}

/// `ingest eval` reports the same recall, and text search finds the titles of the outlines.
#[expect(clippy::print_stdout, reason = "the figures are quoted in the README")]
fn check_eval(sandbox: &Sandbox, questions: usize, recalls: &[f64]) {
    let done = sandbox.run(&["eval", &manual("questions.json"), "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let sets = done.json()["results"].as_array().unwrap().clone();
    for (set, recall) in sets.iter().zip(recalls) {
        let missed = set["failures"].as_array().unwrap().len();
        assert_eq!(set["queries"], questions);
        assert!(
            (1.0 - missed as f64 / questions as f64 - recall).abs() < 1e-9,
            "{set}"
        );
    }
    let names = ["heat-pump-service-manual", "alarm-panel-firmware-manual"];
    let done = sandbox.run(&["eval", "--outline", names[0], names[1], "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    for set in done.json()["results"].as_array().unwrap() {
        let recall = set["recall_at_5"]["mean"].as_f64().unwrap();
        println!(
            "outline of {} {}: {} titles, recall@5 {recall:.2}",
            set["set"], set["mode"], set["queries"]
        );
        assert!(set["queries"].as_u64().unwrap() >= 20, "{set}");
        assert!(set["mode"] != "text" || recall > 0.8, "{set}");
    }
}

/// The example queries of the README return the page shown there first.
fn check_readme_examples(sandbox: &Sandbox) {
    let readme = std::fs::read_to_string(manual("../README.md")).unwrap();
    let queries: Vec<String> = readme
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("$ ingest search \"")?
                .split_once('"')
                .map(|(q, _)| q.to_owned())
        })
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    assert!(queries.len() >= 3, "three example questions in the README");
    let pages = readme
        .lines()
        .filter_map(|line| line.trim().strip_prefix("1. "))
        .collect::<Vec<_>>();
    for question in queries {
        let out = sandbox.run(&["search", &question]).out;
        let first = out.lines().next().unwrap().strip_prefix("1. ").unwrap();
        let page = first.split("  [").next().unwrap();
        assert!(
            pages.iter().any(|line| line.starts_with(page)),
            "{question}: {first}"
        );
    }
}
