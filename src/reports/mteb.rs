//! Results in the format of `mteb`: `results/<model>/<revision>/<task>.json` and `model_meta.json`, which
//! `mteb.ResultCache(FOLDER).load_results()` reads; schema of `mteb/results/task_result.py`, version 2.26.24.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::evaluate::{Evaluation, EvaluationResult};

use super::evaluation::mode;

/// The version of mteb that defines this format.
const MTEB_VERSION: &str = "2.26.24";

/// Returns the text of each file by its path below `FOLDER`: one per query set, model, mode and compression, and the
/// `model_meta.json` of each model.
pub fn files(evaluation: &Evaluation) -> BTreeMap<PathBuf, String> {
    let mut tasks: BTreeMap<(PathBuf, String), Vec<&EvaluationResult>> = BTreeMap::new();
    for measured in &evaluation.results {
        let name = format!("ingest__{}", system_name(measured));
        let folder = Path::new("results").join(name).join(&measured.profile);
        let task = file_safe(&measured.set);
        tasks.entry((folder, task)).or_default().push(measured);
    }
    let mut files = BTreeMap::new();
    for ((folder, task), all) in tasks {
        let meta = json!({
            "name": format!("ingest/{}", system_name(all[0])),
            "revision": all[0].profile,
        });
        files.insert(folder.join("model_meta.json"), pretty(&meta));
        let file = folder.join(format!("{task}.json"));
        files.insert(file, pretty(&result(&task, &all)));
    }
    files
}

fn pretty(json: &Value) -> String {
    format!("{json:#}")
}

fn result(task: &str, all: &[&EvaluationResult]) -> Value {
    let metric = main_score(task);
    let row = |measured: &&EvaluationResult| {
        let mut row = json!(measured.means);
        row["main_score"] = row[metric].clone();
        row["hf_subset"] = json!(measured.language.as_deref().unwrap_or("default"));
        row["languages"] = json!([language_code(measured.language.as_deref())]);
        row
    };
    json!({
        "dataset_revision": "local",
        "task_name": task,
        "mteb_version": MTEB_VERSION,
        "scores": {"test": all.iter().map(row).collect::<Vec<_>>()},
        "evaluation_time": all.iter().map(|measured| measured.seconds).sum::<f64>(),
        "kg_co2_emissions": null,
    })
}

/// The metric by which mteb ranks models: nDCG@5 for ViDoRe v1 and v2, nDCG@10 otherwise.
fn main_score(task: &str) -> &'static str {
    match task.strip_prefix("Vidore") {
        Some(rest) if !rest.starts_with('3') => "ndcg_at_5",
        _ => "ndcg_at_10",
    }
}

/// The ISO 639-3 and ISO 15924 code of a ViDoRe language; English by default, as in mteb.
fn language_code(language: Option<&str>) -> String {
    let code = match language.unwrap_or("english") {
        "english" => "eng",
        "french" => "fra",
        "german" => "deu",
        "italian" => "ita",
        "portuguese" => "por",
        "spanish" => "spa",
        other => other,
    };
    format!("{code}-Latn")
}

/// Model, mode and compression as one file name.
fn system_name(measured: &EvaluationResult) -> String {
    let model = Path::new(&measured.model).file_name().unwrap_or_default();
    let mut name = format!("{}-{}", model.to_string_lossy(), mode(measured));
    if let Some(compression) = &measured.compression {
        name.push_str(&format!("-{compression}"));
    }
    file_safe(&name)
}

/// Replaces characters that are not allowed in file names.
fn file_safe(name: &str) -> String {
    let is_safe = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
    name.chars()
        .map(|c| if is_safe(c) { c } else { '_' })
        .collect()
}
