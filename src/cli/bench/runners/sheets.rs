//! The report as lines and tables.

use crate::measure::{Candidate, Grade, Row, RunnerBenchmark};
use crate::units::{ByteSize, Seconds};

use super::super::sheet::{self, Sheet};

/// What the Python version was measured at, on a Mac with MLX and with Ollama: pages a second.
pub(super) const REFERENCE: [(&str, f64); 2] = [
    ("Ollama, Python", 0.125),
    ("4 interleaved on MLX, Python", 0.59),
];

/// Everything a report says in words.
pub(super) fn words(benchmark: &RunnerBenchmark) -> Vec<String> {
    let mut lines = vec![
        format!("ingest {} on {}", benchmark.version, benchmark.machine),
        format!(
            "{} pages at {} megapixels, {} questions; a page before each way of asking is not counted, nor is loading",
            benchmark.pages, benchmark.megapixels, benchmark.questions
        ),
        "the Python version, on a Mac: 4 interleaved on MLX 0.59 pages/s, Ollama 0.125 (4.7x); 55 tokens/s at 3 pictures, \
         38 at 8, 7 at 20; Qwen2.5-VL-7B-4bit 94 tokens/s. Other machines are no match of it"
            .to_owned(),
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
pub(super) fn sheets(benchmark: &RunnerBenchmark) -> Vec<Sheet> {
    let mut all: Vec<Sheet> = benchmark.candidates.iter().map(ways).collect();
    all.push(models(benchmark));
    all
}

fn ways(candidate: &Candidate) -> Sheet {
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
    let mut sheet = Sheet::new(&candidate.name, &header);
    let first = candidate.rows.first().map_or(0.0, |row| row.rates()[1]);
    sheet.rows = candidate.rows.iter().map(|row| way(row, first)).collect();
    sheet
}

fn way(row: &Row, first: f64) -> Vec<String> {
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
        whole(all.speech_rate()),
        Seconds(all.first.p50).to_string(),
        all.memory_change.map_or_else(none, signed),
        all.peak
            .map_or_else(none, |bytes| ByteSize(bytes).to_string()),
        match all.mapped {
            (_, 0) => none(),
            (right, judged) => format!("{right} of {judged}"),
        },
        share(all.truncated),
        share(all.loops),
        share(all.unread),
        all.failed.to_string(),
    ]
}

fn models(benchmark: &RunnerBenchmark) -> Sheet {
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
    let mut sheet = Sheet::new("Models", &header);
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
                let mark = if a.is_blind() { " (does not look)" } else { "" };
                let blind = format!("{}{mark}", percent(a.blind_vqa));
                [
                    percent(a.simple),
                    percent(a.vqa),
                    percent(a.blind_simple),
                    blind,
                ]
            }
            None => [none(), none(), none(), none()],
        });
        row.extend(match candidate.consistency {
            Some(c) => [c.alone, c.alone_distance, c.beside, c.beside_distance].map(percent),
            None => [none(), none(), none(), none()],
        });
        sheet.rows.push(row);
    }
    sheet
}

fn none() -> String {
    "—".to_owned()
}

fn signed(bytes: i64) -> String {
    let sign = if bytes < 0 { "-" } else { "+" };
    format!("{sign}{}", ByteSize(bytes.unsigned_abs()))
}

/// The report for the terminal.
pub(super) fn text(benchmark: &RunnerBenchmark) -> String {
    sheet::text(&words(benchmark), &sheets(benchmark))
}

/// The report as Markdown.
pub(super) fn markdown(benchmark: &RunnerBenchmark) -> String {
    let title = "Runners that describe pages";
    sheet::markdown(title, &words(benchmark), &sheets(benchmark))
}
