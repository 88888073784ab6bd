//! Reports as one HTML page: tables and plots, nothing fetched from anywhere.

use plotters::coord::Shift;
use plotters::prelude::*;

/// Looks right in light and dark.
const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #8886; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; background: #fff; border-radius: .5rem; margin: .5rem 0 1.5rem; }
.pair { display: flex; gap: 1rem; flex-wrap: wrap; margin-bottom: 2rem; }
dl { flex: 1; min-width: 20rem; } dt { font-weight: 600; } dd { margin: 0 0 .75rem; }
figure { margin: 0; } figure img { height: 20rem; border: 1px solid #8886; background: #fff; }
";
/// Pixels from left to right; a row is so high.
const WIDTH: u32 = 900;
const ROW: u32 = 34;

/// A whole page around a body.
pub(super) fn document(title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

/// A list of lines.
pub(super) fn list(lines: &[String]) -> String {
    let items: String = lines
        .iter()
        .map(|line| format!("<li>{}</li>\n", escaped(line)))
        .collect();
    format!("<ul>\n{items}</ul>\n")
}

/// A table under its title.
pub(super) fn table(title: &str, header: &[String], rows: &[Vec<String>]) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells: String = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = rows.iter().map(|cells| row(cells, "td")).collect();
    let (title, header) = (escaped(title), row(header, "th"));
    format!("<h2>{title}</h2>\n<table>\n{header}{rows}</table>\n")
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Draws into an SVG element with a row for each of some bars.
pub(super) fn drawn(
    rows: usize,
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), String>,
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

/// A bar: its name, and the lower end, the middle and the upper end of what it shows.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) range: [f64; 3],
}

/// Horizontal bars with their ranges, and lines across them at some values.
pub(super) fn bars(
    about: &str,
    bars: &[Bar],
    lines: &[(&str, f64)],
    colour: RGBColor,
) -> Result<String, String> {
    let ends = bars.iter().map(|bar| bar.range[2]);
    let most = ends
        .chain(lines.iter().map(|line| line.1))
        .fold(0.1, f64::max);
    let names: Vec<&str> = bars.iter().map(|bar| bar.name.as_str()).collect();
    drawn(bars.len(), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(260)
            .build_cartesian_2d(0.0..most * 1.08, (0..bars.len()).into_segmented())
            .map_err(|e| e.to_string())?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .x_max_light_lines(0)
            .x_desc(about)
            .y_labels(bars.len())
            .y_label_formatter(&|at| label(at, &names))
            .draw()
            .map_err(|e| e.to_string())?;
        for (row, bar) in bars.iter().enumerate() {
            let [low, middle, high] = bar.range;
            let (from, to, centre) = (
                SegmentValue::Exact(row),
                SegmentValue::Exact(row + 1),
                SegmentValue::CenterOf(row),
            );
            let mut bar = Rectangle::new([(0.0, from), (middle, to)], colour.mix(0.8).filled());
            bar.set_margin(5, 5, 0, 0);
            let range = vec![(low, centre.clone()), (high, centre)];
            let range = PathElement::new(range, BLACK.stroke_width(2));
            chart.draw_series([bar]).map_err(|e| e.to_string())?;
            chart.draw_series([range]).map_err(|e| e.to_string())?;
        }
        for (name, value) in lines {
            let (from, to) = (SegmentValue::Exact(0), SegmentValue::Exact(bars.len()));
            let line = PathElement::new(vec![(*value, from), (*value, to)], RED.mix(0.7));
            let font = ("sans-serif", 12).into_font().color(&RED);
            let at = (*value, SegmentValue::CenterOf(bars.len()));
            chart.draw_series([line]).map_err(|e| e.to_string())?;
            chart
                .draw_series([Text::new((*name).to_owned(), at, font)])
                .map_err(|e| e.to_string())?;
        }
        Ok(())
    })
}

/// The name beside a row.
pub(super) fn label(at: &SegmentValue<usize>, names: &[&str]) -> String {
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
