//! The report of an evaluation: a table on the terminal, or an HTML page with thumbnails of the pages that were missed.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::evaluate::{Evaluation, EvaluationResult, Failure, Interval};
use crate::page::PageId;
use crate::units::{ByteSize, Seconds};

use super::ChartError;
use super::chart::{BLUE, Bar, bars};
use super::html::{self, escaped};
use super::table::{Table, aligned};

const HEADER: [&str; 13] = [
    "questions of",
    "mode",
    "kept as",
    "a page",
    "of nDCG@5",
    "questions",
    "nDCG@5",
    "nDCG@10",
    "recall@1",
    "recall@5",
    "recall@10",
    "MRR",
    "p50 / p95",
];

/// The thumbnails of some pages, as JPEG.
pub type Thumbnails = BTreeMap<PageId, Vec<u8>>;

/// The name of a mode, as one writes it.
pub(super) fn mode(measured: &EvaluationResult) -> String {
    let mode = serde_json::to_value(measured.mode).ok();
    let mode = mode.as_ref().and_then(serde_json::Value::as_str);
    mode.unwrap_or_default().to_owned()
}

/// The set with its language.
fn set(measured: &EvaluationResult) -> String {
    match &measured.language {
        None => measured.set.clone(),
        Some(language) => format!("{} ({language})", measured.set),
    }
}

/// A row for each measurement; the store and the model stand in it where there are several.
fn rows(evaluation: &Evaluation) -> Vec<Vec<String>> {
    let all = &evaluation.results;
    let several = |of: fn(&EvaluationResult) -> &String| all.iter().any(|m| of(m) != of(&all[0]));
    let (stores, models) = (several(|m| &m.store), several(|m| &m.model));
    let interval = |i: Interval| format!("{:.2} ({:.2}-{:.2})", i.mean, i.low, i.high);
    let row = |measured: &EvaluationResult| {
        let scores = &measured.scores;
        let mut mode = mode(measured);
        for (shown, name) in [(stores, &measured.store), (models, &measured.model)] {
            if shown {
                mode = format!("{mode}, {name}");
            }
        }
        let mut row = vec![
            set(measured),
            mode,
            measured.compression.clone().unwrap_or("stored".to_owned()),
            ByteSize(measured.bytes_per_page).to_string(),
            share(measured, all),
            scores.queries.to_string(),
        ];
        row.extend(
            [
                scores.ndcg_at_5,
                scores.ndcg_at_10,
                scores.recall_at_1,
                scores.recall_at_5,
                scores.recall_at_10,
                scores.mrr,
            ]
            .map(interval),
        );
        let times = [measured.latency.p50, measured.latency.p95].map(|s| Seconds(s).to_string());
        row.push(times.join(" / "));
        row
    };
    all.iter().map(row).collect()
}

/// How much of the nDCG@5 of the pages as they are stored is left.
fn share(measured: &EvaluationResult, all: &[EvaluationResult]) -> String {
    let is_whole = |other: &&EvaluationResult| {
        other.compression.is_none()
            && (&other.set, &other.language, other.mode)
                == (&measured.set, &measured.language, measured.mode)
            && (&other.store, &other.model) == (&measured.store, &measured.model)
    };
    match all.iter().find(is_whole) {
        Some(whole) if measured.compression.is_some() && whole.scores.ndcg_at_5.mean > 0.0 => {
            let share = measured.scores.ndcg_at_5.mean / whole.scores.ndcg_at_5.mean;
            format!("{:.1} %", share * 100.0)
        }
        _ => "-".to_owned(),
    }
}

/// The report for the terminal; with `failures`, a line for each question that failed.
pub fn text(evaluation: &Evaluation, failures: bool) -> String {
    let mut text = format!(
        "questions: {}\n{}",
        evaluation.query_source,
        aligned(&HEADER, &rows(evaluation))
    );
    for measured in evaluation.results.iter().filter(|_| failures) {
        for failure in &measured.failures {
            text.push_str(&format!(
                "\n{} of {}: `{}` is on {}, found {}",
                mode(measured),
                set(measured),
                failure.query,
                named(&failure.expected),
                failure
                    .found
                    .as_ref()
                    .map_or("nothing".to_owned(), ToString::to_string)
            ));
        }
    }
    text
}

fn named(pages: &[PageId]) -> String {
    let pages: Vec<String> = pages.iter().map(ToString::to_string).collect();
    pages.join(", ")
}

/// The report as one HTML page with a chart; where there are thumbnails, failures are shown with theirs.
///
/// # Errors
/// When the chart cannot be drawn.
pub fn html(evaluation: &Evaluation, thumbnails: &Thumbnails) -> Result<String, ChartError> {
    let mut body = html::list(&[
        format!("ingest {}", evaluation.version),
        format!("questions: {}", evaluation.query_source),
        "intervals: 95 %, by bootstrap over the questions".to_owned(),
        "a page: bytes that its vectors take".to_owned(),
    ]);
    let rows = rows(evaluation);
    let drawn: Vec<Bar> = evaluation
        .results
        .iter()
        .zip(&rows)
        .map(|(m, row)| {
            let i = m.scores.ndcg_at_5;
            Bar {
                name: row[..3].join(", "),
                range: [i.low, i.mean, i.high],
            }
        })
        .collect();
    body.push_str("<h2>nDCG@5</h2>\n");
    body.push_str(&bars("nDCG@5", &drawn, BLUE)?);
    body.push_str(&html::table(&Table {
        rows,
        ..Table::new("Measures", &HEADER)
    }));
    let missed = evaluation
        .results
        .iter()
        .filter(|m| m.compression.is_none());
    for measured in missed.filter(|m| !thumbnails.is_empty() && !m.failures.is_empty()) {
        body.push_str(&format!(
            "<h2>Missed by {}: {}</h2>\n",
            escaped(&mode(measured)),
            escaped(&set(measured))
        ));
        for failure in &measured.failures {
            body.push_str(&pair(failure, thumbnails));
        }
    }
    Ok(html::document("Retrieval quality of ingest", &body))
}

/// A question, the pages that answer it and the one that was found.
fn pair(failure: &Failure, thumbnails: &Thumbnails) -> String {
    let figure = |page: &PageId, about: &str| {
        let picture = thumbnails.get(page).map(|jpeg| {
            let (alt, jpeg) = (escaped(&page.to_string()), BASE64_STANDARD.encode(jpeg));
            format!("<img alt=\"{alt}\" src=\"data:image/jpeg;base64,{jpeg}\">")
        });
        let caption = escaped(&format!("{about}: {page}"));
        let picture = picture.unwrap_or_default();
        format!("<figure>{picture}<figcaption>{caption}</figcaption></figure>\n")
    };
    let expected: String = failure
        .expected
        .iter()
        .map(|page| figure(page, "asked for"))
        .collect();
    let found = failure.found.as_ref().map(|page| figure(page, "found"));
    let found = found.unwrap_or("<p>nothing was found</p>\n".to_owned());
    let question = escaped(&failure.query);
    format!("<h3>{question}</h3>\n<div class=\"pair\">\n{expected}{found}</div>\n")
}
