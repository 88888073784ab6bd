//! The record of an evaluation, as `ingest eval --json` prints it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Scores;
use crate::measure::Percentiles;
use crate::page::PageId;
use crate::search::Mode;

/// The version of the JSON form of [`Evaluation`].
pub const SCHEMA: u32 = 2;

/// The results of an evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of this program.
    pub version: String,
    /// Source of the queries.
    #[serde(rename = "questions")]
    pub query_source: String,
    /// One result per query set, store, model, compression and mode.
    pub results: Vec<EvaluationResult>,
}

/// A query set, evaluated in one mode on one store.
#[derive(Clone, Debug, Serialize)]
pub struct EvaluationResult {
    /// The name of the set.
    pub set: String,
    /// Its language, by the dataset's name.
    pub language: Option<String>,
    /// The mode of the search.
    pub mode: Mode,
    /// The store as named by the user.
    pub store: String,
    /// The model that embedded the pages.
    pub model: String,
    /// The id of its profile.
    pub profile: String,
    /// How the vectors were compressed; `None`: as stored.
    pub compression: Option<String>,
    /// Mean bytes of the vectors of a page.
    pub bytes_per_page: u64,
    /// The measures.
    #[serde(flatten)]
    pub scores: Scores,
    /// Seconds from query to ranking.
    pub latency: Percentiles,
    /// The failed queries.
    pub failures: Vec<Failure>,
    /// Means, by mteb's names.
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
    #[serde(rename = "question")]
    pub query: String,
    /// Its relevant pages.
    #[serde(serialize_with = "page_names")]
    pub expected: Vec<PageId>,
    /// The page that was ranked first.
    #[serde(serialize_with = "page_name")]
    pub found: Option<PageId>,
}

fn page_names<S: serde::Serializer>(pages: &[PageId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(pages.iter().map(ToString::to_string))
}

#[expect(clippy::ref_option, reason = "serde passes a reference")]
fn page_name<S: serde::Serializer>(
    page: &Option<PageId>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    page.as_ref().map(ToString::to_string).serialize(serializer)
}
