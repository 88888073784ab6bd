//! Questions about pages: our own form, or the two files of VQA v2.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::annotate::Trial;
use crate::diagnostic::Diagnostic;
use crate::page::{ManualId, PageId};

/// A question about a rendered page, with its right answers.
pub(super) struct VqaQuestion {
    pub(super) question: String,
    pub(super) page: PageId,
    pub(super) answers: Vec<String>,
}

/// Our own form.
type QueryFile = Vec<QueryEntry>;

/// A query of a file like `manuals/questions.json`; the first page is the one that is shown.
#[derive(Deserialize)]
struct QueryEntry {
    question: String,
    manual: String,
    pages: Vec<u32>,
    answers: Vec<String>,
}

/// As VQA v2 has it (visualqa.org, `*_questions.json`).
#[derive(Deserialize)]
struct VqaV2Question {
    image_id: u64,
    question: String,
    question_id: u64,
}

/// As VQA v2 has it (`*_annotations.json`).
#[derive(Deserialize)]
struct VqaV2Annotation {
    question_id: u64,
    answers: Vec<VqaV2Answer>,
}

#[derive(Deserialize)]
struct VqaV2Answer {
    answer: String,
}

/// Reads questions; those about pages that are not in hand are left out.
pub(super) fn read(files: &[PathBuf], trial: &Trial) -> Result<Vec<VqaQuestion>, Diagnostic> {
    let (mut own, mut asked, mut told) = (Vec::new(), Vec::new(), HashMap::new());
    for file in files {
        let json = json(file)?;
        if json.is_array() {
            own.extend(parsed::<QueryFile>(file, json)?);
        } else if !json["questions"].is_null() {
            asked.extend(parsed::<Vec<VqaV2Question>>(
                file,
                json["questions"].clone(),
            )?);
        } else {
            let all: Vec<VqaV2Annotation> = parsed(file, json["annotations"].clone())?;
            told.extend(all.into_iter().map(|one| (one.question_id, one.answers)));
        }
    }
    let mut all: Vec<VqaQuestion> = own.into_iter().filter_map(QueryEntry::question).collect();
    for question in asked {
        let answers = told.remove(&question.question_id).unwrap_or_default();
        all.extend(question.question(answers, trial));
    }
    let in_hand = |asked: &VqaQuestion| trial.pages().any(|(id, ..)| *id == asked.page);
    all.retain(|asked| in_hand(asked) && !asked.answers.is_empty());
    match all.is_empty() && !files.is_empty() {
        true => Err(Diagnostic::new("no question is about a page in hand")
            .hint("VQA v2 wants two files, `--questions QUESTIONS.json,ANNOTATIONS.json`, and its pictures stored")),
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
    /// Pictures are named `COCO_val2014_000000262148.jpg`, after their number.
    fn question(self, answers: Vec<VqaV2Answer>, trial: &Trial) -> Option<VqaQuestion> {
        let number = format!("{:012}", self.image_id);
        let is_it = |id: &&PageId| {
            let name = Path::new(id.manual.as_str()).file_stem();
            name.is_some_and(|stem| stem.to_string_lossy().ends_with(&number))
        };
        Some(VqaQuestion {
            page: trial.pages().map(|(id, ..)| id).find(is_it)?.clone(),
            question: self.question,
            answers: answers.into_iter().map(|one| one.answer).collect(),
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
