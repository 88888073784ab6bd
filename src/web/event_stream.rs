//! `GET /api/v1/events`: what happens, as server-sent events. The first one is a snapshot.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::Response;
use axum::response::sse;
use futures_util::stream;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::about::{self, About};
use super::app::{Shared, blocking};
use super::events::Event;
use super::job::JobView;
use super::problem::Problem;
use super::server_sent;

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
    let stream = stream::unfold(client, next);
    server_sent::response(stream)
}
