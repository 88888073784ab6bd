//! Evaluates query sets on a store: rankings, scores, latency.

use std::time::Instant;

use crate::diagnostic::Diagnostic;
use crate::embed::VisualWeight;
use crate::evaluate::{EvaluationResult, Failure, Qrels, Scores, means};
use crate::measure::Percentiles;
use crate::page::{ManualId, PageId};
use crate::search::{self, Mode, Models, SearchRequest};
use crate::store::TopK;

use super::eval_store::EvalStore;
use super::query_sets::{LabelledQuery, QuerySet};

/// Length of a ranking.
const RANKING_DEPTH: usize = 10;
/// A query fails if none of its relevant pages is among the first `FAILURE_DEPTH`.
const FAILURE_DEPTH: usize = 5;

/// Runs queries on one store with one model.
pub(super) struct Evaluator<'a> {
    pub(super) pages: &'a EvalStore,
    pub(super) compression: Option<String>,
    pub(super) models: &'a mut dyn Models,
    pub(super) visual_weight: VisualWeight,
    pub(super) exact: bool,
}

impl Evaluator<'_> {
    /// Runs every query of a set in `mode`; the record names the mode `reported_mode`.
    pub(super) fn evaluate(
        &mut self,
        set: &QuerySet,
        reported_mode: Mode,
        mode: Mode,
    ) -> Result<EvaluationResult, Diagnostic> {
        let (mut rankings, mut times, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for query in &set.queries {
            let start = Instant::now();
            let ranking = self.search(set, query, mode)?;
            times.push(start.elapsed().as_secs_f64());
            failures.extend(failure(query, &ranking));
            rankings.push((ranking, &query.relevant));
        }
        Ok(EvaluationResult {
            set: set.name.clone(),
            language: set.language.clone(),
            mode: reported_mode,
            store: self.pages.name.clone(),
            model: self.pages.profile.model.clone(),
            profile: self.pages.profile.id.clone(),
            compression: self.compression.clone(),
            bytes_per_page: self.pages.bytes_per_page()?,
            scores: Scores::of(&rankings),
            seconds: times.iter().sum(),
            latency: Percentiles::of(times),
            failures,
            means: means(&rankings),
        })
    }

    fn search(
        &mut self,
        set: &QuerySet,
        query: &LabelledQuery,
        mode: Mode,
    ) -> Result<Vec<PageId>, Diagnostic> {
        let found = search::search(
            &*self.pages.store,
            self.models,
            &SearchRequest {
                text: &query.text,
                mode,
                scope: &query.scope,
                top_k: TopK {
                    exact: self.exact,
                    ..TopK::new(RANKING_DEPTH + set.ignored.len())
                },
                visual_weight: self.visual_weight,
            },
        );
        let hits = match found {
            Ok(found) => found.hits,
            // It finds no page, as everything else that is not found.
            Err(
                search::Error::Unreadable
                | search::Error::NoTextVectors(_)
                | search::Error::UnknownWords(_),
            ) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let pages = hits
            .iter()
            .map(|hit| PageId::new(&ManualId::new(&hit.manual), hit.page));
        Ok(pages
            .filter(|page| !set.ignored.contains(page))
            .take(RANKING_DEPTH)
            .collect())
    }
}

fn failure(query: &LabelledQuery, ranking: &[PageId]) -> Option<Failure> {
    let has_relevant = |relevant: &Qrels| {
        let mut first = ranking.iter().take(FAILURE_DEPTH);
        first.any(|page| relevant.contains_key(page))
    };
    (!has_relevant(&query.relevant)).then(|| Failure {
        query: query.text.clone(),
        expected: query.relevant.keys().cloned().collect(),
        found: ranking.first().cloned(),
    })
}
