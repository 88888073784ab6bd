//! Records as text: tables for the terminal, Markdown, HTML pages with SVG charts, and the files of `mteb`.
//!
//! Every function takes a record and returns text; nothing is read or written here.

mod chart;
pub mod evaluation;
mod html;
mod markdown;
pub mod mteb;
pub mod runners;
pub mod table;
pub mod throughput;

/// A chart that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the plots cannot be drawn: {0}")]
pub struct ChartError(String);
