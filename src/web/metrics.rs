//! `GET /metrics`: what the server counted, in the text format of Prometheus.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::app::{Shared, blocking};
use super::job::JobState;
use super::librarian::ModelState;
use super::problem::Problem;

pub(super) async fn get(State(app): State<Shared>) -> Result<impl IntoResponse, Problem> {
    let text = blocking(move || {
        let mut out = String::new();
        let failed = |_| Problem::internal("the counters cannot be written");
        app.counters.write(&mut out).map_err(failed)?;
        let library = app.shelf.library_if_any()?;
        let manuals = library.map_or(Ok(Vec::new()), |library| library.store.manuals())?;
        let pages: u64 = manuals.iter().map(|manual| u64::from(manual.stored)).sum();
        out += &format!("# TYPE ingest_pages gauge\ningest_pages {pages}\n");
        out += "# TYPE ingest_jobs gauge\n";
        let views = app.jobs.views();
        for state in JobState::ALL {
            let count = views.iter().filter(|job| job.state == state).count();
            out += &format!("ingest_jobs{{state=\"{}\"}} {count}\n", state.name());
        }
        let is_ready = app.librarian.status().state == ModelState::Ready;
        out += &format!(
            "# TYPE ingest_model_ready gauge\ningest_model_ready {}\n",
            u8::from(is_ready)
        );
        Ok(out)
    })
    .await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
