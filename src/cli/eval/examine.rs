//! Asks questions and looks at the answers.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::embed::Embedder;
use crate::evaluate::{Relevant, Scores, means};
use crate::measure::Spread;
use crate::page::{ManualId, PageId};
use crate::report::Report;
use crate::search::{Mode, Question};
use crate::store::Want;

use super::questions::{Asked, Set};
use super::shelf::Shelf;

/// Ranks that are looked at.
const DEPTH: usize = 10;
/// A question has failed when none of its pages is among so many.
const MISSED: usize = 5;

/// A set of questions, asked in one mode of one store.
#[derive(Serialize)]
pub(super) struct Measured {
    pub(super) set: String,
    pub(super) language: Option<String>,
    pub(super) mode: Mode,
    pub(super) store: String,
    pub(super) model: String,
    pub(super) profile: String,
    /// How the pages were made smaller; none: they are as they are stored.
    pub(super) compression: Option<String>,
    /// Bytes that the vectors of a page take.
    pub(super) bytes_per_page: u64,
    #[serde(flatten)]
    pub(super) scores: Scores,
    /// Seconds from question to answer.
    pub(super) latency: Spread,
    pub(super) failures: Vec<Failure>,
    /// Plain means, by the names of `mteb`.
    #[serde(skip)]
    pub(super) means: BTreeMap<String, f64>,
    /// Seconds for all questions.
    #[serde(skip)]
    pub(super) seconds: f64,
}

/// A question whose page was not among the first five.
#[derive(Serialize)]
pub(super) struct Failure {
    pub(super) question: String,
    #[serde(serialize_with = "names")]
    pub(super) expected: Vec<PageId>,
    #[serde(serialize_with = "name")]
    pub(super) found: Option<PageId>,
}

fn names<S: serde::Serializer>(pages: &[PageId], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(pages.iter().map(ToString::to_string))
}

#[expect(clippy::ref_option, reason = "serde asks so")]
fn name<S: serde::Serializer>(page: &Option<PageId>, to: S) -> Result<S::Ok, S::Error> {
    page.as_ref().map(ToString::to_string).serialize(to)
}

/// Asks the pages of a shelf.
pub(super) struct Examiner<'a> {
    pub(super) shelf: &'a Shelf,
    pub(super) compression: Option<String>,
    pub(super) model: &'a mut dyn Embedder,
    pub(super) visual_weight: f32,
    pub(super) exact: bool,
}

impl Examiner<'_> {
    /// Asks a set; the figures stand under the mode `shown`, the questions are asked in `mode`.
    pub(super) fn examine(
        &mut self,
        set: &Set,
        shown: Mode,
        mode: Mode,
    ) -> Result<Measured, Report> {
        let (mut rankings, mut times, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for asked in &set.asked {
            let start = Instant::now();
            let ranking = self.ask(set, asked, mode)?;
            times.push(start.elapsed().as_secs_f64());
            failures.extend(failure(asked, &ranking));
            rankings.push((ranking, &asked.relevant));
        }
        Ok(Measured {
            set: set.name.clone(),
            language: set.language.clone(),
            mode: shown,
            store: self.shelf.name.clone(),
            model: self.shelf.profile.model.clone(),
            profile: self.shelf.profile.id.clone(),
            compression: self.compression.clone(),
            bytes_per_page: self.shelf.bytes_per_page()?,
            scores: Scores::of(&rankings),
            seconds: times.iter().sum(),
            latency: Spread::of(times),
            failures,
            means: means(&rankings),
        })
    }

    fn ask(&mut self, set: &Set, asked: &Asked, mode: Mode) -> Result<Vec<PageId>, Report> {
        let found = crate::search::search(
            &*self.shelf.store,
            || Ok(&mut *self.model),
            &Question {
                text: &asked.text,
                mode,
                scope: &asked.scope,
                want: Want {
                    exact: self.exact,
                    ..Want::best(DEPTH + set.ignored.len())
                },
                visual_weight: self.visual_weight,
            },
        )?;
        let pages = found
            .iter()
            .map(|hit| PageId::new(&ManualId::new(&hit.manual), hit.page));
        Ok(pages
            .filter(|page| !set.ignored.contains(page))
            .take(DEPTH)
            .collect())
    }
}

fn failure(asked: &Asked, ranking: &[PageId]) -> Option<Failure> {
    let is_met = |relevant: &Relevant| {
        let mut first = ranking.iter().take(MISSED);
        first.any(|page| relevant.contains_key(page))
    };
    (!is_met(&asked.relevant)).then(|| Failure {
        question: asked.text.clone(),
        expected: asked.relevant.keys().cloned().collect(),
        found: ranking.first().cloned(),
    })
}
