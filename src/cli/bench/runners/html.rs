//! The report as one HTML page: plots, tables, and each page beside what every candidate said of it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use plotters::style::RGBColor;

use crate::annotate::Trial;
use crate::measure::RunnerBenchmark;
use crate::diagnostic::Diagnostic;

use super::super::super::html::{Bar, bars, document, escaped, list, table};
use super::sheets::{REFERENCE, sheets, words};

const BLUE: RGBColor = RGBColor(0, 114, 178);
const GREEN: RGBColor = RGBColor(0, 158, 115);

/// The page.
pub(super) fn page(benchmark: &RunnerBenchmark, trial: &Trial) -> Result<String, Diagnostic> {
    let failed = |e: String| Diagnostic::plain(format!("the plots cannot be drawn: {e}"));
    let mut body = list(&words(benchmark));
    body.push_str("<h2>Pages per second</h2>\n");
    body.push_str(&rates(benchmark).map_err(failed)?);
    body.push_str("<h2>Accuracy</h2>\n");
    body.push_str(&accuracy(benchmark).map_err(failed)?);
    for sheet in sheets(benchmark) {
        body.push_str(&table(&sheet.title, &sheet.header, &sheet.rows));
    }
    body.push_str("<h2>What was said</h2>\n");
    for (id, _, jpeg) in trial.pages() {
        body.push_str(&beside(benchmark, &id.to_string(), jpeg));
    }
    Ok(document("Runners that describe pages", &body))
}

fn rates(benchmark: &RunnerBenchmark) -> Result<String, String> {
    let mut rows = Vec::new();
    for candidate in &benchmark.candidates {
        rows.extend(candidate.rows.iter().map(|row| Bar {
            name: format!("{} {}, {}", row.approach, row.batch, candidate.name),
            range: row.rates(),
        }));
    }
    bars("pages per second", &rows, &REFERENCE, BLUE)
}

fn accuracy(benchmark: &RunnerBenchmark) -> Result<String, String> {
    let rows: Vec<Bar> = benchmark
        .candidates
        .iter()
        .map(|candidate| Bar {
            name: candidate.name.clone(),
            range: [candidate.accuracy() * 100.0; 3],
        })
        .collect();
    let about = match benchmark.questions {
        0 => "pages with a description that fits, %",
        _ => "VQA accuracy, %",
    };
    bars(about, &rows, &[], GREEN)
}

/// A page, and what each candidate said of it.
fn beside(benchmark: &RunnerBenchmark, page: &str, jpeg: &[u8]) -> String {
    let picture = BASE64_STANDARD.encode(jpeg);
    let mut said = String::new();
    for candidate in &benchmark.candidates {
        let words = candidate.said.iter().find(|one| one.page == page);
        let words = words.map_or("not asked", |one| one.said.as_str());
        let name = escaped(&candidate.name);
        said.push_str(&format!("<dt>{name}</dt><dd>{}</dd>\n", escaped(words)));
    }
    let page = escaped(page);
    format!(
        "<h3>{page}</h3>\n<div class=\"pair\"><figure><img alt=\"{page}\" src=\"data:image/jpeg;base64,{picture}\"></figure>\n<dl>\n{said}</dl></div>\n"
    )
}
