//! `ingest eval FOLDER`: datasets in the layouts of ViDoRe, and results that mteb loads.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::sandbox::{CommandOutput, Sandbox};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/vidore")
        .join(name)
}

/// A sandbox with its own folder for temporary files.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::built_in();
    std::fs::create_dir(sandbox.path("tmp")).unwrap();
    let tmp = sandbox.path("tmp").display().to_string();
    sandbox.with("TMPDIR", &tmp)
}

fn evaluated(sandbox: &Sandbox, dataset: &Path, more: &[&str]) -> CommandOutput {
    let done = sandbox.run(&[&["eval", &dataset.display().to_string()], more].concat());
    let left = std::fs::read_dir(sandbox.path("tmp")).unwrap().count();
    assert_eq!(left, 0, "temporary stores are removed");
    assert!(
        !sandbox.path("library.db").exists(),
        "the user's store is not touched"
    );
    done
}

/// The row of a mode and language.
fn row<'a>(report: &'a Value, mode: &str, language: Option<&str>) -> &'a Value {
    let fits = |row: &&Value| row["mode"] == mode && row["language"].as_str() == language;
    let rows = report["results"].as_array().unwrap();
    rows.iter()
        .find(fits)
        .unwrap_or_else(|| panic!("no {mode}, {language:?}: {report}"))
}

#[test]
fn every_vidore_layout_is_evaluated() {
    let sandbox = sandbox();
    let mean = |row: &Value, measure: &str| row[measure]["mean"].as_f64().unwrap();
    for (name, languages, has_text) in [
        ("v1", &[None][..], false),
        ("v2", &[Some("english"), Some("french")], false),
        ("v3", &[Some("english"), Some("french")], true),
        ("v3_mteb", &[Some("english"), Some("french")], false),
    ] {
        let done = evaluated(&sandbox, &golden(name), &["--json"]);
        assert_eq!(done.code, 0, "{}", done.err);
        let report = done.json();
        assert_eq!(
            report["results"].as_array().unwrap().len(),
            4 * languages.len()
        );
        for language in languages {
            let queries = if name == "v1" { 8 } else { 4 };
            assert_eq!(
                row(&report, "visual", *language)["queries"],
                queries,
                "{name}"
            );
            let text = mean(row(&report, "text", *language), "recall_at_10");
            assert!(text > 0.0 || !has_text, "{name}: {text}");
        }
        // nDCG@5 of a random ranking of six pages is about 0.5; the built-in model reads the printed codes.
        let ndcg = mean(row(&report, "visual", languages[0]), "ndcg_at_5");
        assert!(ndcg > 0.75, "{name}: {ndcg}");
    }
}

#[test]
fn mteb_loads_the_results() {
    let sandbox = sandbox();
    let dataset = sandbox.path("Vidore2PumpsRetrieval");
    copy(&golden("v2"), &dataset);
    let done = evaluated(&sandbox, &dataset, &["--json", "--mteb", "found"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let report = done.json();
    let script = |name: &str| format!("{}/tests/support/{name}", env!("CARGO_MANIFEST_DIR"));
    let python = Command::new("bash")
        .arg(script("python.sh"))
        .output()
        .unwrap();
    let python = String::from_utf8(python.stdout).unwrap().trim().to_owned();
    for mode in ["visual", "text", "meaning", "hybrid"] {
        let english = row(&report, mode, Some("english"));
        let folder = sandbox.path(&format!("found/results/ingest__built-in-{mode}"));
        let folder = folder.join(english["profile"].as_str().unwrap());
        let meta = std::fs::read_to_string(folder.join("model_meta.json")).unwrap();
        assert!(meta.contains(&format!("ingest/built-in-{mode}")), "{meta}");
        let file = folder.join("Vidore2PumpsRetrieval.json");
        let loaded = Command::new(&python)
            .arg(script("mteb_results.py"))
            .arg(&file)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&loaded.stderr).into_owned();
        assert!(loaded.status.success(), "{stderr}");
        let result: Value = serde_json::from_slice(&loaded.stdout).unwrap();
        assert_eq!(result["task_name"], "Vidore2PumpsRetrieval");
        // ViDoRe v2 is ranked by nDCG@5, by language.
        for (language, script) in [("english", "eng-Latn"), ("french", "fra-Latn")] {
            let ours = row(&report, mode, Some(language));
            let theirs = &result["scores"]["test"][language];
            for (name, mean) in [
                ("main_score", &ours["ndcg_at_5"]),
                ("ndcg_at_10", &ours["ndcg_at_10"]),
                ("recall_at_1", &ours["recall_at_1"]),
            ] {
                let difference = theirs[name].as_f64().unwrap() - mean["mean"].as_f64().unwrap();
                assert!(
                    difference.abs() < 1e-9,
                    "{mode}, {language}, {name}: {theirs}"
                );
            }
            assert!(
                !result["score_by_language"][&script[..3]].is_null(),
                "{result}"
            );
        }
    }
}

#[test]
fn invalid_datasets_are_errors() {
    let sandbox = sandbox();
    let (v1, v2, text_ids) = (golden("v1"), golden("v2"), golden("v3_mteb"));
    let made = |name: &str, corpus: &Path, queries: &Path, qrels: &Path| {
        let to = sandbox.path(name);
        copy(corpus, &to.join("corpus"));
        copy(queries, &to.join("queries"));
        copy(qrels, &to.join("qrels"));
        to
    };
    let foreign = made(
        "foreign",
        &text_ids.join("english-corpus"),
        &v1.join("queries"),
        &v1.join("qrels"),
    );
    let apart = made(
        "apart",
        &v1.join("corpus"),
        &v1.join("queries"),
        &v2.join("qrels"),
    );
    let torn = made(
        "torn",
        &v1.join("corpus"),
        &v1.join("queries"),
        &v1.join("qrels"),
    );
    let file = torn.join("corpus/test-00000-of-00001.parquet");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let unjudged = sandbox.path("unjudged");
    copy(&v1.join("corpus"), &unjudged.join("corpus"));
    copy(&v1.join("queries"), &unjudged.join("queries"));
    std::fs::create_dir(sandbox.path("nothing")).unwrap();
    for (folder, expected) in [
        (
            foreign,
            "the qrels of the query `10` name the page `0`, which the corpus lacks",
        ),
        (apart, "has no queries with relevant pages"),
        (torn, "test-00000-of-00001.parquet: "),
        (unjudged, "contains no `qrels/*.parquet`"),
        (sandbox.path("nothing"), "contains no `corpus/*.parquet`"),
    ] {
        let done = evaluated(&sandbox, &folder, &[]);
        assert_eq!(done.code, 1, "{}", done.out);
        assert!(done.err.contains(expected), "{}", done.err);
    }
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
