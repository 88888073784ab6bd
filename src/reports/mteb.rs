//! Results as `mteb` keeps them: `results/<model>/<revision>/<task>.json` with a `model_meta.json` beside, which
//! `mteb.ResultCache(FOLDER).load_results()` reads. The form is that of `mteb/results/task_result.py`, version 2.26.24.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::evaluate::{Evaluation, EvaluationResult};

use super::evaluation::mode;

/// The version of mteb whose form this is.
const FORM: &str = "2.26.24";

/// The text of each file, by its path below `FOLDER`: one for each set of questions, model, mode and compression, and one
/// that says which model it was.
pub fn files(evaluation: &Evaluation) -> BTreeMap<PathBuf, String> {
    let mut tasks: BTreeMap<(PathBuf, String), Vec<&EvaluationResult>> = BTreeMap::new();
    for measured in &evaluation.results {
        let name = format!("ingest__{}", system(measured));
        let folder = Path::new("results").join(name).join(&measured.profile);
        let task = plain(&measured.set);
        tasks.entry((folder, task)).or_default().push(measured);
    }
    let mut files = BTreeMap::new();
    for ((folder, task), all) in tasks {
        let meta = json!({
            "name": format!("ingest/{}", system(all[0])),
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
    let main = main_score(task);
    let row = |measured: &&EvaluationResult| {
        let mut row = json!(measured.means);
        row["main_score"] = row[main].clone();
        row["hf_subset"] = json!(measured.language.as_deref().unwrap_or("default"));
        row["languages"] = json!([script(measured.language.as_deref())]);
        row
    };
    json!({
        "dataset_revision": "local",
        "task_name": task,
        "mteb_version": FORM,
        "scores": {"test": all.iter().map(row).collect::<Vec<_>>()},
        "evaluation_time": all.iter().map(|measured| measured.seconds).sum::<f64>(),
        "kg_co2_emissions": null,
    })
}

/// What mteb ranks models by: nDCG@5 in the first two generations of ViDoRe, nDCG@10 elsewhere.
fn main_score(task: &str) -> &'static str {
    match task.strip_prefix("Vidore") {
        Some(rest) if !rest.starts_with('3') => "ndcg_at_5",
        _ => "ndcg_at_10",
    }
}

/// A language of ViDoRe by ISO 639-3 and ISO 15924; what does not say is English, as mteb takes it.
fn script(language: Option<&str>) -> String {
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

/// Model, mode and compression as one word.
fn system(measured: &EvaluationResult) -> String {
    let model = Path::new(&measured.model).file_name().unwrap_or_default();
    let mut name = format!("{}-{}", model.to_string_lossy(), mode(measured));
    if let Some(compression) = &measured.compression {
        name.push_str(&format!("-{compression}"));
    }
    plain(&name)
}

/// A name that is one file's anywhere.
fn plain(name: &str) -> String {
    let fits = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
    name.chars()
        .map(|c| if fits(c) { c } else { '_' })
        .collect()
}
