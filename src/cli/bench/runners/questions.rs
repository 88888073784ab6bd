//! Visual questions (VQA) about pages: from our own JSON format, or the two files of VQA v2.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::annotate::Trial;
use crate::diagnostic::Diagnostic;
use crate::page::{ManualId, PageId};

/// A question about a rendered page, with its correct answers.
pub(super) struct VqaQuestion {
    pub(super) question: String,
    pub(super) page: PageId,
    pub(super) answers: Vec<String>,
}

/// A file such as `manuals/questions.json`.
type QueryFile = Vec<QueryEntry>;

/// An entry of a [`QueryFile`]; the first page is the one that is shown to the model.
#[derive(Deserialize)]
struct QueryEntry {
    question: String,
    manual: String,
    pages: Vec<u32>,
    answers: Vec<String>,
}

/// A question of VQA v2 (visualqa.org, `*_questions.json`).
#[derive(Deserialize)]
struct VqaV2Question {
    image_id: u64,
    question: String,
    question_id: u64,
}

/// An annotation of VQA v2 (`*_annotations.json`).
#[derive(Deserialize)]
struct VqaV2Annotation {
    question_id: u64,
    answers: Vec<VqaV2Answer>,
}

#[derive(Deserialize)]
struct VqaV2Answer {
    answer: String,
}

/// Reads questions; those about pages that are not rendered are left out.
///
/// # Errors
/// When a file cannot be read, or no question is left.
pub(super) fn read(files: &[PathBuf], trial: &Trial) -> Result<Vec<VqaQuestion>, Diagnostic> {
    let (mut entries, mut vqa_v2, mut annotations) = (Vec::new(), Vec::new(), HashMap::new());
    for file in files {
        let json = json(file)?;
        if json.is_array() {
            entries.extend(parsed::<QueryFile>(file, json)?);
        } else if !json["questions"].is_null() {
            vqa_v2.extend(parsed::<Vec<VqaV2Question>>(
                file,
                json["questions"].clone(),
            )?);
        } else {
            let all: Vec<VqaV2Annotation> = parsed(file, json["annotations"].clone())?;
            annotations.extend(all.into_iter().map(|a| (a.question_id, a.answers)));
        }
    }
    let mut all: Vec<VqaQuestion> = entries
        .into_iter()
        .filter_map(QueryEntry::question)
        .collect();
    for question in vqa_v2 {
        let answers = annotations
            .remove(&question.question_id)
            .unwrap_or_default();
        all.extend(question.question(answers, trial));
    }
    let is_rendered = |question: &VqaQuestion| trial.pages().any(|(id, ..)| *id == question.page);
    all.retain(|question| is_rendered(question) && !question.answers.is_empty());
    match all.is_empty() && !files.is_empty() {
        true => Err(Diagnostic::new("no question is about a rendered page")
            .hint("VQA v2 needs two files, `--questions QUESTIONS.json,ANNOTATIONS.json`, and its images in the store")),
        false => Ok(all),
    }
}

impl QueryEntry {
    fn question(self) -> Option<VqaQuestion> {
        Some(VqaQuestion {
            page: PageId::new(&ManualId::new(&self.manual), *self.pages.first()?),
            question: self.question,
            answers: self.answers,
        })
    }
}

impl VqaV2Question {
    /// Images are named by their id, such as `COCO_val2014_000000262148.jpg`.
    fn question(self, answers: Vec<VqaV2Answer>, trial: &Trial) -> Option<VqaQuestion> {
        let number = format!("{:012}", self.image_id);
        let is_image = |id: &&PageId| {
            let name = Path::new(id.manual.as_str()).file_stem();
            name.is_some_and(|stem| stem.to_string_lossy().ends_with(&number))
        };
        Some(VqaQuestion {
            page: trial.pages().map(|(id, ..)| id).find(is_image)?.clone(),
            question: self.question,
            answers: answers.into_iter().map(|answer| answer.answer).collect(),
        })
    }
}

fn json(file: &Path) -> Result<Value, Diagnostic> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|e| failed(file, &e))?;
    serde_json::from_str(&text).map_err(|e| failed(file, &e))
}

fn parsed<T: for<'a> Deserialize<'a>>(file: &Path, json: Value) -> Result<T, Diagnostic> {
    serde_json::from_value(json).map_err(|e| failed(file, &e))
}

fn failed(file: &Path, why: &dyn std::fmt::Display) -> Diagnostic {
    Diagnostic::new(format!("{}: {why}", file.display()))
}
