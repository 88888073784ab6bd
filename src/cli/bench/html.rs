//! The report as one HTML page: tables and plots, nothing fetched from anywhere.

use plotters::prelude::*;

use crate::measure::{Benchmark, Point};
use crate::pipeline::Stage;
use crate::report::Report;

use super::reference;
use super::sheets::{sheets, words};

/// Looks right in light and dark.
const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #8886; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; background: #fff; border-radius: .5rem; margin: .5rem 0 1.5rem; }
";
/// The colours of the four stages.
const COLOURS: [RGBColor; 4] = [
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
];
/// Pixels from left to right; a row is so high.
const WIDTH: u32 = 900;
const ROW: u32 = 34;
/// Rows above the bars that the names of the stages need.
const LEGEND: usize = 2;

/// The page.
pub(super) fn page(benchmark: &Benchmark) -> Result<String, Report> {
    let mut body = String::from("<h1>Throughput of ingest</h1>\n<ul>\n");
    for line in words(benchmark) {
        body.push_str(&format!("<li>{}</li>\n", escaped(&line)));
    }
    body.push_str("</ul>\n");
    let failed = |e: String| Report::plain(format!("the plots cannot be drawn: {e}"));
    if let Some(best) = benchmark.best() {
        body.push_str("<h2>Pages per second</h2>\n");
        body.push_str(&rates(best).map_err(failed)?);
        body.push_str("<h2>Where the time goes</h2>\n");
        body.push_str(&shares(best).map_err(failed)?);
    }
    for sheet in sheets(benchmark) {
        let row = |cells: &[String], tag: &str| {
            let cells: String = cells
                .iter()
                .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)))
                .collect();
            format!("<tr>{cells}</tr>\n")
        };
        let rows: String = sheet.rows.iter().map(|cells| row(cells, "td")).collect();
        body.push_str(&format!(
            "<h2>{}</h2>\n<table>\n{}{rows}</table>\n",
            escaped(&sheet.title),
            row(&sheet.header, "th")
        ));
    }
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>Throughput of ingest</title>\n<style>{STYLE}</style>\n<body>\n{body}</body>\n</html>\n"
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Draws into an SVG element with a row for each of some bars.
fn drawn(
    rows: usize,
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<(), String>,
) -> Result<String, String> {
    let mut svg = String::new();
    {
        let height = ROW * rows as u32 + 80;
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).map_err(|e| e.to_string())?;
        draw(&area)?;
        area.present().map_err(|e| e.to_string())?;
    }
    // The XML head belongs to files, not into a page.
    Ok(svg
        .split_once("<svg")
        .map(|(_, rest)| format!("<svg{rest}\n"))
        .unwrap_or(svg))
}

/// The middle rate of each manual, its range, and the reference rates as lines.
fn rates(point: &Point) -> Result<String, String> {
    let rows: Vec<_> = point.manuals.iter().chain([&point.total]).collect();
    let names: Vec<String> = rows.iter().map(|runs| runs.manual.clone()).collect();
    let most = rows
        .iter()
        .map(|runs| runs.rates()[2])
        .chain(reference::lines().map(|(_, rate)| rate))
        .fold(0.1, f64::max);
    drawn(rows.len(), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(260)
            .build_cartesian_2d(0.0..most * 1.08, (0..rows.len()).into_segmented())
            .map_err(|e| e.to_string())?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .x_max_light_lines(0)
            .x_desc("pages per second")
            .y_labels(rows.len())
            .y_label_formatter(&|at| label(at, &names))
            .draw()
            .map_err(|e| e.to_string())?;
        for (row, runs) in rows.iter().enumerate() {
            let [low, middle, high] = runs.rates();
            let (from, to, centre) = (
                SegmentValue::Exact(row),
                SegmentValue::Exact(row + 1),
                SegmentValue::CenterOf(row),
            );
            let mut bar = Rectangle::new([(0.0, from), (middle, to)], COLOURS[2].mix(0.8).filled());
            bar.set_margin(5, 5, 0, 0);
            let range = PathElement::new(
                vec![(low, centre.clone()), (high, centre)],
                BLACK.stroke_width(2),
            );
            chart.draw_series([bar]).map_err(|e| e.to_string())?;
            chart.draw_series([range]).map_err(|e| e.to_string())?;
        }
        for (name, rate) in reference::lines() {
            let ends = vec![
                (rate, SegmentValue::Exact(0)),
                (rate, SegmentValue::Exact(rows.len())),
            ];
            chart
                .draw_series([PathElement::new(ends, RED.mix(0.7).stroke_width(1))])
                .map_err(|e| e.to_string())?;
            let at = (rate, SegmentValue::CenterOf(rows.len()));
            chart
                .draw_series([Text::new(
                    name,
                    at,
                    ("sans-serif", 12).into_font().color(&RED),
                )])
                .map_err(|e| e.to_string())?;
        }
        Ok(())
    })
}

/// The share of each stage in the work on each manual.
fn shares(point: &Point) -> Result<String, String> {
    let rows: Vec<_> = point.manuals.iter().chain([&point.total]).collect();
    let names: Vec<String> = rows.iter().map(|runs| runs.manual.clone()).collect();
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

fn label(at: &SegmentValue<usize>, names: &[String]) -> String {
    match at {
        SegmentValue::CenterOf(row) => names
            .get(*row)
            .map(|name| shortened(name))
            .unwrap_or_default(),
        _ => String::new(),
    }
}

/// A name that fits beside its bar.
fn shortened(name: &str) -> String {
    match name.chars().count() {
        0..=34 => name.to_owned(),
        _ => format!("{}…", name.chars().take(33).collect::<String>()),
    }
}
