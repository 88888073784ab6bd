//! `PUT /api/v1/manuals/{name}/file` and `…/path`: the file of a manual is chosen again, after it moved or changed.

use std::path::PathBuf;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::app::{App, Shared, blocking};
use super::parameters::{self, Path};
use super::problem::Problem;
use super::uploads;
use crate::library::{self, Library};
use crate::store::{ManualCard, Mode};

/// Where the file of a manual is now.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPath {
    /// A file below one of `serve.folders`.
    path: PathBuf,
}

/// Receives the file; the server keeps a copy, as of an upload.
pub(super) async fn file(
    State(app): State<Shared>,
    Path(name): Path,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let known = {
        let app = app.clone();
        let name = name.clone();
        blocking(move || card(&*app.shelf.library()?, &name)).await
    };
    if let Err(problem) = known {
        uploads::discard(body, app.settings.serve.max_upload).await;
        return Err(problem);
    }
    let (file, digest) = uploads::receive(&app, &headers, body).await?;
    blocking(move || {
        let library = app.shelf.library()?;
        let card = card(&library, &name)?;
        check(&card, &digest)?;
        let name = card.path.file_name().unwrap_or_default();
        let name = uploads::clean_name(&name.to_string_lossy());
        let path = uploads::place(file, &app.shelf.uploads()?, &name, &digest)?;
        set_path(&app, &library, card, path)
    })
    .await
}

/// Takes a file of the server's disk where it is.
pub(super) async fn path(
    State(app): State<Shared>,
    Path(name): Path,
    parameters::Body(new): parameters::Body<NewPath>,
) -> Result<StatusCode, Problem> {
    blocking(move || {
        let library = app.shelf.library()?;
        let card = card(&library, &name)?;
        let path = uploads::allowed(&app, &new.path)?;
        let digest = ManualCard::digest(&path).map_err(|why| {
            let detail = format!("{}: cannot be read: {why}", path.display());
            Problem::new(StatusCode::CONFLICT, "file-unreadable", detail)
                .hint("name a file that the server may read")
        })?;
        check(&card, &digest)?;
        set_path(&app, &library, card, path)
    })
    .await
}

fn card(library: &Library, name: &str) -> Result<ManualCard, Problem> {
    Ok(library::manual_named(&*library.store, name)?)
}

/// Whether a file is the one that the manual was stored from: its pages are those that are stored.
fn check(card: &ManualCard, digest: &str) -> Result<(), Problem> {
    if card.file == digest {
        return Ok(());
    }
    let detail = format!("this is not the file that {} was stored from", card.id);
    Err(
        Problem::new(StatusCode::CONFLICT, "other-file", detail).hint(
            "choose the file as it was then; if it has a new edition, add that as a new file and remove this manual",
        ),
    )
}

fn set_path(
    app: &App,
    library: &Library,
    card: ManualCard,
    path: PathBuf,
) -> Result<StatusCode, Problem> {
    let moved = ManualCard { path, ..card };
    app.jobs.between_jobs(|| {
        let config = &app.settings.store;
        let opened = library::open_for_writing(config, &library.profile, Mode::Write, |_| {})?;
        opened.store.upsert_manual(&moved)
    })?;
    app.refresh();
    Ok(StatusCode::NO_CONTENT)
}
