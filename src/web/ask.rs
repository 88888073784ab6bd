//! `POST /api/v1/ask`: an answer that cites its pages, whole as JSON or while it comes as server-sent events.

use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc::{Receiver, channel};

use super::app::{Shared, blocking};
use super::asker::{AskAnswer, MAX_QUESTION, Progress, Reading, StopOnDrop};
use super::parameters::Body;
use super::problem::Problem;
use super::server_sent;
use crate::answer::{Event, MAX_PAGES, Piece};

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

/// What is sent to a client while an answer comes.
enum Message {
    Progress(Progress),
    Done(Box<AskAnswer>),
    Problem(Problem),
}

impl Message {
    fn event(self) -> Option<sse::Event> {
        let (name, data) = match self {
            Self::Progress(Progress::Pages(pages)) => ("pages", json!({ "pages": pages })),
            Self::Progress(Progress::Event(event)) => match event {
                Event::Piece(Piece::Text(text)) => ("text", json!({ "text": text })),
                Event::Piece(Piece::Citation(n)) => ("cite", json!({ "n": n })),
                Event::Restart => ("restart", json!({})),
                Event::Note(text) => ("note", json!({ "text": text })),
            },
            Self::Done(answer) => ("done", serde_json::to_value(answer).ok()?),
            Self::Problem(problem) => ("problem", serde_json::to_value(problem.into_body()).ok()?),
        };
        sse::Event::default().event(name).json_data(data).ok()
    }
}

pub(super) async fn post(
    State(app): State<Shared>,
    headers: HeaderMap,
    Body(body): Body<AskQuestion>,
) -> Result<Response, Problem> {
    let asker = app.asker.clone();
    let question = asker.question(body.question, body.manual, body.pages)?;
    let permit = asker.permit()?;
    let library = {
        let app = app.clone();
        blocking(move || app.shelf.library()).await?
    };
    let hits = {
        let (asker, library, question) = (asker.clone(), library.clone(), question.clone());
        let task = move |desk: &mut _| asker.hits(desk, &library, &question);
        app.librarian.ask(task).await?
    };
    let accepted = headers.get(header::ACCEPT).map(|value| value.as_bytes());
    let is_stream = accepted.is_some_and(|value| value.starts_with(b"text/event-stream"));
    let reading = Reading {
        asker,
        library,
        question,
        hits,
        _permit: permit,
    };
    let stop = StopOnDrop::default();
    match is_stream {
        true => Ok(streamed(reading, stop)),
        false => {
            let flag = stop.flag();
            let answer = blocking(move || reading.answer(&flag, &|_| ())).await?;
            Ok(Json(answer).into_response())
        }
    }
}

/// The answer as server-sent events.
fn streamed(reading: Reading, stop: StopOnDrop) -> Response {
    let (sender, receiver) = channel(WAITING);
    let flag = stop.flag();
    tokio::task::spawn_blocking(move || {
        // A client that went away sets the flag that stops the answer.
        let send = |message| drop(sender.blocking_send(message));
        let last = match reading.answer(&flag, &|progress| send(Message::Progress(progress))) {
            Ok(answer) => Message::Done(Box::new(answer)),
            Err(problem) => Message::Problem(problem),
        };
        send(last);
    });
    let next = |(mut receiver, stop): (Receiver<Message>, StopOnDrop)| async move {
        let event = receiver.recv().await?.event()?;
        Some((Ok::<_, Infallible>(event), (receiver, stop)))
    };
    server_sent::response(stream::unfold((receiver, stop), next))
}
