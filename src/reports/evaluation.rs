//! Report of `ingest eval`: a text table, or an HTML page with thumbnails of missed pages.

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
    "set",
    "mode",
    "compression",
    "bytes/page",
    "relative nDCG@5",
    "queries",
    "nDCG@5",
    "nDCG@10",
    "recall@1",
    "recall@5",
    "recall@10",
    "MRR",
    "p50 / p95",
];

/// JPEG thumbnails by page.
pub type Thumbnails = BTreeMap<PageId, Vec<u8>>;

/// The name of the search mode.
pub(super) fn mode(measured: &EvaluationResult) -> String {
    let mode = serde_json::to_value(measured.mode).ok();
    let mode = mode.as_ref().and_then(serde_json::Value::as_str);
    mode.unwrap_or_default().to_owned()
}

/// The name of the query set, with its language.
fn set_name(measured: &EvaluationResult) -> String {
    match &measured.language {
        None => measured.set.clone(),
        Some(language) => format!("{} ({language})", measured.set),
    }
}

/// A row for each measurement; with store and model if they differ between rows.
fn rows(evaluation: &Evaluation) -> Vec<Vec<String>> {
    let all = &evaluation.results;
    let differ = |of: fn(&EvaluationResult) -> &String| all.iter().any(|m| of(m) != of(&all[0]));
    let (stores, models) = (differ(|m| &m.store), differ(|m| &m.model));
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
            set_name(measured),
            mode,
            measured.compression.clone().unwrap_or("stored".to_owned()),
            ByteSize(measured.bytes_per_page).to_string(),
            relative_ndcg(measured, all),
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

/// nDCG@5 relative to the uncompressed pages, in per cent.
fn relative_ndcg(measured: &EvaluationResult, all: &[EvaluationResult]) -> String {
    let is_baseline = |other: &&EvaluationResult| {
        other.compression.is_none()
            && (&other.set, &other.language, other.mode)
                == (&measured.set, &measured.language, measured.mode)
            && (&other.store, &other.model) == (&measured.store, &measured.model)
    };
    match all.iter().find(is_baseline) {
        Some(baseline)
            if measured.compression.is_some() && baseline.scores.ndcg_at_5.mean > 0.0 =>
        {
            let share = measured.scores.ndcg_at_5.mean / baseline.scores.ndcg_at_5.mean;
            format!("{:.1} %", share * 100.0)
        }
        _ => "-".to_owned(),
    }
}

/// The report for the terminal; with `failures`, a line for each failed query.
pub fn text(evaluation: &Evaluation, failures: bool) -> String {
    let mut text = format!(
        "questions: {}\n{}",
        evaluation.query_source,
        aligned(&HEADER, &rows(evaluation))
    );
    for measured in evaluation.results.iter().filter(|_| failures) {
        for failure in &measured.failures {
            text.push_str(&format!(
                "\n{}, {}: `{}` expected {}; found {}",
                mode(measured),
                set_name(measured),
                failure.query,
                page_list(&failure.expected),
                failure
                    .found
                    .as_ref()
                    .map_or("nothing".to_owned(), ToString::to_string)
            ));
        }
    }
    text
}

fn page_list(pages: &[PageId]) -> String {
    let pages: Vec<String> = pages.iter().map(ToString::to_string).collect();
    pages.join(", ")
}

/// The report as one HTML page with a chart, and failed queries with their thumbnails if there are any.
///
/// # Errors
/// When the chart cannot be drawn.
pub fn html(evaluation: &Evaluation, thumbnails: &Thumbnails) -> Result<String, ChartError> {
    let mut body = html::list(&[
        format!("ingest {}", evaluation.version),
        format!("questions: {}", evaluation.query_source),
        "intervals: 95 %, by bootstrap over the queries".to_owned(),
        "bytes/page: mean size of a page's vectors".to_owned(),
    ]);
    let rows = rows(evaluation);
    let chart_rows: Vec<Bar> = evaluation
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
    body.push_str(&bars("nDCG@5", &chart_rows, BLUE)?);
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
            escaped(&set_name(measured))
        ));
        for failure in &measured.failures {
            body.push_str(&failure_figures(failure, thumbnails));
        }
    }
    Ok(html::document("Retrieval quality of ingest", &body))
}

/// A failed query: the relevant pages and the page found instead.
fn failure_figures(failure: &Failure, thumbnails: &Thumbnails) -> String {
    let figure = |page: &PageId, about: &str| {
        let image = thumbnails.get(page).map(|jpeg| {
            let (alt, jpeg) = (escaped(&page.to_string()), BASE64_STANDARD.encode(jpeg));
            format!("<img alt=\"{alt}\" src=\"data:image/jpeg;base64,{jpeg}\">")
        });
        let caption = escaped(&format!("{about}: {page}"));
        let image = image.unwrap_or_default();
        format!("<figure>{image}<figcaption>{caption}</figcaption></figure>\n")
    };
    let expected: String = failure
        .expected
        .iter()
        .map(|page| figure(page, "expected"))
        .collect();
    let found = failure.found.as_ref().map(|page| figure(page, "found"));
    let found = found.unwrap_or("<p>nothing found</p>\n".to_owned());
    let question = escaped(&failure.query);
    format!("<h3>{question}</h3>\n<div class=\"pair\">\n{expected}{found}</div>\n")
}
