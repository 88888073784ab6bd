//! The record of an evaluation of answers, as `ingest eval ask --json` prints it.

use serde::Serialize;

use super::{AnswerGrade, AnswerScores};

/// The version of the JSON form of [`AnswerEvaluation`].
pub const ANSWER_SCHEMA: u32 = 1;

/// Which pages the model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Context {
    /// Those that a search finds, as `ingest ask`.
    #[serde(rename = "retrieved")]
    Retrieved,
    /// Those that answer.
    #[serde(rename = "oracle")]
    Oracle,
    /// Those that answer, and the two best of the search that do not.
    #[serde(rename = "oracle+2")]
    OracleAndTwo,
}

impl Context {
    /// All contexts.
    pub const ALL: [Self; 3] = [Self::Retrieved, Self::Oracle, Self::OracleAndTwo];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retrieved => "retrieved",
            Self::Oracle => "oracle",
            Self::OracleAndTwo => "oracle+2",
        }
    }
}

/// The results of an evaluation of answers.
#[derive(Clone, Debug, Serialize)]
pub struct AnswerEvaluation {
    /// [`ANSWER_SCHEMA`].
    pub schema: u32,
    /// Version of this program.
    pub version: String,
    /// The file of the questions.
    pub questions: String,
    /// The model.
    pub model: String,
    /// The program that runs it.
    pub runner: String,
    /// Pages of the context `retrieved`, at most.
    pub pages: usize,
    /// One result per context.
    pub results: Vec<ContextResult>,
}

/// The answers from one context.
#[derive(Clone, Debug, Serialize)]
pub struct ContextResult {
    /// The context.
    pub context: Context,
    /// The measures.
    #[serde(flatten)]
    pub scores: AnswerScores,
    /// The answers, in the order of the questions.
    pub answers: Vec<GradedAnswer>,
}

/// A question with its answer and grade.
#[derive(Clone, Debug, Serialize)]
pub struct GradedAnswer {
    /// The question.
    pub question: String,
    /// The pages that answer it.
    pub expected: Vec<String>,
    /// The pages that the model read.
    pub read: Vec<String>,
    /// The pages that it cites.
    pub cited: Vec<String>,
    /// Its answer; empty if it failed.
    pub answer: String,
    /// Why it gave no answer.
    pub error: Option<String>,
    /// The grade.
    #[serde(flatten)]
    pub grade: AnswerGrade,
}
