//! Report of `ingest bench describe`: speed and accuracy of VLM runners and models.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use crate::evaluate::AnswerEvaluation;
use crate::measure::{ApproachResult, Candidate, Grade, RunnerBenchmark};
use crate::units::{ByteSize, Seconds, counted, pages};

use super::answers::answer_table;
use super::chart::{BLUE, Bar, GREEN, bars};
use super::table::{self, Table};
use super::{ChartError, html, markdown};

/// The title of the report.
const TITLE: &str = "Runners and models for page descriptions";

/// The lines above the tables.
fn lines(benchmark: &RunnerBenchmark) -> Vec<String> {
    let mut lines = vec![
        format!("ingest {} on {}", benchmark.version, benchmark.machine),
        format!(
            "{} at {} megapixels, {}; one uncounted warm-up page per approach, loading not counted",
            pages(benchmark.pages as u64),
            benchmark.megapixels,
            counted(benchmark.questions as u64, "question")
        ),
    ];
    if benchmark.candidates.len() > 1 {
        let rankings = &benchmark.rankings;
        for (name, order) in [
            ("by accuracy", &rankings.accuracy),
            ("by speed", &rankings.speed),
            ("overall", &rankings.overall),
        ] {
            lines.push(format!("{name}: {}", order.join(", ")));
        }
    }
    for candidate in &benchmark.candidates {
        lines.push(verdict(candidate));
        let speed = candidate.speed();
        if let (Some(best), true) = (candidate.best(), speed > 0.0) {
            let seconds = benchmark.library as f64 / speed;
            lines.push(format!(
                "{}: fastest is {} {}; all {} in the store would take {}",
                candidate.name,
                best.approach,
                best.batch,
                pages(benchmark.library),
                Seconds(seconds)
            ));
        }
    }
    lines
}

fn verdict(candidate: &Candidate) -> String {
    let grade = match candidate.verdict.grade {
        Grade::Pass => "pass",
        Grade::Warn => "warn",
        Grade::Fail => "fail",
    };
    let why = match candidate.verdict.why.as_str() {
        "" => String::new(),
        why => format!(", {why}"),
    };
    format!("{} ({}): {grade}{why}", candidate.name, candidate.server)
}

/// The tables: one per candidate with its approaches, and one of all models.
fn tables(benchmark: &RunnerBenchmark) -> Vec<Table> {
    let mut all: Vec<Table> = benchmark.candidates.iter().map(approach_table).collect();
    all.push(model_table(benchmark));
    all
}

fn approach_table(candidate: &Candidate) -> Table {
    let header = [
        "approach",
        "pages/s",
        "speedup",
        "tokens/page",
        "prompt tok/s",
        "tok/s",
        "TTFT",
        "memory",
        "peak",
        "matched",
        "truncated",
        "repetition",
        "unparsable",
        "failed",
    ];
    let mut table = Table::new(&candidate.name, &header);
    let first = candidate
        .approaches
        .first()
        .map_or(0.0, |row| row.rates()[1]);
    table.rows = candidate
        .approaches
        .iter()
        .map(|row| approach_row(row, first))
        .collect();
    table
}

fn approach_row(row: &ApproachResult, first: f64) -> Vec<String> {
    let all = row.total();
    let [low, middle, high] = row.rates();
    let whole = |rate: Option<f64>| rate.map_or_else(dash, |rate| format!("{rate:.0}"));
    let share =
        |count: usize| format!("{:.0} %", 100.0 * count as f64 / all.attempts.max(1) as f64);
    let pages = all.described.max(1) as f64;
    let range = match row.rounds.len() {
        0 | 1 => format!("{middle:.2}"),
        _ => format!("{middle:.2} ({low:.2}-{high:.2})"),
    };
    let mark = if row.error.is_some() {
        " (aborted)"
    } else {
        ""
    };
    vec![
        format!("{} {}{mark}", row.approach, row.batch),
        range,
        if first > 0.0 {
            format!("{:.2}", middle / first)
        } else {
            dash()
        },
        whole(all.tokens.map(|tokens| tokens as f64 / pages)),
        whole(all.prompt_rate()),
        whole(all.generation_rate()),
        Seconds(all.ttft.p50).to_string(),
        all.memory_change.map_or_else(dash, signed),
        all.peak
            .map_or_else(dash, |bytes| ByteSize(bytes).to_string()),
        match all.matched {
            (_, 0) => dash(),
            (right, judged) => format!("{right} of {judged}"),
        },
        share(all.truncated),
        share(all.repetitions),
        share(all.unusable),
        all.failed.to_string(),
    ]
}

