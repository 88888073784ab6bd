//! Canary: detects degraded models. One described page is described again every `canary_every` pages; if the text
//! differs, the model is reloaded and the pages since the last check are described again (LLaVA on an older mlx-vlm was
//! right for its first page only).

use std::sync::{Mutex, PoisonError};

use crate::chat::Attempt;
use crate::vlm::Error;
use crate::vlm::reply::FailureClass;

use super::describe_pages::{Describer, PageOutcome, PageTask};

/// Maximum normalised Levenshtein distance of two texts that count as equal.
const MAX_DISTANCE: f64 = 0.1;

/// The canary page and the pages to check.
#[derive(Default)]
struct State {
    /// The canary page, and the text of its first response.
    page: Option<(PageTask, String)>,
    /// Pages described since the last successful check.
    unchecked: Vec<PageTask>,
}

/// Checks the model every `every` pages; shared by all workers.
pub(super) struct Canary {
    /// Pages between two checks; 0: never.
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

    /// Records pages that were described. When a check is due and the model has degraded, it is reloaded and the pages
    /// since the last check are described again; returns their new outcomes. If the run is aborted meanwhile, the rest
    /// of these pages have failed.
    pub(super) fn record(
        &self,
        pages: Vec<PageTask>,
        describer: &Describer<'_>,
    ) -> (Vec<PageOutcome>, Result<(), Error>) {
        if self.every == 0 {
            return (Vec::new(), Ok(()));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.unchecked.extend(pages);
        match self.has_degraded(&mut state, describer) {
            Ok(false) => (Vec::new(), Ok(())),
            Ok(true) => describe_again(std::mem::take(&mut state.unchecked), describer),
            Err(cause) => (Vec::new(), Err(cause)),
        }
    }

    /// Runs the check if it is due; returns whether the unchecked pages must be described again.
    fn has_degraded(&self, state: &mut State, describer: &Describer<'_>) -> Result<bool, Error> {
        let Some((page, reference)) = state.page.clone() else {
            if let Some(candidate) = state.unchecked.first().cloned() {
                let completion = describer.complete(&candidate, Attempt::GreedyExclusive)?;
                state.page = completion
                    .ok()
                    .map(|completion| (candidate, completion.text));
                if state.page.is_none() {
                    // No text for this page; the next one becomes the canary.
                    state.unchecked.clear();
                }
            }
            return Ok(false);
        };
        if state.unchecked.len() < self.every {
            return Ok(false);
        }
        if is_unchanged(describer, &page, &reference)? {
            state.unchecked.clear();
            return Ok(false);
        }
        let reload = match describer.client.runner.card().can_unload {
            true => "; reloading it",
            false => "; this server cannot reload it",
        };
        describer.client.notify(format!(
            "the model has degraded (different text for {}){reload}; describing the pages since the last check again ({})",
            page.id,
            state.unchecked.len()
        ));
        describer.client.unload_model();
        if !is_unchanged(describer, &page, &reference)? {
            describer.client.abort(Some(Error::ModelFailed(format!(
                "the text for {} still differs from the first one after reloading the model",
                page.id
            ))));
        }
        Ok(true)
    }
}

/// Describes `tasks` again. After an error the remaining ones have failed.
fn describe_again(
    tasks: Vec<PageTask>,
    describer: &Describer<'_>,
) -> (Vec<PageOutcome>, Result<(), Error>) {
    let (mut outcomes, mut result) = (Vec::new(), Ok(()));
    for task in tasks {
        if result.is_ok() {
            outcomes.push(describer.retry(&task, FailureClass::Degraded));
            result = describer.one(&task, &mut outcomes);
        }
        if let Err(cause) = &result {
            outcomes.push(PageOutcome::Failed(
                task.id,
                FailureClass::Degraded,
                cause.to_string(),
            ));
        }
    }
    (outcomes, result)
}

/// Whether the model returns the reference text for the page; `true` if the server fails, since that says nothing.
fn is_unchanged(
    describer: &Describer<'_>,
    page: &PageTask,
    reference: &str,
) -> Result<bool, Error> {
    let text = match describer.complete(page, Attempt::GreedyExclusive)? {
        Ok(completion) => completion.text,
        Err(failed) if [FailureClass::Deadline, FailureClass::Server].contains(&failed.class) => {
            return Ok(true);
        }
        Err(failed) => failed.why,
    };
    Ok(strsim::normalized_levenshtein(reference, &text) >= 1.0 - MAX_DISTANCE)
}
