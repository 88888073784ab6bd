//! Plot of cost against pages, log-log: an SVG with two panels.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Point, Series};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Colour-blind safe colours of the curves.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];

/// Name and points of a curve.
pub(super) type Curve<'a> = (&'a str, Vec<(f64, f64)>);

/// Draws search time and memory to a file.
pub(super) fn draw(file: &Path, all: &[Series], curves: &[Vec<Point>]) -> Result<()> {
    let of = |cost: fn(&Point) -> f64| -> Vec<Curve<'_>> {
        let point = |point: &Point| (f64::from(point.pages), cost(point));
        let both = all.iter().zip(curves);
        both.map(|(series, curve)| (series.name, curve.iter().map(point).collect()))
            .collect()
    };
    let area = SVGBackend::new(file, (900, 360)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(450);
    panel(&left, "time of a search, p50, ms", &of(Point::p50))?;
    panel(&right, "memory, server included, MB", &of(Point::memory))?;
    Ok(area.present()?)
}

/// Draws makespan / ideal against the number of workers to a file.
pub(super) fn draw_makespan(file: &Path, curves: &[Curve<'_>]) -> Result<()> {
    let area = SVGBackend::new(file, (560, 360)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("1,000,000 pages, simulated", ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d((1f64..64f64).log_scale().base(2.0), 1f64..1.1f64)?;
    chart
        .configure_mesh()
        .x_desc("workers")
        .y_desc("makespan / ideal")
        .x_label_formatter(&|workers| format!("{workers:.0}"))
        .light_line_style(BLACK.mix(0.06))
        .draw()?;
    curves_of(&mut chart, curves)?;
    Ok(area.present()?)
}

fn panel(area: &Panel<'_>, title: &str, curves: &[Curve<'_>]) -> Result<()> {
    let points = || curves.iter().flat_map(|(_, points)| points.iter().copied());
    let (pages, costs) = (
        decades(points().map(|p| p.0)),
        decades(points().map(|p| p.1)),
    );
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(
            (pages.0..pages.1).log_scale(),
            (costs.0..costs.1).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("pages")
        .x_label_formatter(&|pages| format!("{pages:.0}"))
        .y_label_formatter(&|cost| format!("{cost}"))
        .light_line_style(BLACK.mix(0.06))
        .draw()?;
    curves_of(&mut chart, curves)
}

/// Draws curves with their names.
fn curves_of<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    curves: &[Curve<'_>],
) -> Result<()>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for ((name, points), colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let line = PathElement::new(points.clone(), colour.stroke_width(2));
        chart
            .draw_series([line])?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        chart.draw_series(
            points
                .iter()
                .map(|&point| Circle::new(point, 4, colour.filled())),
        )?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(())
}

/// The powers of ten that enclose all values.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(f64::MIN_POSITIVE, f64::max);
    let (low, high) = (least.log10().floor(), most.log10().ceil());
    (10f64.powf(low), 10f64.powf(high.max(low + 1.0)))
}
