//! A page: its record, thumbnail, picture and heat maps.

use std::ops::Range;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::app::{App, Shared, blocking};
use super::librarian::{Desk, ModelState};
use super::parameters::{Path, Query};
use super::pictures::FileState;
use super::problem::Problem;
use super::shelf::page_of;
use crate::embed::VisualWeight;
use crate::heatmap;
use crate::library::{self, Library};
use crate::page::{Annotation, Description, PageId, Sections};
use crate::store::{ManualCard, StoredPage, VectorUpdate};
use crate::units;

/// Lifetime of pictures in caches: their address changes when they do.
pub(super) const IMMUTABLE: HeaderValue =
    HeaderValue::from_static("private, max-age=31536000, immutable");
/// Widths of pictures, in pixels.
pub(super) const WIDTHS: std::ops::RangeInclusive<u32> = 200..=3000;

/// A page.
#[derive(Serialize, JsonSchema)]
pub(super) struct PageView {
    /// Its id.
    id: String,
    /// Its manual.
    manual: String,
    /// Its number, from 1.
    page: u32,
    /// Number of pages of the manual.
    of: u32,
    /// What is printed on it as its number.
    label: Option<String>,
    /// The first section that begins on it, or else the one it continues.
    section: Option<String>,
    /// Whether there is nothing on it.
    blank: bool,
    /// The text layer.
    text: String,
    /// Its description by a vision-language model.
    description: Option<DescriptionView>,
    /// Whether the file can still be shown.
    file: FileState,
    /// Digest of pixels and text: `v` of the addresses of its pictures.
    version: String,
    /// Id of the stored page before it.
    previous: Option<String>,
    /// Id of the stored page after it.
    next: Option<String>,
}

/// The description of a page.
#[derive(Serialize, JsonSchema)]
pub(super) struct DescriptionView {
    title: String,
    summary: String,
    topics: Vec<String>,
    identifiers: Vec<IdentifierView>,
    /// Language of the page, as the model named it.
    language: String,
}

/// A code or part number of a description.
#[derive(Serialize, JsonSchema)]
pub(super) struct IdentifierView {
    text: String,
    /// Whether it is in the text layer too.
    confirmed: bool,
}

impl From<&Description> for DescriptionView {
    fn from(description: &Description) -> Self {
        let identifiers = description
            .identifiers
            .iter()
            .map(|identifier| IdentifierView {
                text: identifier.text.clone(),
                confirmed: identifier.confirmed,
            });
        Self {
            title: description.title.clone(),
            summary: description.summary.clone(),
            topics: description.topics.clone(),
            identifiers: identifiers.collect(),
            language: description.language.clone(),
        }
    }
}

/// A page by its manual and number.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    /// Name of the manual.
    manual: String,
    /// Number of the page, from 1.
    page: u32,
}

pub(super) async fn find(
    State(app): State<Shared>,
    Query(query): Query<PageQuery>,
) -> Result<Json<PageView>, Problem> {
    blocking(move || {
        let library = app.shelf.library()?;
        let card = library::manual_named(&*library.store, &query.manual)?;
        let page = PageId::new(&card.id, query.page);
        let pages = units::pages(card.pages);
        let view = view(&app, &library, (card, page));
        view.map_err(|problem| match problem.is_absent_page() {
            true => problem.hint(format!("the manual has {pages}")),
            false => problem,
        })
    })
    .await
    .map(Json)
}

pub(super) async fn get(
    State(app): State<Shared>,
    Path(id): Path,
) -> Result<Json<PageView>, Problem> {
    blocking(move || {
        let library = app.shelf.library()?;
        let page = page_of(&library, &id)?;
        view(&app, &library, page)
    })
    .await
    .map(Json)
}

fn view(
    app: &App,
    library: &Library,
    (card, page): (ManualCard, PageId),
) -> Result<PageView, Problem> {
    let record = library::find_record(&*library.store, &page)?;
    let numbers = library.store.fingerprints(&card.id)?;
    let numbers = numbers.iter().map(|stored| stored.number);
    let neighbour = |number: u32| PageId::new(&card.id, number).uuid().to_string();
    let annotation = record
        .description
        .as_deref()
        .and_then(Annotation::from_json);
    let description = annotation.as_ref().and_then(Annotation::description);
    let sections = Sections::parse(record.section.as_deref().unwrap_or_default());
    Ok(PageView {
        id: page.uuid().to_string(),
        manual: card.id.to_string(),
        page: page.number,
        of: card.pages,
        label: record.label,
        section: sections.first().map(str::to_owned),
        blank: record.blank,
        text: record.text,
        description: description.map(DescriptionView::from),
        file: app.pictures.file_state(&card),
        version: record.content,
        previous: numbers
            .clone()
            .filter(|n| *n < page.number)
            .max()
            .map(neighbour),
        next: numbers.filter(|n| *n > page.number).min().map(neighbour),
    })
}

/// The version that a client knows; it makes the address change with the picture.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ThumbnailQuery {
    /// `version` of the page.
    #[serde(default)]
    #[expect(dead_code, reason = "only makes addresses differ")]
    v: String,
}

pub(super) async fn thumbnail(
    State(app): State<Shared>,
    Path(id): Path,
    Query(_): Query<ThumbnailQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let page = blocking(move || {
        let library = app.shelf.library()?;
        let (_, page) = page_of(&library, &id)?;
        Ok(library::find_record(&*library.store, &page)?)
    })
    .await?;
    if page.thumbnail.is_empty() {
        let detail = format!("{} was stored without a thumbnail", page.id);
        let problem = Problem::new(StatusCode::NOT_FOUND, "no-thumbnail", detail);
        return Err(problem.hint("ask for its picture instead"));
    }
    Ok(picture_response(&headers, &page.content, page.thumbnail))
}

