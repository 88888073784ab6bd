//! The report as one HTML page: tables and plots.

use plotters::prelude::*;

use crate::measure::{Benchmark, Point};
use crate::pipeline::Stage;
use crate::report::Report;

use super::super::html::{Bar, bars, document, drawn, label, list, table};
use super::reference;
use super::sheets::{sheets, words};

/// The colours of the four stages.
const COLOURS: [RGBColor; 4] = [
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
];
/// Rows above the bars that the names of the stages need.
const LEGEND: usize = 2;

/// The page.
pub(super) fn page(benchmark: &Benchmark) -> Result<String, Report> {
    let mut body = list(&words(benchmark));
    let failed = |e: String| Report::plain(format!("the plots cannot be drawn: {e}"));
    if let Some(best) = benchmark.best() {
        body.push_str("<h2>Pages per second</h2>\n");
        body.push_str(&rates(best).map_err(failed)?);
        body.push_str("<h2>Where the time goes</h2>\n");
        body.push_str(&shares(best).map_err(failed)?);
    }
    for sheet in sheets(benchmark) {
        body.push_str(&table(&sheet.title, &sheet.header, &sheet.rows));
    }
    Ok(document("Throughput of ingest", &body))
}

/// The middle rate of each manual, its range, and the reference rates as lines.
fn rates(point: &Point) -> Result<String, String> {
    let rows = point.manuals.iter().chain([&point.total]);
    let rows: Vec<Bar> = rows
        .map(|runs| Bar {
            name: runs.manual.clone(),
            range: runs.rates(),
        })
        .collect();
    bars("pages per second", &rows, &reference::lines(), COLOURS[2])
}

/// The share of each stage in the work on each manual.
fn shares(point: &Point) -> Result<String, String> {
    let rows: Vec<_> = point.manuals.iter().chain([&point.total]).collect();
    let names: Vec<&str> = rows.iter().map(|runs| runs.manual.as_str()).collect();
    drawn(rows.len() + LEGEND, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(260)
            .build_cartesian_2d(0.0..100.0, (0..rows.len() + LEGEND).into_segmented())
            .map_err(|e| e.to_string())?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .x_max_light_lines(0)
            .x_desc("share of the working time, %")
            .y_labels(rows.len() + LEGEND)
            .y_label_formatter(&|at| label(at, &names))
            .draw()
            .map_err(|e| e.to_string())?;
        let mut reached = vec![0.0; rows.len()];
        for (stage, colour) in Stage::ALL.into_iter().zip(COLOURS) {
            let bars = rows.iter().enumerate().map(|(row, runs)| {
                let share = runs
                    .middle()
                    .and_then(|run| run.stages.get(stage.name()))
                    .map_or(0.0, |s| s.share * 100.0);
                let from = reached[row];
                reached[row] += share;
                let corners = [
                    (from, SegmentValue::Exact(row)),
                    (from + share, SegmentValue::Exact(row + 1)),
                ];
                let mut bar = Rectangle::new(corners, colour.filled());
                bar.set_margin(5, 5, 0, 0);
                bar
            });
            chart
                .draw_series(bars)
                .map_err(|e| e.to_string())?
                .label(stage.name())
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled())
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .draw()
            .map_err(|e| e.to_string())
    })
}
