//! The report as tables: once for the terminal, once as Markdown, once for the HTML page.

use crate::measure::{Benchmark, Point, Run, Runs};
use crate::pipeline::Stage;
use crate::units::{ByteSize, Seconds};

use super::reference;
use super::sheet::{self, Sheet};

/// Everything a report says in words, but for its tables.
pub(super) fn words(benchmark: &Benchmark) -> Vec<String> {
    let mut lines = vec![
        format!("ingest {} on {}", benchmark.version, benchmark.machine),
        format!(
            "warm-up: {}; opening the model is not part of pages/s",
            benchmark.warm_up
        ),
    ];
    if let Some((best, run)) = benchmark
        .best()
        .and_then(|best| Some((best, best.total.middle()?)))
    {
        let setup = &best.setup;
        lines.push(format!(
            "model {} on {}, batches of {}, render workers: {}, store {}; model opened in {}",
            setup.model,
            setup.device,
            setup.batch_size,
            setup.workers,
            setup.store,
            Seconds(run.load)
        ));
        lines.extend(reference::verdicts(
            best.total.rates()[1],
            run.peak_memory + run.peak_device_memory.unwrap_or(0),
            run.failed,
            run.pages,
        ));
    }
    lines
}

/// The tables of a report: the sweep, if it was one, and the best point by manual.
pub(super) fn sheets(benchmark: &Benchmark) -> Vec<Sheet> {
    let mut all = Vec::new();
    if benchmark.points.len() > 1 {
        all.push(sweep(&benchmark.points));
    }
    if let Some(best) = benchmark.best() {
        all.push(rates(best));
        all.push(details(best));
    }
    all
}

fn sweep(points: &[Point]) -> Sheet {
    let header = [
        "model",
        "device",
        "store",
        "batch",
        "workers",
        "pages/s",
        "peak memory",
    ];
    let mut sheet = Sheet::new("Settings", &header);
    for point in points {
        let setup = &point.setup;
        let peak = point
            .total
            .runs
            .iter()
            .map(|run| run.peak_memory)
            .max()
            .unwrap_or(0);
        sheet.rows.push(vec![
            setup.model.clone(),
            setup.device.clone(),
            setup.store.clone(),
            setup.batch_size.to_string(),
            setup.workers.to_string(),
            rate(&point.total),
            ByteSize(peak).to_string(),
        ]);
    }
    sheet
}

fn all_runs(point: &Point) -> impl Iterator<Item = (&Runs, &Run)> {
    let all = point.manuals.iter().chain([&point.total]);
    all.filter_map(|runs| Some((runs, runs.middle()?)))
}

fn rates(point: &Point) -> Sheet {
    let mut header = vec!["manual", "pages", "pages/s"];
    header.extend(Stage::ALL.map(Stage::name));
    header.push("model waited");
    let mut sheet = Sheet::new("Throughput", &header);
    for (runs, run) in all_runs(point) {
        let mut row = vec![runs.manual.clone(), run.pages.to_string(), rate(runs)];
        row.extend(Stage::ALL.map(|stage| {
            let stage = run.stages.get(stage.name()).copied().unwrap_or_default();
            format!("{} ({:.0} %)", Seconds(stage.seconds), stage.share * 100.0)
        }));
        let model = run
            .stages
            .get(Stage::Embed.name())
            .map_or(0.0, |stage| stage.seconds);
        let share = run.model_waited / (run.model_waited + model).max(f64::MIN_POSITIVE);
        row.push(format!("{:.0} %", share * 100.0));
        sheet.rows.push(row);
    }
    sheet
}

fn details(point: &Point) -> Sheet {
    let header = [
        "manual",
        "batch p50",
        "batch p95",
        "page p50",
        "page p95",
        "largest batch",
        "padding",
        "peak memory",
        "device memory",
        "of MLX, most",
        "failed",
    ];
    let mut sheet = Sheet::new("The model's batches, and memory", &header);
    for (runs, run) in all_runs(point) {
        let seconds = [run.batch.p50, run.batch.p95, run.page.p50, run.page.p95];
        let mut row = vec![runs.manual.clone()];
        row.extend(seconds.map(|s| Seconds(s).to_string()));
        row.extend([
            run.largest_batch.to_string(),
            format!("{:.0} %", run.padding * 100.0),
            ByteSize(run.peak_memory).to_string(),
            run.peak_device_memory
                .map_or("-".to_owned(), |bytes| ByteSize(bytes).to_string()),
            run.mlx
                .map_or("-".to_owned(), |mlx| ByteSize(mlx.peak).to_string()),
            run.failed.to_string(),
        ]);
        sheet.rows.push(row);
    }
    sheet
}

/// The middle rate, and the range where there is one.
fn rate(runs: &Runs) -> String {
    match (runs.rates(), runs.runs.len()) {
        ([_, middle, _], 0 | 1) => format!("{middle:.2}"),
        ([low, middle, high], _) => format!("{middle:.2} ({low:.2}-{high:.2})"),
    }
}

/// The report for the terminal.
pub(super) fn text(benchmark: &Benchmark) -> String {
    sheet::text(&words(benchmark), &sheets(benchmark))
}

/// The report as Markdown.
pub(super) fn markdown(benchmark: &Benchmark) -> String {
    sheet::markdown(
        "Throughput of `ingest`",
        &words(benchmark),
        &sheets(benchmark),
    )
}
