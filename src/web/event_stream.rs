//! `GET /api/v1/events`: what happens, as server-sent events. The first one is a snapshot.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::about::{self, About};
use super::app::{Shared, blocking};
use super::events::Event;
use super::job::JobView;
use super::problem::Problem;

/// Time between comments that keep the connection alive.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The first event of a stream.
#[derive(Serialize, JsonSchema)]
pub(super) struct Snapshot {
    about: About,
    jobs: Vec<JobView>,
}

/// The stream of a client.
struct Client {
    app: Shared,
    events: Receiver<Event>,
    needs_snapshot: bool,
}

impl Client {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if self.needs_snapshot {
                self.needs_snapshot = false;
                return self.snapshot().await.ok();
            }
            match self.events.recv().await {
                Ok(event) => return self.message(event).await,
                Err(RecvError::Lagged(_)) => self.needs_snapshot = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    async fn snapshot(&self) -> Result<sse::Event, Problem> {
        let snapshot = Snapshot {
            about: about_of(&self.app).await?,
            jobs: self.app.jobs.views(),
        };
        json("snapshot", &snapshot).ok_or_else(|| Problem::internal("an event is no JSON"))
    }

    async fn message(&self, event: Event) -> Option<sse::Event> {
        match event {
            Event::Job(job) => json("job", &job),
            Event::Model(model) => json("model", &model),
            Event::Library => json("library", &about_of(&self.app).await.ok()?),
        }
    }
}

async fn about_of(app: &Shared) -> Result<About, Problem> {
    let app = app.clone();
    blocking(move || about::about(&app)).await
}

fn json(name: &str, data: &impl Serialize) -> Option<sse::Event> {
    sse::Event::default().event(name).json_data(data).ok()
}

pub(super) async fn get(State(app): State<Shared>) -> Response {
    let client = Client {
        events: app.events.subscribe(),
        app,
        needs_snapshot: true,
    };
    let next = |mut client: Client| async move {
        let event = client.next().await?;
        Some((Ok::<_, Infallible>(event), client))
    };
    let stream = Sse::new(stream::unfold(client, next));
    unbuffered(stream.keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// A response that a proxy must not collect before it passes it on.
pub(super) fn unbuffered(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    let header = HeaderName::from_static("x-accel-buffering");
    response
        .headers_mut()
        .insert(header, HeaderValue::from_static("no"));
    response
}
