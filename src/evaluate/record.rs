//! The record of an evaluation, as `ingest eval --json` prints it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Scores;
use crate::measure::Percentiles;
use crate::page::PageId;
use crate::search::Mode;

/// The version of the JSON form of [`Evaluation`].
pub const SCHEMA: u32 = 2;

/// How well pages were found.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of this program.
    pub version: String,
    /// Where the queries come from.
    pub questions: String,
    /// One for each query set, store, model, compression and mode.
    pub results: Vec<Measured>,
}

/// A query set, evaluated in one mode on one store.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The name of the set.
    pub set: String,
    /// Its language, as its dataset calls it.
    pub language: Option<String>,
    /// The mode of the search.
    pub mode: Mode,
    /// The store that the user named.
    pub store: String,
    /// The model that embedded the pages.
    pub model: String,
    /// The id of its profile.
    pub profile: String,
    /// How the vectors were compressed; `None`: they are as they are stored.
    pub compression: Option<String>,
    /// Bytes that the vectors of a page take, on average.
    pub bytes_per_page: u64,
    /// The measures.
    #[serde(flatten)]
    pub scores: Scores,
    /// Seconds from query to ranking.
    pub latency: Percentiles,
    /// The queries that failed.
    pub failures: Vec<Failure>,
    /// Plain means, by the names of `mteb`.
    #[serde(skip)]
    pub means: BTreeMap<String, f64>,
    /// Seconds for all queries.
    #[serde(skip)]
    pub seconds: f64,
}

/// A query none of whose relevant pages was among the first five.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The query.
    pub question: String,
    /// Its relevant pages.
    #[serde(serialize_with = "names")]
    pub expected: Vec<PageId>,
    /// The page that was ranked first.
    #[serde(serialize_with = "name")]
    pub found: Option<PageId>,
}

fn names<S: serde::Serializer>(pages: &[PageId], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(pages.iter().map(ToString::to_string))
}

#[expect(clippy::ref_option, reason = "serde asks so")]
fn name<S: serde::Serializer>(page: &Option<PageId>, to: S) -> Result<S::Ok, S::Error> {
    page.as_ref().map(ToString::to_string).serialize(to)
}
