//! Charts as SVG elements (plotters): horizontal bars with ranges, and stacked bars.

use std::error::Error;

use plotters::coord::Shift;
use plotters::coord::ranged1d::SegmentedCoord;
use plotters::coord::types::{RangedCoordf64, RangedCoordusize};
use plotters::prelude::*;

use super::ChartError;

/// Colours that are distinct with any colour vision (Okabe & Ito).
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(super) const GREEN: RGBColor = RGBColor(0, 158, 115);
/// Colours of the series of a chart.
const SERIES: [RGBColor; 4] = [RGBColor(86, 180, 233), RGBColor(230, 159, 0), BLUE, GREEN];
/// Width of a chart, and height of a row, in pixels.
const WIDTH: u32 = 900;
const ROW: u32 = 34;
/// Rows above the bars that a legend needs.
const LEGEND: usize = 2;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, SegmentedCoord<RangedCoordusize>>>;

/// A bar: its name, and the low, middle and high value.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) range: [f64; 3],
}

/// Draws a bar for each middle value, with its range.
pub(super) fn bars(x_label: &str, bars: &[Bar], colour: RGBColor) -> Result<String, ChartError> {
    let max = bars.iter().map(|bar| bar.range[2]).fold(0.1, f64::max);
    let names: Vec<&str> = bars.iter().map(|bar| bar.name.as_str()).collect();
    draw_svg(bars.len(), |area| {
        let mut chart = row_chart(area, x_label, max * 1.08, &names, bars.len())?;
        for (row, bar) in bars.iter().enumerate() {
            let [low, middle, high] = bar.range;
            let centre = SegmentValue::CenterOf(row);
            chart.draw_series([bar_rectangle(row, 0.0, middle, colour.mix(0.8).filled())])?;
            let range = vec![(low, centre.clone()), (high, centre)];
            chart.draw_series([PathElement::new(range, BLACK.stroke_width(2))])?;
        }
        Ok(())
    })
}

/// Draws a stacked bar for each name from the shares of each series in per cent, with a legend.
pub(super) fn shares(
    x_label: &str,
    names: &[&str],
    series: &[(&'static str, Vec<f64>)],
) -> Result<String, ChartError> {
    let all = names.len() + LEGEND;
    draw_svg(all, |area| {
        let mut chart = row_chart(area, x_label, 100.0, names, all)?;
        let mut ends = vec![0.0; names.len()];
        for ((name, shares), colour) in series.iter().zip(SERIES) {
            let blocks = shares.iter().enumerate().map(|(row, share)| {
                let start = ends[row];
                ends[row] += share;
                bar_rectangle(row, start, ends[row], colour.filled())
            });
            chart
                .draw_series(blocks)?
                .label(*name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled())
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .draw()?;
        Ok(())
    })
}

/// Draws into an SVG element with a height for `rows` rows.
fn draw_svg(
    rows: usize,
    draw: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<String, ChartError> {
    let mut svg = String::new();
    let fill = |svg: &mut String| -> Result<(), Box<dyn Error>> {
        let height = ROW * rows as u32 + 80;
        let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
        Ok(())
    };
    fill(&mut svg).map_err(|e| ChartError(e.to_string()))?;
    // An XML declaration is not allowed inside an HTML page.
    Ok(svg
        .split_once("<svg")
        .map(|(_, rest)| format!("<svg{rest}\n"))
        .unwrap_or(svg))
}

/// Returns an empty chart with rows, the first ones named, and an x axis from 0.
fn row_chart<'a, 'b>(
    area: &'a Area<'b>,
    x_label: &str,
    max: f64,
    names: &[&str],
    rows: usize,
) -> Result<Chart<'a, 'b>, Box<dyn Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        // The label of the last tick is centred on the end of the axis.
        .margin_right(30)
        .x_label_area_size(40)
        .y_label_area_size(260)
        .build_cartesian_2d(0.0..max, (0..rows).into_segmented())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_max_light_lines(0)
        .x_desc(x_label)
        .y_labels(rows)
        .y_label_formatter(&|row| row_name(row, names))
        .draw()?;
    Ok(chart)
}

/// A rectangle in a row, with a margin above and below.
fn bar_rectangle(
    row: usize,
    start: f64,
    end: f64,
    style: ShapeStyle,
) -> Rectangle<(f64, SegmentValue<usize>)> {
    let corners = [
        (start, SegmentValue::Exact(row)),
        (end, SegmentValue::Exact(row + 1)),
    ];
    let mut rectangle = Rectangle::new(corners, style);
    rectangle.set_margin(5, 5, 0, 0);
    rectangle
}

/// The name of a row.
fn row_name(row: &SegmentValue<usize>, names: &[&str]) -> String {
    match row {
        SegmentValue::CenterOf(row) => names
            .get(*row)
            .map(|name| truncated(name))
            .unwrap_or_default(),
        _ => String::new(),
    }
}

/// Truncates a name to the width of the label area.
fn truncated(name: &str) -> String {
    match name.chars().count() {
        0..=34 => name.to_owned(),
        _ => format!("{}…", name.chars().take(33).collect::<String>()),
    }
}
