//! Manuals: the list, one of them, its file, and its removal.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Serialize;
use tower_http::services::ServeFile;

use super::app::{App, Shared, blocking};
use super::job::FailureView;
use super::parameters::Path;
use super::pictures::FileState;
use super::problem::Problem;
use crate::library::{self, Library};
use crate::page::{ManualId, PageId, PageSet, Sections};
use crate::store::{FileError, LastRun, ManualCard, ManualSummary, Scope};

/// A manual.
#[derive(Serialize, JsonSchema)]
pub(super) struct ManualView {
    /// Its name.
    name: String,
    /// Pages of its file.
    pages: u32,
    /// Pages stored.
    stored: u32,
    /// Blank pages among them.
    blank: u32,
    /// Pages that failed in the last run.
    failed: u32,
    /// Pages with a description; null if the store does not count them.
    described: Option<u32>,
    /// What the last run did with it.
    last_run: Option<LastRunView>,
    /// Bytes of its vectors.
    bytes: u64,
    /// Whether its file can still be shown.
    file: FileState,
    /// Whether the file is the server's own copy, which is deleted with the manual.
    own_copy: bool,
    /// Its first stored page.
    cover: Option<Cover>,
}

/// What a run did with a manual.
#[derive(Serialize, JsonSchema)]
pub(super) struct LastRunView {
    /// When it ended, in seconds since 1970.
    ended: u64,
    /// Busy seconds of each stage: `render`, `prepare`, `embed`, `store`.
    stages: BTreeMap<&'static str, f64>,
    /// Seconds that it took, without loading the model.
    seconds: f64,
    /// Pages stored per second.
    pages_per_second: f64,
    /// Pages stored.
    stored: u32,
    /// Pages that failed.
    failed: u32,
}

impl From<&LastRun> for LastRunView {
    fn from(run: &LastRun) -> Self {
        let seconds = &run.seconds;
        let stages = [
            ("render", seconds.render),
            ("prepare", seconds.prepare),
            ("embed", seconds.embed),
            ("store", seconds.store),
        ];
        Self {
            ended: run.ended,
            stages: stages.into(),
            seconds: run.seconds_taken(),
            pages_per_second: run.pages_per_second,
            stored: run.stored,
            failed: run.failed,
        }
    }
}

/// The page that stands for a manual.
#[derive(Serialize, JsonSchema)]
pub(super) struct Cover {
    /// Id of the page.
    id: String,
    /// `v` of the addresses of its pictures.
    version: String,
}

/// The manuals of the library.
#[derive(Serialize, JsonSchema)]
pub(super) struct ManualList {
    /// By name.
    manuals: Vec<ManualView>,
    /// Number of stored pages.
    pages: u64,
}

/// A manual with its outline.
#[derive(Serialize, JsonSchema)]
pub(super) struct ManualDetail {
    #[serde(flatten)]
    manual: ManualView,
    /// The sections in the order of their pages.
    outline: Vec<OutlineEntry>,
    /// Pages that failed in the last run, the first ones.
    failures: Vec<FailureView>,
}

/// A section.
#[derive(Serialize, JsonSchema)]
pub(super) struct OutlineEntry {
    /// Its title.
    title: String,
    /// The page on which it begins.
    page: u32,
    /// Id of that page.
    id: String,
}

pub(super) async fn list(State(app): State<Shared>) -> Result<Json<ManualList>, Problem> {
    blocking(move || {
        let Some(library) = app.shelf.library_if_any()? else {
            return Ok(ManualList {
                manuals: Vec::new(),
                pages: 0,
            });
        };
        let manuals = library.store.manuals()?;
        let pages = manuals.iter().map(|manual| u64::from(manual.stored)).sum();
        let views = manuals
            .into_iter()
            .map(|manual| view(&app, &library, manual));
        Ok(ManualList {
            manuals: views.collect::<Result<_, Problem>>()?,
            pages,
        })
    })
    .await
    .map(Json)
}

