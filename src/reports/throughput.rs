//! Report of `ingest bench`: indexing throughput, stage times, memory.

use crate::measure::{Benchmark, Point, Run, Runs};
use crate::pipeline::Stage;
use crate::units::{ByteSize, Seconds};

use super::chart::{BLUE, Bar, bars, shares};
use super::table::{self, Table};
use super::{ChartError, html, markdown};

/// The lines above the tables.
fn lines(benchmark: &Benchmark) -> Vec<String> {
    let mut lines = vec![
        format!("ingest {} on {}", benchmark.version, benchmark.machine),
        format!(
            "warm-up: {}; pages/s excludes loading the model",
            benchmark.warm_up
        ),
    ];
    if let Some((best, run)) = benchmark
        .best()
        .and_then(|best| Some((best, best.total.median()?)))
    {
        let setup = &best.setup;
        lines.push(format!(
            "model {} on {}, batch size {}, {} render workers, store {}; model loaded in {}",
            setup.model,
            setup.device,
            setup.batch_size,
            setup.workers,
            setup.store,
            Seconds(run.load)
        ));
    }
    lines
}

/// The tables: all points of a sweep, and the best point by manual.
fn tables(benchmark: &Benchmark) -> Vec<Table> {
    let mut all = Vec::new();
    if benchmark.points.len() > 1 {
        all.push(sweep_table(&benchmark.points));
    }
    if let Some(best) = benchmark.best() {
        all.push(rate_table(best));
        all.push(detail_table(best));
    }
    all
}

fn sweep_table(points: &[Point]) -> Table {
    let header = [
        "model",
        "device",
        "store",
        "batch",
        "workers",
        "pages/s",
        "peak memory",
    ];
    let mut table = Table::new("Settings", &header);
    for point in points {
        let setup = &point.setup;
        let peak = point
            .total
            .runs
            .iter()
            .map(|run| run.peak_memory)
            .max()
            .unwrap_or(0);
        table.rows.push(vec![
            setup.model.clone(),
            setup.device.clone(),
            setup.store.clone(),
            setup.batch_size.to_string(),
            setup.workers.to_string(),
            rate(&point.total),
            ByteSize(peak).to_string(),
        ]);
    }
    table
}

fn all_runs(point: &Point) -> impl Iterator<Item = (&Runs, &Run)> {
    let all = point.manuals.iter().chain([&point.total]);
    all.filter_map(|runs| Some((runs, runs.median()?)))
}

fn rate_table(point: &Point) -> Table {
    let mut header = vec!["manual", "pages", "pages/s"];
    header.extend(Stage::ALL.map(Stage::name));
    header.push("model idle");
    let mut table = Table::new("Throughput", &header);
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
        table.rows.push(row);
    }
    table
}

fn detail_table(point: &Point) -> Table {
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
        "MLX peak",
        "failed",
    ];
    let mut table = Table::new("Batches and memory", &header);
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
        table.rows.push(row);
    }
    table
}

/// The median rate, with the range of several runs.
fn rate(runs: &Runs) -> String {
    match (runs.rates(), runs.runs.len()) {
        ([_, middle, _], 0 | 1) => format!("{middle:.2}"),
        ([low, middle, high], _) => format!("{middle:.2} ({low:.2}-{high:.2})"),
    }
}

/// The report for the terminal.
pub fn text(benchmark: &Benchmark) -> String {
    table::text(&lines(benchmark), &tables(benchmark))
}

/// The report as Markdown.
pub fn markdown(benchmark: &Benchmark) -> String {
    let title = "Throughput of `ingest`";
    markdown::document(title, &lines(benchmark), &tables(benchmark))
}

/// The report as one HTML page with charts.
///
/// # Errors
/// When a chart cannot be drawn.
pub fn html(benchmark: &Benchmark) -> Result<String, ChartError> {
    let mut body = html::list(&lines(benchmark));
    if let Some(best) = benchmark.best() {
        body.push_str("<h2>Pages per second</h2>\n");
        body.push_str(&rate_chart(best)?);
        body.push_str("<h2>Time by stage</h2>\n");
        body.push_str(&share_chart(best)?);
    }
    for table in tables(benchmark) {
        body.push_str(&html::table(&table));
    }
    Ok(html::document("Throughput of ingest", &body))
}

/// The median rate of each manual, with its range.
fn rate_chart(point: &Point) -> Result<String, ChartError> {
    let rows = point.manuals.iter().chain([&point.total]);
    let rows: Vec<Bar> = rows
        .map(|runs| Bar {
            name: runs.manual.clone(),
            range: runs.rates(),
        })
        .collect();
    bars("pages per second", &rows, BLUE)
}

/// The share of each stage in the time of all stages, by manual.
fn share_chart(point: &Point) -> Result<String, ChartError> {
    let rows: Vec<&Runs> = point.manuals.iter().chain([&point.total]).collect();
    let names: Vec<&str> = rows.iter().map(|runs| runs.manual.as_str()).collect();
    let share = |runs: &Runs, stage: Stage| {
        let run = runs.median();
        let stage = run.and_then(|run| run.stages.get(stage.name()));
        stage.map_or(0.0, |stage| stage.share * 100.0)
    };
    let series = Stage::ALL.map(|stage| {
        let shares = rows.iter().map(|runs| share(runs, stage)).collect();
        (stage.name(), shares)
    });
    shares("share of the time of all stages, %", &names, &series)
}
