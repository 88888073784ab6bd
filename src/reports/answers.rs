//! Report of `ingest eval ask`: a table with a row for each context.

use crate::evaluate::{AnswerEvaluation, ContextResult, Interval};
use crate::units::{Seconds, counted};

use super::table::{self, Table};

const HEADER: [&str; 14] = [
    "context",
    "questions",
    "right and cited",
    "right",
    "VQA",
    "F1",
    "citation precision",
    "recall",
    "absent",
    "refused",
    "falsely refused",
    "unconfirmed/100",
    "first word p50 / p95",
    "tokens",
];

/// The table of an evaluation.
pub fn answer_table(evaluation: &AnswerEvaluation) -> Table {
    let mut table = Table::new("Answers", &HEADER);
    table.rows = evaluation.results.iter().map(row).collect();
    table
}

fn row(result: &ContextResult) -> Vec<String> {
    let scores = &result.scores;
    let with_interval = |share: Option<Interval>| {
        share.map_or_else(dash, |i| {
            format!("{:.2} ({:.2}-{:.2})", i.mean, i.low, i.high)
        })
    };
    let mean = |share: Option<Interval>| share.map_or_else(dash, |i| format!("{:.2}", i.mean));
    let whole = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.0}"));
    let first = scores.first_s.map(|times| [times.p50, times.p95]);
    let first = first.map(|times| times.map(|s| Seconds(s).to_string()).join(" / "));
    vec![
        result.context.name().to_owned(),
        scores.questions.to_string(),
        with_interval(scores.right_and_cited),
        mean(scores.right),
        mean(scores.vqa),
        mean(scores.f1),
        mean(scores.citation_precision),
        mean(scores.citation_recall),
        scores.absent.to_string(),
        mean(scores.refused),
        mean(scores.falsely_refused),
        whole(scores.unconfirmed_per_100),
        first.unwrap_or_else(dash),
        whole(scores.tokens),
    ]
}

fn dash() -> String {
    "-".to_owned()
}

/// The report for the terminal; it names the questions that the model gave no answer to.
pub fn text(evaluation: &AnswerEvaluation) -> String {
    let mut lines = vec![
        format!("questions: {}", evaluation.questions),
        format!(
            "{} on {}, at most {}",
            evaluation.model,
            evaluation.runner,
            counted(evaluation.pages as u64, "retrieved page")
        ),
    ];
    for result in &evaluation.results {
        for answer in &result.answers {
            if let Some(why) = &answer.error {
                let (context, question) = (result.context.name(), &answer.question);
                lines.push(format!("{context}: `{question}`: {why}"));
            }
        }
    }
    table::text(&lines, &[answer_table(evaluation)])
}
