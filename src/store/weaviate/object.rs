//! Converts pages and manuals to Weaviate objects and back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as JsonBody, json};

use super::properties::{DESCRIPTION, DESCRIPTION_TEXT, DESCRIPTION_VARIANTS, TEXT, VARIANTS};
use super::proto::{BatchObject, BatchProperties, Json, JsonValue, SearchResult, Struct};
use super::schema::{TEXT_VECTOR, VECTOR};
use super::text_object::{parse_text_vectors, text_properties, text_rows};
use super::values::{Fields, Property, encode_rows, encode_vectors, parse_rows};
use crate::analysis::variants;
use crate::page::{ManualId, PageId};
use crate::store::{ManualCard, StoredPage, TextUpdate, VectorUpdate, path_text};
use crate::vectors::{PageVectors, PatchMap};

/// The properties that are written even if a page keeps its vectors.
fn metadata_properties(page: &StoredPage) -> Vec<Property> {
    let text = |text: &Option<String>| text.clone().map(Json::Text);
    let mut all = vec![
        ("label", text(&page.label)),
        ("section", text(&page.section)),
        (TEXT, Some(Json::Text(page.text.clone()))),
        ("blank", Some(Json::Bool(page.blank))),
        ("origin", Some(Json::Text(page.origin.clone()))),
        ("content", Some(Json::Text(page.content.clone()))),
        ("thumbnail", blob(&page.thumbnail)),
    ];
    // `None` changes nothing: a description is written after its page.
    if page.description.is_some() {
        all.push((DESCRIPTION, text(&page.description)));
    }
    let variants = variant_properties(page).into_iter();
    all.extend(variants.map(|(name, text)| (name, Some(Json::Text(text)))));
    all
}

/// The properties that an earlier version did not write: variants, and the text of a description.
pub(super) fn variant_properties(page: &StoredPage) -> Vec<(&'static str, String)> {
    let mut all = vec![(VARIANTS, variants(&page.text))];
    if let Some(said) = page.description_text() {
        all.push((DESCRIPTION_VARIANTS, variants(&said)));
        all.push((DESCRIPTION_TEXT, said));
    }
    all
}

/// Bytes as base64; `None` if empty.
fn blob(bytes: &[u8]) -> Option<Json> {
    (!bytes.is_empty()).then(|| Json::Text(BASE64.encode(bytes)))
}

/// Body of a PATCH, which keeps the vectors; null removes a property. `text` are the text vectors that the page has then:
/// `None` changes nothing, [`TextUpdate::Keep`] stands for none.
///
/// A PATCH replaces a vector or keeps it, but never removes it: a page that loses its text vectors keeps the rows without
/// their properties, so nothing finds or reads them.
pub(super) fn patch(page: &StoredPage, text: Option<&TextUpdate>) -> JsonBody {
    let metadata = metadata_properties(page).into_iter();
    let properties = metadata.chain(text.into_iter().flat_map(text_properties));
    let mut body = json!({"properties": json_properties(properties)});
    if let Some(rows) = text.and_then(text_rows) {
        body["vectors"][TEXT_VECTOR] = rows.values.chunks(rows.width).collect();
    }
    body
}

/// Properties in the body of a PATCH.
fn json_properties(properties: impl IntoIterator<Item = Property>) -> JsonBody {
    let json = |value: Option<Json>| match value {
        Some(Json::Text(text)) => JsonBody::String(text),
        Some(Json::Bool(yes)) => yes.into(),
        // The server takes no fraction for an integer, not even `.0`, and all numbers are counts.
        Some(Json::Number(number)) => (number as u64).into(),
        Some(Json::Null(_)) | None => JsonBody::Null,
    };
    let properties = properties.into_iter();
    properties
        .map(|(name, value)| (name.to_owned(), json(value)))
        .collect()
}

/// A page with its vectors; [`TextUpdate::Keep`] stands for no text vectors.
pub(super) fn page(
    page: &StoredPage,
    new: &PageVectors,
    text: &TextUpdate,
    model: &str,
) -> BatchObject {
    let number = |n: u32| Some(Json::Number(n.into()));
    let mut properties = metadata_properties(page);
    properties.extend([
        ("manual", Some(Json::Text(page.id.manual.to_string()))),
        ("page_number", number(page.id.number)),
        ("rows", number(new.vectors.len() as u32)),
        ("grid_columns", number(new.patches.columns().into())),
        ("grid_rows", number(new.patches.rows().into())),
        ("places", blob(&new.patches.to_bytes())),
        ("model", Some(Json::Text(model.to_owned()))),
    ]);
    properties.extend(text_properties(text));
    let mut object = object(page.id.uuid().to_string(), properties);
    object.vectors = vec![encode_vectors(VECTOR, &new.vectors)];
    let text_rows = text_rows(text);
    object
        .vectors
        .extend(text_rows.map(|rows| encode_rows(TEXT_VECTOR, &rows.values, rows.width)));
    object
}

