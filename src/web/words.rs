//! `GET /api/v1/pages/{id}/words`: where the words of a page stand on its picture.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::app::{Shared, blocking};
use super::pages::{IMMUTABLE, ThumbnailQuery};
use super::parameters::{Path, Query};
use super::problem::Problem;
use super::shelf::page_of;
use crate::library;
use crate::render::PlacedWord;

/// The words of the text layer of a page; a scan has none.
#[derive(Serialize, JsonSchema)]
pub(super) struct PageWords {
    /// In the order of the text layer.
    words: Vec<WordView>,
}

/// A word on the picture.
#[derive(Serialize, JsonSchema)]
pub(super) struct WordView {
    /// Its letters, with the punctuation beside them.
    text: String,
    /// Left, top, right and bottom, as shares of the width and height of the picture.
    place: [f32; 4],
}

impl From<PlacedWord> for WordView {
    fn from(word: PlacedWord) -> Self {
        Self {
            text: word.text,
            // Shorter in JSON, and finer than a pixel.
            place: word.place.map(|share| (share * 1e4).round() / 1e4),
        }
    }
}

pub(super) async fn get(
    State(app): State<Shared>,
    Path(id): Path,
    Query(_): Query<ThumbnailQuery>,
) -> Result<Response, Problem> {
    let words = blocking(move || {
        let library = app.shelf.library()?;
        let (card, page) = page_of(&library, &id)?;
        let record = library::find_record(&*library.store, &page)?;
        app.pictures.words(&card, &record)
    })
    .await?;
    let words = words.into_iter().map(WordView::from).collect();
    let headers = [(header::CACHE_CONTROL, IMMUTABLE)];
    Ok((headers, Json(PageWords { words })).into_response())
}
