//! What answers questions with a vision-language model, for the REST interface and for assistants, and how many at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::librarian::Desk;
use super::problem::Problem;
use crate::answer::{self, Answer, Citation, ContextPage, Event, MAX_PAGES};
use crate::config::Settings;
use crate::diagnostic::Diagnostic;
use crate::library::{self, Library};
use crate::measure;
use crate::page::PageSet;
use crate::search::SearchHit;
use crate::store::Scope;
use crate::vlm::{self, Runner};

/// Longest question, in bytes.
pub(super) const MAX_QUESTION: usize = 2_000;
/// Answers at a time; one more is refused.
const AT_A_TIME: usize = 2;

/// The model that answers, opened for the first question.
pub(super) struct Asker {
    settings: Settings,
    runner: Mutex<Option<Arc<dyn Runner>>>,
    permits: Arc<Semaphore>,
    /// Passwords of protected files. Never printed.
    passwords: Vec<String>,
}

/// A question whose values are valid.
#[derive(Clone, Debug)]
pub(super) struct Question {
    text: String,
    /// Names of the manuals to ask; all if there are none.
    manuals: Vec<String>,
    /// Pages that the model reads.
    count: usize,
}

/// An answer.
#[derive(Serialize, JsonSchema)]
pub(super) struct AskAnswer {
    /// The question.
    question: String,
    /// The pages that the model read.
    pub(super) pages: Vec<Citation>,
    #[serde(flatten)]
    pub(super) answer: Answer,
}

/// What happens while an answer comes.
pub(super) enum Progress {
    /// The pages that the model reads.
    Pages(Vec<Citation>),
    Event(Event),
}

/// Stops an answer when it is dropped: the client went away, or has its answer.
#[derive(Default)]
pub(super) struct StopOnDrop(Arc<AtomicBool>);

impl StopOnDrop {
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Asker {
    pub(super) fn new(settings: &Settings, passwords: &[String]) -> Self {
        Self {
            settings: settings.clone(),
            runner: Mutex::default(),
            permits: Arc::new(Semaphore::new(AT_A_TIME)),
            passwords: passwords.to_vec(),
        }
    }

    /// Whether the settings name a model that answers.
    pub(super) fn is_configured(&self) -> bool {
        self.settings.describe.names_a_model()
    }

    /// The right to answer one question, until it is dropped.
    ///
    /// # Errors
    /// [`Problem::busy`] if as many are answered as may be.
    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map_err(|_| Problem::busy())
    }

    /// Checks a question. `pages` is the number of pages to read; `ask.pages` of the settings if it is missing.
    ///
    /// # Errors
    /// If a value is out of range.
    pub(super) fn question(
        &self,
        text: String,
        manuals: Vec<String>,
        pages: Option<usize>,
    ) -> Result<Question, Problem> {
        if text.len() > MAX_QUESTION {
            let detail = format!("the question is longer than {MAX_QUESTION} bytes");
            return Err(Problem::invalid(detail));
        }
        let count = pages.unwrap_or(self.settings.ask.pages);
        if !(1..=MAX_PAGES).contains(&count) {
            let detail = format!("`pages` must be from 1 to {MAX_PAGES}");
            return Err(Problem::invalid(detail));
        }
        Ok(Question {
            text,
            manuals,
            count,
        })
    }

    /// The pages that a search finds for a question.
    ///
    /// # Errors
    /// If there is no such manual, or the search fails.
    pub(super) fn hits(
        &self,
        desk: &mut Desk,
        library: &Library,
        question: &Question,
    ) -> Result<Vec<SearchHit>, Problem> {
        let id = |name: &String| Ok(library::manual_named(&*library.store, name)?.id);
        let manuals = question.manuals.iter().map(id);
        let scope = Scope {
            manuals: manuals.collect::<Result<_, Problem>>()?,
            pages: PageSet::all(),
        };
        let models = desk.models(&library.profile);
        let asked = (question.text.as_str(), &scope, question.count);
        Ok(library::hits_to_read(
            &self.settings,
            library,
            models,
            asked,
        )?)
    }

    /// The model, opened if it is not.
    fn runner(&self) -> Result<Arc<dyn Runner>, vlm::Error> {
        let mut open = self.runner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runner) = &*open {
            return Ok(Arc::clone(runner));
        }
        let memory = library::in_process_vlm_memory_limit(&self.settings);
        let runner: Arc<dyn Runner> = vlm::open(&self.settings.describe, memory)?.into();
        Ok(Arc::clone(open.insert(runner)))
    }

    /// Forgets a model that failed: the next question opens it again.
    fn forget(&self) {
        *self.runner.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A question whose pages were found, and the right to answer it.
pub(super) struct Reading {
    pub(super) asker: Arc<Asker>,
    pub(super) library: Arc<Library>,
    pub(super) question: Question,
    pub(super) hits: Vec<SearchHit>,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Reading {
    /// Reads the pages and answers. `stop`, once true, ends the request.
    ///
    /// # Errors
    /// If there is no page or no model, or the model gives no answer.
    pub(super) fn answer(
        &self,
        stop: &AtomicBool,
        on_progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<AskAnswer, Problem> {
        let Self {
            asker, question, ..
        } = self;
        let settings = &asker.settings;
        let note = |text| on_progress(Progress::Event(Event::Note(text)));
        let parts = (settings, &*self.library.store, &*asker.passwords);
        let pages: Vec<ContextPage> =
            library::context_pages(parts, &self.hits, question.count, &mut { note })?;
        if pages.is_empty() {
            return Err(Problem::no_pages());
        }
        let read = Citation::all(&pages);
        on_progress(Progress::Pages(read.clone()));
        let runner = asker.runner();
        let runner = runner.map_err(|why| Problem::no_model(Diagnostic::from(why)))?;
        let gauge = || runner.process().and_then(measure::process_memory);
        let answer = answer::answer(
            &*runner,
            (library::answer_settings(settings, pages.len()), &gauge),
            (&question.text, &pages),
            stop,
            &|event| on_progress(Progress::Event(event)),
        );
        if let Err(answer::Error::Runner(_)) = answer {
            asker.forget();
        }
        Ok(AskAnswer {
            question: question.text.clone(),
            pages: read,
            answer: answer?,
        })
    }
}
