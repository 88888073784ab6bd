//! `POST /api/v1/ask`: an answer that cites its pages, whole as JSON or while it comes as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, channel};

use super::app::{Shared, blocking};
use super::librarian::Desk;
use super::parameters::Body;
use super::problem::Problem;
use super::server_sent;
use crate::answer::{self, Answer, Citation, ContextPage, Event, MAX_PAGES, Piece};
use crate::diagnostic::Diagnostic;
use crate::library::{self, Library};
use crate::measure;
use crate::page::PageSet;
use crate::search::SearchHit;
use crate::store::Scope;

/// Longest question, in bytes.
const MAX_QUESTION: usize = 2_000;
/// Events that wait for a slow client.
const WAITING: usize = 256;

/// A question to answer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskQuestion {
    /// The question.
    #[schemars(length(min = 1, max = MAX_QUESTION))]
    question: String,
    /// Names of the manuals to ask; all if there are none.
    #[serde(default)]
    manual: Vec<String>,
    /// Pages that the model reads; `ask.pages` of the settings if it is missing.
    #[schemars(range(min = 1, max = MAX_PAGES))]
    pages: Option<usize>,
}

/// An answer.
#[derive(Serialize, JsonSchema)]
pub(super) struct AskAnswer {
    /// The question.
    question: String,
    /// The pages that the model read.
    pages: Vec<Citation>,
    #[serde(flatten)]
    answer: Answer,
}

/// What is sent to a client while an answer comes.
enum Message {
    Pages(Vec<Citation>),
    Event(Event),
    Done(Box<AskAnswer>),
    Problem(Problem),
}

impl Message {
    fn event(self) -> Option<sse::Event> {
        let (name, data) = match self {
            Self::Pages(pages) => ("pages", json!({ "pages": pages })),
            Self::Event(Event::Piece(Piece::Text(text))) => ("text", json!({ "text": text })),
            Self::Event(Event::Piece(Piece::Citation(n))) => ("cite", json!({ "n": n })),
            Self::Event(Event::Restart) => ("restart", json!({})),
            Self::Event(Event::Note(text)) => ("note", json!({ "text": text })),
            Self::Done(answer) => ("done", serde_json::to_value(answer).ok()?),
            Self::Problem(problem) => ("problem", serde_json::to_value(problem.into_body()).ok()?),
        };
        sse::Event::default().event(name).json_data(data).ok()
    }
}

/// Sets a flag when it is dropped: the client went away, or has its answer.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) async fn post(
    State(app): State<Shared>,
    headers: HeaderMap,
    Body(question): Body<AskQuestion>,
) -> Result<Response, Problem> {
    let count = checked_count(&question, app.settings.ask.pages)?;
    let permit = app.asker.permit()?;
    let library = {
        let app = app.clone();
        blocking(move || app.shelf.library()).await?
    };
    let hits = hits(&app, &library, &question, count).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let on_drop = StopOnDrop(stop.clone());
    let accepted = headers.get(header::ACCEPT).map(|value| value.as_bytes());
    let is_stream = accepted.is_some_and(|value| value.starts_with(b"text/event-stream"));
    let reading = Reading {
        app,
        library,
        question,
        hits,
        count,
        stop,
        _permit: permit,
    };
    match is_stream {
        true => Ok(streamed(reading, on_drop)),
        false => {
            let answer = blocking(move || reading.answer(&|_| ())).await;
            drop(on_drop);
            answer.map(|answer| Json(answer).into_response())
        }
    }
}

fn checked_count(question: &AskQuestion, default: usize) -> Result<usize, Problem> {
    if question.question.len() > MAX_QUESTION {
        let detail = format!("the question is longer than {MAX_QUESTION} bytes");
        return Err(Problem::invalid(detail));
    }
    let count = question.pages.unwrap_or(default);
    match (1..=MAX_PAGES).contains(&count) {
        true => Ok(count),
        false => Err(Problem::invalid(format!(
            "`pages` must be from 1 to {MAX_PAGES}"
        ))),
    }
}

/// The pages that a search finds for a question.
async fn hits(
    app: &Shared,
    library: &Arc<Library>,
    question: &AskQuestion,
    count: usize,
) -> Result<Vec<SearchHit>, Problem> {
    let (shared, library, question) = (app.clone(), library.clone(), question.clone());
    let task = move |desk: &mut Desk| {
        let id = |name: &String| Ok(library::manual_named(&*library.store, name)?.id);
        let scope = Scope {
            manuals: question
                .manual
                .iter()
                .map(id)
                .collect::<Result<_, Problem>>()?,
            pages: PageSet::all(),
        };
        let models = desk.models(&library.profile);
        let asked = (question.question.as_str(), &scope, count);
        Ok(library::hits_to_read(
            &shared.settings,
            &library,
            models,
            asked,
        )?)
    };
    app.librarian.ask(task).await
}

/// The answer as server-sent events.
fn streamed(reading: Reading, on_drop: StopOnDrop) -> Response {
    let (sender, receiver) = channel(WAITING);
    tokio::task::spawn_blocking(move || {
        // A client that went away sets the flag that stops the answer.
        let send = |message| drop(sender.blocking_send(message));
        let last = match reading.answer(&send) {
            Ok(answer) => Message::Done(Box::new(answer)),
            Err(problem) => Message::Problem(problem),
        };
        send(last);
    });
    let next = |(mut receiver, on_drop): (Receiver<Message>, StopOnDrop)| async move {
        let event = receiver.recv().await?.event()?;
        Some((Ok::<_, Infallible>(event), (receiver, on_drop)))
    };
    server_sent::response(stream::unfold((receiver, on_drop), next))
}

/// A question whose pages were found.
struct Reading {
    app: Shared,
    library: Arc<Library>,
    question: AskQuestion,
    hits: Vec<SearchHit>,
    count: usize,
    stop: Arc<AtomicBool>,
    _permit: OwnedSemaphorePermit,
}

impl Reading {
    /// Reads the pages and answers.
    fn answer(&self, send: &(dyn Fn(Message) + Sync)) -> Result<AskAnswer, Problem> {
        let (app, settings) = (&self.app, &self.app.settings);
        let note = |text| send(Message::Event(Event::Note(text)));
        let parts = (settings, &*self.library.store, app.asker.passwords());
        let pages: Vec<ContextPage> =
            library::context_pages(parts, &self.hits, self.count, &mut { note })?;
        if pages.is_empty() {
            return Err(Problem::no_pages());
        }
        let read = Citation::all(&pages);
        send(Message::Pages(read.clone()));
        let runner = app.asker.runner(settings);
        let runner = runner.map_err(|why| Problem::no_model(Diagnostic::from(why)))?;
        let gauge = || runner.process().and_then(measure::process_memory);
        let answer = answer::answer(
            &*runner,
            (library::answer_settings(settings, pages.len()), &gauge),
            (&self.question.question, &pages),
            &self.stop,
            &|event| send(Message::Event(event)),
        );
        let answer = answer.inspect_err(|why| {
            if let answer::Error::Runner(_) = why {
                app.asker.forget();
            }
        })?;
        Ok(AskAnswer {
            question: self.question.question.clone(),
            pages: read,
            answer,
        })
    }
}