fn view(app: &App, library: &Library, manual: ManualSummary) -> Result<ManualView, Problem> {
    let fingerprints = library.store.fingerprints(&manual.card.id)?;
    let cover = fingerprints.first().map(|first| Cover {
        id: PageId::new(&manual.card.id, first.number)
            .uuid()
            .to_string(),
        version: first.content.clone(),
    });
    let own = app
        .shelf
        .uploads()
        .is_ok_and(|folder| manual.card.path.starts_with(folder));
    Ok(ManualView {
        described: manual.described,
        last_run: manual.last_run.as_ref().map(LastRunView::from),
        name: manual.card.id.to_string(),
        pages: manual.card.pages,
        stored: manual.stored,
        blank: manual.blank,
        failed: manual.last_run.as_ref().map_or(0, |run| run.failed),
        bytes: manual.bytes,
        file: app.pictures.file_state(&manual.card),
        own_copy: own,
        cover,
    })
}

fn whole(manual: &ManualId) -> Scope {
    Scope {
        manuals: vec![manual.clone()],
        pages: PageSet::all(),
    }
}

pub(super) async fn get(
    State(app): State<Shared>,
    Path(name): Path,
) -> Result<Json<ManualDetail>, Problem> {
    blocking(move || {
        let library = app.shelf.library()?;
        let card = library::manual_named(&*library.store, &name)?;
        let manuals = library.store.manuals()?;
        let manual = manuals.into_iter().find(|manual| manual.card.id == card.id);
        let manual = manual.unwrap_or(ManualSummary {
            card: card.clone(),
            stored: 0,
            blank: 0,
            bytes: 0,
            described: None,
            last_run: None,
        });
        let mut outline = Vec::new();
        for page in library.store.records(&whole(&card.id))? {
            let page = page?;
            let sections = Sections::parse(page.section.as_deref().unwrap_or_default());
            outline.extend(sections.begun.into_iter().map(|title| OutlineEntry {
                title,
                page: page.id.number,
                id: page.id.uuid().to_string(),
            }));
        }
        let failures = manual.last_run.iter().flat_map(|run| &run.failures);
        let failures = failures.map(|failure| FailureView {
            page: failure.page,
            reason: failure.reason.clone(),
        });
        Ok(ManualDetail {
            failures: failures.collect(),
            manual: view(&app, &library, manual)?,
            outline,
        })
    })
    .await
    .map(Json)
}

/// The original file, with byte ranges.
pub(super) async fn file(
    State(app): State<Shared>,
    Path(name): Path,
    request: Request,
) -> Result<Response, Problem> {
    let card = blocking(move || {
        let library = app.shelf.library()?;
        let card = library::manual_named(&*library.store, &name)?;
        // As when it is drawn: the file may be another one by now.
        match app.pictures.file_state(&card) {
            FileState::There => Ok(card),
            FileState::Moved | FileState::Changed => {
                let error = card.verify_file().err();
                let error = error.unwrap_or(FileError::Changed {
                    path: card.path.clone(),
                });
                Err(library::Error::from(error).into())
            }
        }
    })
    .await?;
    let tag = format!("\"{}\"", card.file);
    if is_known(request.headers(), &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let served = ServeFile::new(&card.path).try_call(request).await;
    let served = served.map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = served.map(Body::new);
    set_headers(response.headers_mut(), &card, &tag);
    Ok(response)
}

fn is_known(request: &HeaderMap, tag: &str) -> bool {
    let known = request
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag))
}

fn set_headers(headers: &mut HeaderMap, card: &ManualCard, tag: &str) {
    let name = card.path.file_name().unwrap_or_default().to_string_lossy();
    let name = utf8_percent_encode(&name, NON_ALPHANUMERIC);
    let disposition = format!("inline; filename*=UTF-8''{name}");
    let values = [
        (header::CONTENT_DISPOSITION, disposition),
        (header::ETAG, tag.to_owned()),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    for (name, value) in values {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

/// Removes a manual; its job is stopped first.
pub(super) async fn remove(
    State(app): State<Shared>,
    Path(name): Path,
) -> Result<StatusCode, Problem> {
    blocking(move || {
        let library = app.shelf.library()?;
        let card = library::manual_named(&*library.store, &name)?;
        app.jobs.remove(&library, &card)?;
        app.refresh();
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}