/// The size of a picture.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PictureQuery {
    /// Width in pixels.
    #[schemars(range(min = 200, max = 3000))]
    width: Option<u32>,
    /// `version` of the page.
    #[serde(default)]
    #[expect(dead_code, reason = "only makes addresses differ")]
    v: String,
}

pub(super) async fn picture(
    State(app): State<Shared>,
    Path(id): Path,
    Query(query): Query<PictureQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let width = query.width.unwrap_or(1000);
    if !WIDTHS.contains(&width) {
        let (least, most) = (WIDTHS.start(), WIDTHS.end());
        return Err(Problem::invalid(format!(
            "`width` must be from {least} to {most}"
        )));
    }
    let (tag, jpeg) = blocking(move || {
        let library = app.shelf.library()?;
        let (card, page) = page_of(&library, &id)?;
        let record = library::find_record(&*library.store, &page)?;
        let (jpeg, was_kept) = app.pictures.page(&card, &record, width)?;
        app.counters.picture(was_kept);
        Ok((format!("{}-{width}", record.content), jpeg))
    })
    .await?;
    Ok(picture_response(&headers, &tag, jpeg))
}

/// A JPEG, or 304 if the client has it.
fn picture_response(request: &HeaderMap, tag: &str, jpeg: Vec<u8>) -> Response {
    let tag = format!("\"{tag}\"");
    let known = request
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let is_known = known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, IMMUTABLE);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    (headers, jpeg).into_response()
}

/// The question whose words are looked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HeatQuery {
    /// The question.
    q: String,
}

/// Where the words of a question match a page.
#[derive(Serialize, JsonSchema)]
pub(super) struct Heat {
    /// Cells from left to right.
    columns: u16,
    /// Cells from top to bottom.
    rows: u16,
    /// Cosines between which a cell goes from cold to hot, for this model.
    range: [f32; 2],
    /// The words of the question that the model looks for.
    words: Vec<WordHeat>,
    /// Why there are no words.
    reason: Option<String>,
}

impl Heat {
    /// None, for a reason.
    fn none(reason: impl Into<String>) -> Self {
        Self {
            columns: 1,
            rows: 1,
            range: [0.0, 1.0],
            words: Vec::new(),
            reason: Some(reason.into()),
        }
    }
}

/// Where a word matches.
#[derive(Serialize, JsonSchema)]
pub(super) struct WordHeat {
    /// The word.
    text: String,
    /// Its first UTF-16 code unit in the question.
    from: usize,
    /// The one after its last.
    to: usize,
    /// The largest cosine on the page.
    best: f32,
    /// The largest cosine of each cell, row by row, as base64 of bytes: 255 is 1, 0 is 0 or less.
    map: String,
}

pub(super) async fn heat(
    State(app): State<Shared>,
    Path(id): Path,
    Query(query): Query<HeatQuery>,
) -> Result<Json<Heat>, Problem> {
    let text = query.q;
    if text.trim().is_empty() {
        return Err(crate::search::Error::Empty.into());
    }
    let status = app.librarian.status();
    if status.state != ModelState::Ready {
        let reason = format!("the model `{}` is not loaded", status.name);
        return Ok(Json(Heat::none(reason)));
    }
    let (library, page) = {
        let app = app.clone();
        blocking(move || {
            let library = app.shelf.library()?;
            let (card, page) = page_of(&library, &id)?;
            let page = library::find_page(&*library.store, &card.id, page.number)?;
            Ok((library, page))
        })
        .await?
    };
    if library.profile.pool_factor > 1 {
        let reason = "the vectors of this library are pooled: none belongs to one place of a page";
        return Ok(Json(Heat::none(reason)));
    }
    let shared = app.clone();
    let task = move |desk: &mut Desk| heat_of(&shared, desk, (&library, &page), &text);
    app.librarian.ask(task).await.map(Json)
}

fn heat_of(
    app: &App,
    desk: &mut Desk,
    (library, page): (&Library, &StoredPage),
    question: &str,
) -> Result<Heat, Problem> {
    let VectorUpdate::Replace(vectors) = &page.vectors else {
        return Err(Problem::internal("the page was read without its vectors"));
    };
    // As it is searched: without white space around it.
    let text = question.trim();
    let before = question.len() - question.trim_start().len();
    let query = desk.query(&library.profile, text)?;
    let utf16 = |bytes: usize| question[..before + bytes].encode_utf16().count();
    let rows: Vec<Range<usize>> = query.words.iter().map(|word| word.rows.clone()).collect();
    let maps = heatmap::maps(vectors, &query.vectors, &rows);
    let words = query.words.iter().zip(maps).map(|(word, map)| WordHeat {
        text: text[word.text.clone()].to_owned(),
        from: utf16(word.text.start),
        to: utf16(word.text.end),
        best: f32::from(map.iter().copied().max().unwrap_or(0)) / 255.0,
        map: STANDARD.encode(map),
    });
    let card = library::card_for_profile(&app.settings, &library.profile)?;
    Ok(Heat {
        columns: vectors.patches.columns(),
        rows: vectors.patches.rows(),
        range: heat_range(card.visual_weight),
        words: words.collect(),
        reason: None,
    })
}

/// Cosines between which a cell goes from cold to hot. For a model that only knows spelling they lie around those from which
/// a word is on a page at all.
fn heat_range(weight: VisualWeight) -> [f32; 2] {
    match weight.similarity {
        Some((none, all)) => [none - 0.19, all + 0.07],
        None => [0.3, 0.75],
    }
}
