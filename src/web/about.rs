//! `GET /api/v1/about`, and the probes.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::COOKIE;
use super::app::{App, Shared, blocking};
use super::librarian::{ModelState, ModelStatus};
use super::parameters::Body;
use super::problem::Problem;
use crate::page::{PageSet, Sections};
use crate::store::{Scope, Store};

/// Number of suggested questions.
const SUGGESTIONS: usize = 3;
/// Pages that are looked at for titles to suggest.
const PAGES_FOR_SUGGESTIONS: u32 = 40;
/// Letters of a title that is suggested: shorter ones say little, longer ones do not fit.
const TITLE_LETTERS: std::ops::RangeInclusive<usize> = 8..=60;

/// The server and its library.
#[derive(Serialize, JsonSchema)]
pub(super) struct About {
    /// Version of the program.
    version: &'static str,
    /// Path or URL of the store.
    library: String,
    /// The embedding model.
    model: ModelStatus,
    /// Whether search knows what texts mean.
    meaning: bool,
    /// Number of stored pages.
    pages: u64,
    /// Number of manuals with pages.
    manuals: u64,
    /// Folders whose files may be added by path.
    folders: Vec<String>,
    /// Maximum size of an uploaded file, in bytes.
    max_upload: u64,
    /// Questions that the library can answer: titles of its sections.
    suggestions: Vec<String>,
    /// Whether questions are answered fast enough to be asked while typing.
    questions_as_typed: bool,
}

/// What is known of the server and its library now.
pub(super) fn about(app: &App) -> Result<About, Problem> {
    let library = app.shelf.library_if_any()?;
    let manuals = match &library {
        Some(library) => library.store.manuals()?,
        None => Vec::new(),
    };
    let suggestions = match &library {
        Some(library) => suggestions(&*library.store)?,
        None => Vec::new(),
    };
    let folders = app.settings.serve.folders.iter();
    Ok(About {
        version: env!("CARGO_PKG_VERSION"),
        library: app.shelf.location(),
        model: app.librarian.status(),
        meaning: app.settings.embed.meaning.is_some(),
        pages: manuals.iter().map(|manual| u64::from(manual.stored)).sum(),
        manuals: manuals.len() as u64,
        folders: folders.map(|folder| folder.display().to_string()).collect(),
        max_upload: app.settings.serve.max_upload.0,
        suggestions,
        questions_as_typed: app.counters.answers_while_typing(),
    })
}

/// Titles of sections, of different manuals if there are several.
fn suggestions(store: &dyn Store) -> Result<Vec<String>, Problem> {
    let mut titles: Vec<Vec<String>> = Vec::new();
    for manual in store.manuals()?.into_iter().take(SUGGESTIONS) {
        let scope = Scope {
            manuals: vec![manual.card.id],
            pages: PageSet::between(1, PAGES_FOR_SUGGESTIONS),
        };
        let mut of_manual = Vec::new();
        for page in store.records(&scope)? {
            let sections = Sections::parse(page?.section.as_deref().unwrap_or_default());
            of_manual.extend(sections.begun);
        }
        let says_something =
            |title: &String| TITLE_LETTERS.contains(&title.chars().count()) && title.contains(' ');
        of_manual.retain(says_something);
        titles.push(of_manual);
    }
    let turns =
        (0..SUGGESTIONS).flat_map(|turn| titles.iter().filter_map(move |t| t.get(turn * 2)));
    Ok(turns.take(SUGGESTIONS).cloned().collect())
}

pub(super) async fn get(State(app): State<Shared>) -> Result<Json<About>, Problem> {
    blocking(move || about(&app)).await.map(Json)
}

/// Whether the process runs.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether questions are answered: the store can be read, and the model is loaded.
pub(super) async fn readyz(State(app): State<Shared>) -> Result<&'static str, Problem> {
    let status = app.librarian.status();
    blocking(move || {
        if let Some(library) = app.shelf.library_if_any()? {
            library.store.cards()?;
        }
        Ok(())
    })
    .await?;
    match status.state {
        ModelState::Ready => Ok("ready\n"),
        ModelState::Loading => {
            let detail = format!("the model `{}` is being loaded", status.name);
            Err(
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "model-loading", detail)
                    .hint("search by text works already: `mode=text`"),
            )
        }
        ModelState::Unavailable => {
            let reason = status.reason.unwrap_or_default();
            let problem =
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "model-unavailable", reason);
            Err(status.hints.into_iter().fold(problem, Problem::hint))
        }
    }
}

/// The key that a person entered into the page.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionRequest {
    /// The key of the server.
    key: String,
}

/// Exchanges the key for a cookie, which pictures and events can send.
pub(super) async fn session(
    State(app): State<Shared>,
    Body(request): Body<SessionRequest>,
) -> Result<Response, Problem> {
    if app.access.needs_key() && !app.access.is_key(&request.key) {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "wrong-key", "this is not the key");
        return Err(problem
            .hint("it is what INGEST_SERVE_KEY or `serve.key_file` had when the server started"));
    }
    let value = utf8_percent_encode(&request.key, NON_ALPHANUMERIC);
    let path = format!("{}/", app.access.base);
    let cookie = format!("{COOKIE}={value}; Path={path}; HttpOnly; SameSite=Strict");
    let mut headers = HeaderMap::new();
    let cookie = HeaderValue::from_str(&cookie).map_err(|_| Problem::invalid("an invalid key"))?;
    headers.insert(header::SET_COOKIE, cookie);
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}