/// The record of a manual.
pub(super) fn manual(card: &ManualCard) -> BatchObject {
    object(manual_uuid(&card.id), manual_properties(card))
}

/// The same properties for a PATCH.
pub(super) fn manual_body(card: &ManualCard) -> JsonBody {
    json_properties(manual_properties(card))
}

fn manual_properties(card: &ManualCard) -> Vec<Property> {
    let text = |text: &str| Some(Json::Text(text.to_owned()));
    vec![
        ("name", text(card.id.as_str())),
        ("path", text(&path_text::encode(&card.path))),
        ("file", text(&card.file)),
        ("render", text(&card.render)),
        ("pages", Some(Json::Number(card.pages.into()))),
    ]
}

/// UUID of a manual's record: that of page 0, which no page has.
pub(super) fn manual_uuid(manual: &ManualId) -> String {
    PageId::new(manual, 0).uuid().to_string()
}

fn object(uuid: String, properties: Vec<Property>) -> BatchObject {
    let field = |(name, value): Property| {
        value.map(|kind| (name.to_owned(), JsonValue { kind: Some(kind) }))
    };
    let fields = properties.into_iter().filter_map(field).collect();
    BatchObject {
        uuid,
        properties: Some(BatchProperties {
            non_ref_properties: Some(Struct { fields }),
        }),
        ..BatchObject::default()
    }
}

/// Decodes and validates a complete page.
pub(super) fn parse_page(result: &SearchResult, id: PageId) -> Result<StoredPage, String> {
    let fields = Fields::new(result);
    let vectors = parse_rows(result, VECTOR)?;
    let side = |name| {
        let side = u16::try_from(fields.int(name).unwrap_or_default());
        side.map_err(|_| "its grid is too large".to_owned())
    };
    let [columns, rows] = [side("grid_columns")?, side("grid_rows")?];
    let cells = fields.blob("places").unwrap_or_default();
    let patches = PatchMap::from_bytes(columns, rows, &cells, vectors.len())
        .map_err(|cause| cause.to_string())?;
    Ok(StoredPage {
        vectors: VectorUpdate::Replace(PageVectors { vectors, patches }),
        text_vectors: parse_text_vectors(result)?,
        ..parse_record(result, id)
    })
}

/// Decodes a page without its vectors.
pub(super) fn parse_record(result: &SearchResult, id: PageId) -> StoredPage {
    let fields = Fields::new(result);
    StoredPage {
        id,
        origin: fields.text("origin").unwrap_or_default(),
        content: fields.text("content").unwrap_or_default(),
        label: fields.text("label"),
        section: fields.text("section"),
        text: fields.text(TEXT).unwrap_or_default(),
        description: fields.text(DESCRIPTION),
        blank: fields.is("blank"),
        thumbnail: fields.blob("thumbnail").unwrap_or_default(),
        vectors: VectorUpdate::Keep,
        text_vectors: TextUpdate::Keep,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroUsize;

    use super::super::proto::{Kind, MetadataResult, Properties, PropertiesResult, Value};
    use super::*;
    use crate::vectors::MultiVector;

    /// A search result: a page of two vectors.
    fn answer(columns: i64, cells: &[u8]) -> SearchResult {
        let two = NonZeroUsize::new(2).unwrap();
        let vectors = MultiVector::new(vec![1.0, 0.0, 0.0, 1.0], two).unwrap();
        let fields = [
            ("grid_columns", Kind::Int(columns)),
            ("grid_rows", Kind::Int(1)),
            ("places", Kind::Text(BASE64.encode(cells))),
        ];
        let fields = fields.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
        SearchResult {
            properties: Some(PropertiesResult {
                non_ref_props: Some(Properties {
                    fields: BTreeMap::from(fields),
                }),
            }),
            metadata: Some(MetadataResult {
                vectors: vec![encode_vectors(VECTOR, &vectors)],
                ..MetadataResult::default()
            }),
        }
    }

    #[test]
    fn invalid_patch_maps_are_rejected() {
        let id = PageId::new(&ManualId::new("pump.pdf"), 1);
        assert!(parse_page(&answer(2, &[0, 0, 1, 0]), id.clone()).is_ok());
        for (columns, cells, why) in [
            (
                2,
                &[0, 0, 2, 0][..],
                "row 1 has cell 2, outside a grid of 2 x 1",
            ),
            (2, &[0, 0], "it has 2 vectors but cells for 1"),
            (2, &[0, 0, 1], "3 bytes do not divide into cells"),
            (0, &[0xff; 4], "a grid of 0 x 1 has no cells"),
            (65_538, &[0, 0, 1, 0], "its grid is too large"),
        ] {
            let refused = parse_page(&answer(columns, cells), id.clone());
            assert_eq!(refused, Err(why.to_owned()));
        }
    }
}
