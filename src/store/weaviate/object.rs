//! Pages and manuals as objects of the server, and back.

use std::num::NonZeroUsize;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value as JsonText;

use super::proto::{
    BatchObject, BatchProperties, Json, JsonValue, Kind, MULTI_FP32, Properties, SearchResult,
    Struct, Vectors as WireVectors,
};
use super::schema::{DESCRIPTION, SAID, TEXT, VECTOR};
use crate::page::{ManualId, PageId};
use crate::store::{ManualCard, StoredPage, VectorUpdate};
use crate::vectors::{MultiVector, PageVectors, PatchMap};

/// A property and its value; none where it has none.
type Property = (&'static str, Option<Json>);

/// What a page that keeps its vectors changes.
fn changing(page: &StoredPage) -> Vec<Property> {
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
    // None is no change: a description comes later than its page.
    if page.description.is_some() {
        all.push((DESCRIPTION, text(&page.description)));
        all.push((SAID, text(&page.said())));
    }
    all
}

/// Bytes as base64; none where there are none.
fn blob(bytes: &[u8]) -> Option<Json> {
    (!bytes.is_empty()).then(|| Json::Text(BASE64.encode(bytes)))
}

/// The body of a PATCH that leaves the vectors as they are; null takes a property away.
pub(super) fn patch(page: &StoredPage, collection: &str, tenant: &str) -> JsonText {
    let json = |value: Option<Json>| match value {
        Some(Json::Text(text)) => JsonText::String(text),
        Some(Json::Bool(yes)) => yes.into(),
        Some(Json::Number(number)) => number.into(),
        Some(Json::Null(_)) | None => JsonText::Null,
    };
    let properties: serde_json::Map<_, _> = changing(page)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json(value)))
        .collect();
    let mut body = serde_json::json!({"class": collection, "properties": properties});
    if !tenant.is_empty() {
        body["tenant"] = tenant.into();
    }
    body
}

/// A page with its vectors.
pub(super) fn page(page: &StoredPage, new: &PageVectors, model: &str) -> BatchObject {
    let number = |n: u32| Some(Json::Number(n.into()));
    let mut properties = changing(page);
    properties.extend([
        ("manual", Some(Json::Text(page.id.manual.to_string()))),
        ("page_number", number(page.id.number)),
        ("rows", number(new.vectors.len() as u32)),
        ("grid_columns", number(new.patches.columns().into())),
        ("grid_rows", number(new.patches.rows().into())),
        ("places", blob(&new.patches.to_bytes())),
        ("model", Some(Json::Text(model.to_owned()))),
    ]);
    let mut object = object(page.id.uuid().to_string(), properties);
    object.vectors = vec![wire_vectors(&new.vectors)];
    object
}

/// The record of a manual.
pub(super) fn manual(card: &ManualCard) -> BatchObject {
    let text = |text: &str| Some(Json::Text(text.to_owned()));
    let properties = vec![
        ("name", text(card.id.as_str())),
        ("path", text(&card.path.to_string_lossy())),
        ("file", text(&card.file)),
        ("render", text(&card.render)),
        ("pages", Some(Json::Number(card.pages.into()))),
    ];
    object(manual_uuid(&card.id), properties)
}

/// The id of the record of a manual: that of a page 0, which no page has.
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

/// A multi-vector on the wire: u16 little-endian width, then the rows, f32 little-endian, row-major
/// (`usecases/byteops/byteops.go`).
pub(super) fn wire_vectors(vectors: &MultiVector) -> WireVectors {
    let mut bytes = Vec::with_capacity(2 + size_of_val(vectors.as_slice()));
    bytes.extend((vectors.dim() as u16).to_le_bytes());
    bytes.extend(vectors.as_slice().iter().flat_map(|v| v.to_le_bytes()));
    WireVectors {
        name: VECTOR.to_owned(),
        vector_bytes: bytes,
        kind: MULTI_FP32,
    }
}

/// The rows of an answer.
fn rows(result: &SearchResult) -> Result<MultiVector, String> {
    let sent = result
        .metadata
        .iter()
        .flat_map(|m| &m.vectors)
        .find(|v| v.name == VECTOR);
    let bytes = sent.map(|v| v.vector_bytes.as_slice()).unwrap_or_default();
    let (width, floats) = bytes.split_first_chunk().ok_or("it has no vectors")?;
    let dim =
        NonZeroUsize::new(u16::from_le_bytes(*width).into()).ok_or("its vectors have no width")?;
    let (floats, rest) = floats.as_chunks();
    if !rest.is_empty() {
        return Err("its vectors are cut off".to_owned());
    }
    let rows = floats
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    MultiVector::new(rows, dim).map_err(|cause| cause.to_string())
}

/// The properties of an answer.
pub(super) struct Fields<'a>(Option<&'a Properties>);

impl<'a> Fields<'a> {
    pub(super) fn of(result: &'a SearchResult) -> Self {
        let properties = result.properties.as_ref();
        Self(properties.and_then(|p| p.non_ref_props.as_ref()))
    }

    fn kind(&self, name: &str) -> Option<&'a Kind> {
        self.0?.fields.get(name)?.kind.as_ref()
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.kind(name)? {
            Kind::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn int(&self, name: &str) -> Option<u32> {
        match *self.kind(name)? {
            Kind::Int(n) => n.try_into().ok(),
            Kind::Number(n) => Some(n as u32),
            _ => None,
        }
    }

    fn is(&self, name: &str) -> bool {
        matches!(self.kind(name), Some(Kind::Bool(true)))
    }

    fn blob(&self, name: &str) -> Option<Vec<u8>> {
        match self.kind(name)? {
            Kind::Text(text) => BASE64.decode(text).ok(),
            _ => None,
        }
    }

    /// Which page the answer is about.
    pub(super) fn id(&self) -> Option<PageId> {
        let manual = ManualId::from(self.text("manual")?);
        Some(PageId {
            manual,
            number: self.int("page_number")?,
        })
    }

    /// The record of a manual.
    pub(super) fn card(&self) -> Option<ManualCard> {
        Some(ManualCard {
            id: ManualId::from(self.text("name")?),
            path: self.text("path")?.into(),
            file: self.text("file")?,
            render: self.text("render")?,
            pages: self.int("pages")?,
        })
    }
}

/// Everything that was stored of a page, checked anew.
pub(super) fn stored(result: &SearchResult, id: PageId) -> Result<StoredPage, String> {
    let fields = Fields::of(result);
    let vectors = rows(result)?;
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
        ..record(result, id)
    })
}

/// What was stored of a page beside its vectors.
pub(super) fn record(result: &SearchResult, id: PageId) -> StoredPage {
    let fields = Fields::of(result);
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
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::proto::{MetadataResult, PropertiesResult, Value};
    use super::*;

    /// The answer of a server about a page of two vectors.
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
                vectors: vec![wire_vectors(&vectors)],
                ..MetadataResult::default()
            }),
        }
    }

    #[test]
    fn a_patch_map_that_does_not_fit_is_refused() {
        let id = PageId::new(&ManualId::new("pump.pdf"), 1);
        assert!(stored(&answer(2, &[0, 0, 1, 0]), id.clone()).is_ok());
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
            let refused = stored(&answer(columns, cells), id.clone());
            assert_eq!(refused, Err(why.to_owned()));
        }
    }
}
