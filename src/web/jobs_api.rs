//! The jobs in the interface.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::app::{Shared, blocking};
use super::job::JobView;
use super::parameters::Path;
use super::problem::Problem;

/// The jobs since the server started, at least the last ones.
#[derive(Serialize, JsonSchema)]
pub(super) struct JobList {
    /// The oldest first.
    jobs: Vec<JobView>,
}

pub(super) async fn list(State(app): State<Shared>) -> Json<JobList> {
    Json(JobList {
        jobs: app.jobs.views(),
    })
}

pub(super) async fn get(
    State(app): State<Shared>,
    Path(id): Path,
) -> Result<Json<JobView>, Problem> {
    app.jobs.view(&id).map(Json)
}

pub(super) async fn stop(State(app): State<Shared>, Path(id): Path) -> Result<StatusCode, Problem> {
    blocking(move || app.jobs.stop(&id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
