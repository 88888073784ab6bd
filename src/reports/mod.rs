//! Reports: measurements as text tables, Markdown, HTML pages with SVG charts, and the files of `mteb`.
//!
//! Every function takes a record and returns text; nothing is read or written here.

pub mod answers;
mod chart;
pub mod evaluation;
mod html;
mod markdown;
pub mod mteb;
pub mod runners;
pub mod table;
pub mod terminal;
pub mod throughput;

/// Error of the chart library.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the chart: {0}")]
pub struct ChartError(String);
