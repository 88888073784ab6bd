//! Answers to questions: a vision-language model reads the pages that a search found, and says which of them it used.
//!
//! The model may not be trusted: what it cites is checked here, and its numbers and codes are looked for in the text of the
//! pages that it cites ([`Fact`]).

mod draft;
mod facts;
mod page_numbers;
mod prompt;
mod reader;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use draft::Draft;
pub use facts::{Fact, Verdict};
use page_numbers::PageNumbers;
pub use reader::Piece;

use crate::chat::{self, Attempt, Delta, Exchange, Gauge, MemoryGuard, RetryingClient};
use crate::page::{ManualId, PageId};
use crate::units::Invalid;
use crate::vlm::reply::FailureClass;
use crate::vlm::{self, Runner};

/// Pages of a question at most: more fit into the context of few models.
pub const MAX_PAGES: usize = 5;

/// Bytes of a token at most, roughly: a longer answer is cut even if the server does not.
const MAX_TOKEN_BYTES: usize = 32;
/// Time between two looks at the flag that stops an answer.
const POLL: Duration = Duration::from_millis(50);

/// Settings of answers (section `[ask]`); the model is that of `[describe]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Pages that the model reads.
    pub pages: usize,
    /// Maximum number of tokens of an answer.
    pub max_tokens: u32,
}

impl Config {
    /// Checks the ranges of all values.
    ///
    /// # Errors
    /// [`Invalid`] with the first key whose value is out of range.
    pub fn validate(&self) -> Result<(), Invalid> {
        if !(1..=MAX_PAGES).contains(&self.pages) {
            return Err(Invalid {
                key: "pages",
                reason: "must be between 1 and 5",
            });
        }
        match self.max_tokens {
            0 => Err(Invalid {
                key: "max_tokens",
                reason: "must be at least 1",
            }),
            _ => Ok(()),
        }
    }
}

/// A page that the model reads.
#[derive(Clone, Debug, PartialEq)]
pub struct ContextPage {
    /// Its id.
    pub id: PageId,
    /// Its printed label.
    pub label: Option<String>,
    /// The section that contains it.
    pub section: Option<String>,
    /// Its text layer.
    pub text: String,
    /// Its image as JPEG; `None` if it cannot be rendered again: then only its text is read.
    pub jpeg: Option<Arc<[u8]>>,
}

/// A page that an answer cites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Citation {
    /// Its number in the answer.
    pub n: usize,
    /// Its id in every store.
    pub id: String,
    /// The manual's name.
    pub manual: String,
    /// The page, from 1.
    pub page: u32,
    /// Its printed label.
    pub label: Option<String>,
}

impl Citation {
    /// Those of all pages.
    pub fn all(pages: &[ContextPage]) -> Vec<Self> {
        let pages = pages.iter().zip(PageNumbers::of(pages).first()..);
        pages.map(|(page, n)| Self::of(n, page)).collect()
    }

    /// The page.
    pub fn page_id(&self) -> PageId {
        PageId::new(&ManualId::new(&self.manual), self.page)
    }

    /// The citation of a page with its number in the answer.
    fn of(n: usize, page: &ContextPage) -> Self {
        Self {
            n,
            id: page.id.uuid().to_string(),
            manual: page.id.manual.to_string(),
            page: page.id.number,
            label: page.label.clone(),
        }
    }
}

/// Why an answer ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// It has the maximum number of tokens.
    Length,
    /// The model began to repeat itself.
    Repetition,
    /// It took too long.
    Deadline,
}

/// An answer.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Answer {
    /// Whether the pages answer the question: the model says so and cites at least one of them.
    pub found: bool,
    /// Its text, with `[n]` for the citation of page `n`.
    pub answer: String,
    /// The pages that it cites, in order of their first citation.
    pub citations: Vec<Citation>,
    /// Its numbers and codes.
    pub facts: Vec<Fact>,
    /// Citations of pages that the model was not shown; they are not in the text.
    pub foreign_citations: u32,
    /// Why it ends before its end, if it does.
    pub cut: Option<Cut>,
    /// Tokens of the answer, if the runner counts them.
    pub tokens: Option<u32>,
    /// Seconds to the first token.
    pub first_s: Option<f64>,
    /// Seconds to the end.
    pub total_s: Option<f64>,
    /// The model.
    pub model: String,
}