fn model_table(benchmark: &RunnerBenchmark) -> Table {
    let header = [
        "candidate",
        "load",
        "simple",
        "VQA",
        "simple, no image",
        "VQA, no image",
        "same, sequential",
        "distance",
        "same, concurrent",
        "distance",
    ];
    let mut table = Table::new("Models", &header);
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    for candidate in &benchmark.candidates {
        let mut row = vec![candidate.name.clone()];
        row.push(
            candidate
                .load
                .map_or_else(dash, |load| Seconds(load).to_string()),
        );
        let answers = candidate.answers;
        row.extend(match answers {
            Some(a) => {
                let mark = if a.ignores_image() {
                    " (ignores the image)"
                } else {
                    ""
                };
                let blind = format!("{}{mark}", percent(a.vqa_without_image));
                [
                    percent(a.simple),
                    percent(a.vqa),
                    percent(a.simple_without_image),
                    blind,
                ]
            }
            None => [dash(), dash(), dash(), dash()],
        });
        row.extend(match candidate.consistency {
            Some(c) => [
                c.sequential,
                c.sequential_distance,
                c.concurrent,
                c.concurrent_distance,
            ]
            .map(percent),
            None => [dash(), dash(), dash(), dash()],
        });
        table.rows.push(row);
    }
    table
}

fn dash() -> String {
    "—".to_owned()
}

fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "+" };
    format!("{sign}{}", ByteSize(bytes.unsigned_abs()))
}

/// What is reported: a benchmark, and the answers of its candidates from the library.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The benchmark.
    #[serde(flatten)]
    pub benchmark: RunnerBenchmark,
    /// The answers of the candidates, where they were measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<AnswerEvaluation>,
}

impl Report {
    fn tables(&self) -> Vec<Table> {
        let mut tables = tables(&self.benchmark);
        tables.extend(self.answer_table());
        tables
    }

    /// The answers of all candidates.
    fn answer_table(&self) -> Option<Table> {
        let mut all = answer_table(self.answers.first()?);
        all.header.insert(0, "model".to_owned());
        all.rows.clear();
        for evaluation in &self.answers {
            for mut row in answer_table(evaluation).rows {
                row.insert(0, evaluation.model.clone());
                all.rows.push(row);
            }
        }
        Some(all)
    }
}

/// The report for the terminal.
pub fn text(report: &Report) -> String {
    table::text(&lines(&report.benchmark), &report.tables())
}

/// The report as Markdown.
pub fn markdown(report: &Report) -> String {
    markdown::document(TITLE, &lines(&report.benchmark), &report.tables())
}

/// The report as one HTML page with charts, and each page (JPEG) with the descriptions of all candidates.
///
/// # Errors
/// When a chart cannot be drawn.
pub fn html<'a>(
    report: &Report,
    pages: impl Iterator<Item = (String, &'a [u8])>,
) -> Result<String, ChartError> {
    let benchmark = &report.benchmark;
    let mut body = html::list(&lines(benchmark));
    body.push_str("<h2>Pages per second</h2>\n");
    body.push_str(&rate_chart(benchmark)?);
    body.push_str("<h2>Accuracy</h2>\n");
    body.push_str(&accuracy_chart(benchmark)?);
    for table in report.tables() {
        body.push_str(&html::table(&table));
    }
    body.push_str("<h2>Descriptions</h2>\n");
    for (page, jpeg) in pages {
        body.push_str(&page_section(benchmark, &page, jpeg));
    }
    Ok(html::document(TITLE, &body))
}

fn rate_chart(benchmark: &RunnerBenchmark) -> Result<String, ChartError> {
    let mut rows = Vec::new();
    for candidate in &benchmark.candidates {
        rows.extend(candidate.approaches.iter().map(|row| Bar {
            name: format!("{} {}, {}", row.approach, row.batch, candidate.name),
            range: row.rates(),
        }));
    }
    bars("pages per second", &rows, BLUE)
}

fn accuracy_chart(benchmark: &RunnerBenchmark) -> Result<String, ChartError> {
    let candidates = benchmark.candidates.iter();
    let rows: Vec<Bar> = candidates
        .map(|candidate| Bar {
            name: candidate.name.clone(),
            range: [candidate.accuracy() * 100.0; 3],
        })
        .collect();
    let label = match benchmark.questions {
        0 => "descriptions that match their page, %",
        _ => "VQA accuracy, %",
    };
    bars(label, &rows, GREEN)
}

/// A page image with the description of each candidate.
fn page_section(benchmark: &RunnerBenchmark, page: &str, jpeg: &[u8]) -> String {
    let image = BASE64_STANDARD.encode(jpeg);
    let mut list = String::new();
    for candidate in &benchmark.candidates {
        let text = candidate.outputs.iter().find(|text| text.page == page);
        let text = text.map_or("not described", |text| text.text.as_str());
        let name = html::escaped(&candidate.name);
        let text = html::escaped(text);
        list.push_str(&format!("<dt>{name}</dt><dd>{text}</dd>\n"));
    }
    let page = html::escaped(page);
    format!(
        "<h3>{page}</h3>\n<div class=\"pair\"><figure><img alt=\"{page}\" src=\"data:image/jpeg;base64,{image}\"></figure>\n<dl>\n{list}</dl></div>\n"
    )
}
