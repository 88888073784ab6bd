//! A page asked about again and again: a model that no longer says what it said of it has lost its mind, and what it
//! said meanwhile is worth nothing (LLaVA behind an older mlx-vlm was right for its first page alone).

use std::sync::{Mutex, PoisonError};

use crate::describe::Error;
use crate::describe::reply::Class;

use super::ask::{Answer, Asker};
use super::desk::Sight;
use super::line::Try;

/// Two answers whose edit distance is more than this share of the longer one are not the same.
const APART: f64 = 0.1;

/// What is known of the page that is asked about again.
#[derive(Default)]
struct State {
    /// The page, and what was said of it.
    page: Option<(Sight, String)>,
    /// Pages that were described since it was found unchanged.
    since: Vec<Sight>,
}

/// Keeps the page, shared by all lanes.
pub(super) struct Canary {
    /// Pages from one look to the next; 0: never.
    every: usize,
    state: Mutex<State>,
}

impl Canary {
    pub(super) fn new(every: usize) -> Self {
        Self {
            every,
            state: Mutex::default(),
        }
    }

    /// Takes note of pages that were described and stored. When it is time, the page is asked about again; if the answer
    /// is another one, the model is loaded anew, and these pages are asked about again: their answers are returned.
    pub(super) fn described(
        &self,
        pages: Vec<Sight>,
        asker: &Asker<'_>,
    ) -> Result<Vec<Answer>, Error> {
        if self.every == 0 {
            return Ok(Vec::new());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.since.extend(pages);
        let Some((page, before)) = state.page.clone() else {
            let Some(first) = state.since.first().cloned() else {
                return Ok(Vec::new());
            };
            let said = self.ask(asker, &first)?;
            state.page = said.map(|said| (first, said));
            return Ok(Vec::new());
        };
        if state.since.len() < self.every {
            return Ok(Vec::new());
        }
        let doubtful = std::mem::take(&mut state.since);
        if self.is_same(asker, &page, &before)? {
            return Ok(Vec::new());
        }
        let count = doubtful.len();
        asker.line.note(format!(
            "the model no longer says what it said of {}: it is loaded anew, and the last {count} pages are asked about again",
            page.id
        ));
        asker.line.clean_up();
        if !self.is_same(asker, &page, &before)? {
            let why = format!(
                "asked about {} again, the model says something else, also after it was loaded anew",
                page.id
            );
            asker.line.give_up(Some(Error::Fault(why.clone())));
            let failed = |sight: Sight| Answer::Failed(sight.id, Class::State, why.clone());
            return Ok(doubtful.into_iter().map(failed).collect());
        }
        let mut answers = Vec::new();
        for sight in doubtful {
            answers.push(asker.again(&sight, Class::State));
            asker.single(&sight, &mut answers)?;
        }
        Ok(answers)
    }

    fn is_same(&self, asker: &Asker<'_>, page: &Sight, before: &str) -> Result<bool, Error> {
        let now = self.ask(asker, page)?.unwrap_or_default();
        Ok(strsim::normalized_levenshtein(before, &now) >= 1.0 - APART)
    }

    /// What is said of the page; none where there is no whole answer.
    fn ask(&self, asker: &Asker<'_>, page: &Sight) -> Result<Option<String>, Error> {
        Ok(asker.say(page, Try::Canary)?.ok().map(|said| said.text))
    }
}