impl Answer {
    /// The facts with a verdict.
    pub fn facts_with(&self, verdict: Verdict) -> impl Iterator<Item = &str> {
        let facts = self.facts.iter();
        let those = facts.filter(move |fact| fact.verdict == verdict);
        those.map(|fact| fact.text.as_str())
    }
}

/// What happens while an answer comes.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More of the answer.
    Piece(Piece),
    /// The request failed and is sent again: what came before is no part of the answer.
    Restart,
    /// A message for the user.
    Note(String),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runner failed.
    #[error(transparent)]
    Runner(#[from] vlm::Error),
    /// The model answered, but not usably.
    #[error("the model gave no answer ({class}): {why}")]
    NoAnswer {
        /// The kind of failure.
        class: FailureClass,
        /// The reason, for people.
        why: String,
    },
    /// The question was withdrawn.
    #[error("stopped")]
    Stopped,
}

/// Answers a question from `pages`, which are cited by the numbers of [`Citation::all`]. `stop`, once true, cancels the request.
///
/// # Errors
/// [`Error::Runner`] when the server fails, [`Error::NoAnswer`] when the model has none, [`Error::Stopped`].
pub fn answer(
    runner: &dyn Runner,
    (settings, gauge): (chat::Settings, &Gauge<'_>),
    (question, pages): (&str, &[ContextPage]),
    stop: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Answer, Error> {
    let guard = MemoryGuard::new(gauge, settings.memory, runner.card().can_unload);
    let aborted = AtomicBool::new(false);
    let exchange: Mutex<Option<Exchange>> = Mutex::default();
    let on_chat = |event| match event {
        chat::Event::Note(text) => on_event(Event::Note(text)),
        chat::Event::Completed(done) => {
            *exchange.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        }
    };
    let client = RetryingClient::new(runner, settings, &guard, &aborted, &on_chat);
    let mut draft = Draft::new(pages);
    let most = settings.max_tokens as usize * MAX_TOKEN_BYTES;
    let mut on_delta = |delta: Delta<'_>| {
        match delta {
            Delta::Text(text) => draft.push(text, on_event),
            Delta::Restart => {
                draft = Draft::new(pages);
                on_event(Event::Restart);
            }
        }
        draft.text.len() <= most && !stop.load(Ordering::Relaxed)
    };
    let parts = prompt::parts(question, pages);
    let completion = thread::scope(|scope| {
        let (_running, ended) = channel::<()>();
        // Between two attempts nothing is received that could look at the flag.
        scope.spawn(|| abort_when_stopped(&client, stop, ended));
        client.stream(&parts, 1, Attempt::GreedyConcurrent, &mut on_delta)
    });
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Stopped);
    }
    let completion = match completion {
        Err(_) if draft.text.len() > most => Err(too_long()),
        completion => completion?,
    };
    let cut = match completion {
        Ok(completion) if completion.text.trim().is_empty() => {
            return Err(Error::NoAnswer {
                class: FailureClass::Empty,
                why: "its answer is empty".to_owned(),
            });
        }
        Ok(completion) => completion.finish.truncated.then_some(Cut::Length),
        Err(failed) => Some(draft.cut_by(failed)?),
    };
    let exchange = *exchange.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(draft.finish(runner, cut, exchange, on_event))
}

/// Why an answer ends whose server ignores the maximum number of tokens.
fn too_long() -> chat::Failed {
    chat::Failed::new(
        FailureClass::Truncated,
        "it is longer than `ask.max_tokens`".to_owned(),
    )
}

/// Aborts the requests of a client once `stop` is set, until they have `ended`.
fn abort_when_stopped(client: &RetryingClient<'_>, stop: &AtomicBool, ended: Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(POLL) {
        if stop.load(Ordering::Relaxed) {
            return client.abort(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page with a text layer and no image.
    pub(super) fn context_page(text: &str) -> ContextPage {
        ContextPage {
            id: PageId::new(&ManualId::new("pump.pdf"), 7),
            label: None,
            section: None,
            text: text.to_owned(),
            jpeg: None,
        }
    }
}
