//! A page asked about again and again: a model that no longer says what it said of it has lost its mind, and what it
//! said meanwhile is worth nothing (LLaVA behind an older mlx-vlm was right for its first page alone).

use std::sync::{Mutex, PoisonError};

use crate::vlm::Error;
use crate::vlm::reply::FailureClass;

use super::client::Try;
use super::describe_pages::{Answer, Asker, Sight};

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
    /// is another one, the model is loaded anew, and these pages are asked about again: their answers are returned. No
    /// page that is in doubt keeps its description when the runner is given up meanwhile.
    pub(super) fn described(
        &self,
        pages: Vec<Sight>,
        asker: &Asker<'_>,
    ) -> (Vec<Answer>, Result<(), Error>) {
        if self.every == 0 {
            return (Vec::new(), Ok(()));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.since.extend(pages);
        match self.is_doubtful(&mut state, asker) {
            Ok(false) => (Vec::new(), Ok(())),
            Ok(true) => again(std::mem::take(&mut state.since), asker),
            Err(cause) => (Vec::new(), Err(cause)),
        }
    }

    /// Whether the pages since the last look are in doubt.
    fn is_doubtful(&self, state: &mut State, asker: &Asker<'_>) -> Result<bool, Error> {
        let Some((page, before)) = state.page.clone() else {
            if let Some(first) = state.since.first().cloned() {
                let said = asker.say(&first, Try::Canary)?;
                state.page = said.ok().map(|said| (first, said.text));
                if state.page.is_none() {
                    // Not fit for it; the next one may be.
                    state.since.clear();
                }
            }
            return Ok(false);
        };
        if state.since.len() < self.every {
            return Ok(false);
        }
        if is_same(asker, &page, &before)? {
            state.since.clear();
            return Ok(false);
        }
        let anew = match asker.line.runner.card().can_unload {
            true => ": it is loaded anew",
            false => ", and this server cannot load it anew",
        };
        asker.line.note(format!(
            "the model no longer says what it said of {}{anew}; the last {} pages are asked about again",
            page.id,
            state.since.len()
        ));
        asker.line.clean_up();
        if !is_same(asker, &page, &before)? {
            asker.line.give_up(Some(Error::ModelFailed(format!(
                "asked about {} again, the model says something else, and goes on doing so",
                page.id
            ))));
        }
        Ok(true)
    }
}

/// Asks about pages in doubt again. Those that are not come to have failed.
fn again(doubtful: Vec<Sight>, asker: &Asker<'_>) -> (Vec<Answer>, Result<(), Error>) {
    let (mut answers, mut result) = (Vec::new(), Ok(()));
    for sight in doubtful {
        if result.is_ok() {
            answers.push(asker.again(&sight, FailureClass::Degraded));
            result = asker.single(&sight, &mut answers);
        }
        if let Err(cause) = &result {
            answers.push(Answer::Failed(
                sight.id,
                FailureClass::Degraded,
                cause.to_string(),
            ));
        }
    }
    (answers, result)
}

/// Whether the model says of a page what it said before; also when nobody can tell.
fn is_same(asker: &Asker<'_>, page: &Sight, before: &str) -> Result<bool, Error> {
    let now = match asker.say(page, Try::Canary)? {
        Ok(said) => said.text,
        Err((FailureClass::Deadline | FailureClass::Server, _)) => return Ok(true),
        Err((_, said)) => said,
    };
    Ok(strsim::normalized_levenshtein(before, &now) >= 1.0 - APART)
}
