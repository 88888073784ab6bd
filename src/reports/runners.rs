//! The report of a benchmark of runners that describe pages.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::measure::{ApproachResult, Candidate, Grade, RunnerBenchmark};
use crate::units::{ByteSize, Seconds};

use super::chart::{BLUE, Bar, GREEN, bars};
use super::table::{self, Table};
use super::{ChartError, html, markdown};

/// The title of the report.
const TITLE: &str = "Runners that describe pages";

/// The lines above the tables.
fn lines(benchmark: &RunnerBenchmark) -> Vec<String> {
    let mut lines = vec![
        format!("ingest {} on {}", benchmark.version, benchmark.machine),
        format!(
            "{} pages at {} megapixels, {} questions; a page before each way of asking is not counted, nor is loading",
            benchmark.pages, benchmark.megapixels, benchmark.questions
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
                "{}: {} {} is its best way; all {} pages that are stored would take {}",
                candidate.name,
                best.approach,
                best.batch,
                benchmark.library,
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

/// The tables: ways of asking, and models.
fn tables(benchmark: &RunnerBenchmark) -> Vec<Table> {
    let mut all: Vec<Table> = benchmark.candidates.iter().map(ways).collect();
    all.push(models(benchmark));
    all
}

fn ways(candidate: &Candidate) -> Table {
    let header = [
        "asked",
        "pages/s",
        "x first",
        "tokens/page",
        "prompt tok/s",
        "tok/s",
        "first word",
        "memory",
        "peak",
        "fits",
        "cut",
        "circles",
        "unread",
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
        .map(|row| way(row, first))
        .collect();
    table
}

fn way(row: &ApproachResult, first: f64) -> Vec<String> {
    let all = row.total();
    let [low, middle, high] = row.rates();
    let whole = |rate: Option<f64>| rate.map_or_else(none, |rate| format!("{rate:.0}"));
    let share =
        |count: usize| format!("{:.0} %", 100.0 * count as f64 / all.attempts.max(1) as f64);
    let pages = all.described.max(1) as f64;
    let range = match row.rounds.len() {
        0 | 1 => format!("{middle:.2}"),
        _ => format!("{middle:.2} ({low:.2}-{high:.2})"),
    };
    let mark = if row.error.is_some() {
        " (broke off)"
    } else {
        ""
    };
    vec![
        format!("{} {}{mark}", row.approach, row.batch),
        range,
        if first > 0.0 {
            format!("{:.2}", middle / first)
        } else {
            none()
        },
        whole(all.tokens.map(|tokens| tokens as f64 / pages)),
        whole(all.prompt_rate()),
        whole(all.generation_rate()),
        Seconds(all.ttft.p50).to_string(),
        all.memory_change.map_or_else(none, signed),
        all.peak
            .map_or_else(none, |bytes| ByteSize(bytes).to_string()),
        match all.matched {
            (_, 0) => none(),
            (right, judged) => format!("{right} of {judged}"),
        },
        share(all.truncated),
        share(all.repetitions),
        share(all.unusable),
        all.failed.to_string(),
    ]
}

fn models(benchmark: &RunnerBenchmark) -> Table {
    let header = [
        "candidate",
        "load",
        "simple",
        "VQA",
        "simple, no picture",
        "VQA, no picture",
        "same alone",
        "apart",
        "same beside",
        "apart",
    ];
    let mut table = Table::new("Models", &header);
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    for candidate in &benchmark.candidates {
        let mut row = vec![candidate.name.clone()];
        row.push(
            candidate
                .load
                .map_or_else(none, |load| Seconds(load).to_string()),
        );
        let answers = candidate.answers;
        row.extend(match answers {
            Some(a) => {
                let mark = if a.ignores_image() {
                    " (does not look)"
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
            None => [none(), none(), none(), none()],
        });
        row.extend(match candidate.consistency {
            Some(c) => [
                c.sequential,
                c.sequential_distance,
                c.concurrent,
                c.concurrent_distance,
            ]
            .map(percent),
            None => [none(), none(), none(), none()],
        });
        table.rows.push(row);
    }
    table
}

fn none() -> String {
    "—".to_owned()
}

fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "+" };
    format!("{sign}{}", ByteSize(bytes.unsigned_abs()))
}

/// The report for the terminal.
pub fn text(benchmark: &RunnerBenchmark) -> String {
    table::text(&lines(benchmark), &tables(benchmark))
}

/// The report as Markdown.
pub fn markdown(benchmark: &RunnerBenchmark) -> String {
    markdown::document(TITLE, &lines(benchmark), &tables(benchmark))
}

/// The report as one HTML page with charts, and each page, a JPEG, beside what every candidate said of it.
///
/// # Errors
/// When a chart cannot be drawn.
pub fn html<'a>(
    benchmark: &RunnerBenchmark,
    pages: impl Iterator<Item = (String, &'a [u8])>,
) -> Result<String, ChartError> {
    let mut body = html::list(&lines(benchmark));
    body.push_str("<h2>Pages per second</h2>\n");
    body.push_str(&rate_chart(benchmark)?);
    body.push_str("<h2>Accuracy</h2>\n");
    body.push_str(&accuracy_chart(benchmark)?);
    for table in tables(benchmark) {
        body.push_str(&html::table(&table));
    }
    body.push_str("<h2>What was said</h2>\n");
    for (page, jpeg) in pages {
        body.push_str(&beside(benchmark, &page, jpeg));
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
    let about = match benchmark.questions {
        0 => "pages with a description that fits, %",
        _ => "VQA accuracy, %",
    };
    bars(about, &rows, GREEN)
}

/// A page, and what each candidate said of it.
fn beside(benchmark: &RunnerBenchmark, page: &str, jpeg: &[u8]) -> String {
    let picture = BASE64_STANDARD.encode(jpeg);
    let mut said = String::new();
    for candidate in &benchmark.candidates {
        let words = candidate.outputs.iter().find(|one| one.page == page);
        let words = words.map_or("not asked", |one| one.text.as_str());
        let name = html::escaped(&candidate.name);
        let words = html::escaped(words);
        said.push_str(&format!("<dt>{name}</dt><dd>{words}</dd>\n"));
    }
    let page = html::escaped(page);
    format!(
        "<h3>{page}</h3>\n<div class=\"pair\"><figure><img alt=\"{page}\" src=\"data:image/jpeg;base64,{picture}\"></figure>\n<dl>\n{said}</dl></div>\n"
    )
}
