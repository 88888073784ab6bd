//! Text vectors of a page as properties and a named vector of its object, and back.

use super::properties::{TEXT_BYTES, TEXT_DIGEST, TEXT_PROFILE, TEXT_TOKENS, WORDS_READ};
use super::proto::{Json, SearchResult};
use super::schema::TEXT_VECTOR;
use super::values::{Fields, Property, parse_rows};
use crate::store::{Precision, TextUpdate, text_profile};
use crate::vectors::TextVectors;

/// The properties of text vectors; those of [`TextUpdate::Keep`], which here stands for none, have no value.
pub(super) fn text_properties(stored: &TextUpdate) -> Vec<Property> {
    let (digest, vectors, words_read) = match stored {
        TextUpdate::Replace {
            digest,
            vectors,
            words_read,
        } => (Some(digest.as_str()), vectors.as_ref(), words_read.as_str()),
        TextUpdate::Keep => (None, None, ""),
    };
    let words_read = Some(words_read).filter(|words| !words.is_empty());
    let profile = digest.and_then(text_profile).filter(|_| vectors.is_some());
    let bytes = vectors.map(|new| size_of_val(new.vectors.as_slice()) / 2);
    let text = |text: &str| Json::Text(text.to_owned());
    vec![
        (TEXT_DIGEST, digest.map(text)),
        (TEXT_PROFILE, profile.map(text)),
        (TEXT_TOKENS, vectors.map(|new| Json::Text(tokens(new)))),
        (TEXT_BYTES, bytes.map(|bytes| Json::Number(bytes as f64))),
        (WORDS_READ, words_read.map(text)),
    ]
}

fn tokens(new: &TextVectors) -> String {
    let tokens: Vec<String> = new.tokens.iter().map(ToString::to_string).collect();
    tokens.join(" ")
}

/// The values of rows, row-major, and their width.
pub(super) struct TextRows {
    pub(super) values: Vec<f32>,
    pub(super) width: usize,
}

/// The rows of text vectors, rounded as a file rounds them, so that both stores rank pages alike.
pub(super) fn text_rows(stored: &TextUpdate) -> Option<TextRows> {
    let TextUpdate::Replace { vectors, .. } = stored else {
        return None;
    };
    let rows = &vectors.as_ref()?.vectors;
    let width = rows.dim();
    let values = Precision::OF_TEXT.decode(&Precision::OF_TEXT.encode(rows), width);
    Some(TextRows { values, width })
}

/// Decodes the text vectors of a page; [`TextUpdate::Keep`] if it has none.
pub(super) fn parse_text_vectors(result: &SearchResult) -> Result<TextUpdate, String> {
    let fields = Fields::new(result);
    let Some(digest) = fields.text(TEXT_DIGEST) else {
        return Ok(TextUpdate::Keep);
    };
    let words_read = fields.text(WORDS_READ).unwrap_or_default();
    let Some(tokens) = fields.text(TEXT_TOKENS) else {
        return Ok(TextUpdate::Replace {
            digest,
            vectors: None,
            words_read,
        });
    };
    let tokens: Vec<u32> = tokens
        .split(' ')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| "its text vectors have invalid tokens")?;
    let vectors = parse_rows(result, TEXT_VECTOR)?;
    if vectors.len() != tokens.len() {
        let (tokens, rows) = (tokens.len(), vectors.len());
        return Err(format!("it has {tokens} tokens of {rows} rows"));
    }
    Ok(TextUpdate::Replace {
        digest,
        vectors: Some(TextVectors { vectors, tokens }),
        words_read,
    })
}
