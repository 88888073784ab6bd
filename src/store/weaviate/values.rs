//! Properties and named vectors of objects: encoded, and read from results.

use std::num::NonZeroUsize;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::properties::LAST_RUN;
use super::proto::{Json, Kind, MULTI_FP32, Properties, SearchResult, Vectors as VectorsMessage};
use crate::page::{ManualId, PageId};
use crate::store::{LastRun, ManualCard, path_text};
use crate::vectors::MultiVector;

/// A property and its value, if any.
pub(super) type Property = (&'static str, Option<Json>);

/// Encodes a multi-vector: u16 little-endian width, then the rows, f32 little-endian, row-major
/// (`usecases/byteops/byteops.go`).
pub(super) fn encode_vectors(name: &str, vectors: &MultiVector) -> VectorsMessage {
    encode_rows(name, vectors.as_slice(), vectors.dim())
}

/// Encodes rows of any length.
pub(super) fn encode_rows(name: &str, rows: &[f32], dim: usize) -> VectorsMessage {
    let mut bytes = Vec::with_capacity(2 + size_of_val(rows));
    bytes.extend((dim as u16).to_le_bytes());
    bytes.extend(rows.iter().flat_map(|v| v.to_le_bytes()));
    VectorsMessage {
        name: name.to_owned(),
        vector_bytes: bytes,
        kind: MULTI_FP32,
    }
}

/// Decodes a named multi-vector of a result.
pub(super) fn parse_rows(result: &SearchResult, name: &str) -> Result<MultiVector, String> {
    let sent = result
        .metadata
        .iter()
        .flat_map(|m| &m.vectors)
        .find(|v| v.name == name);
    let bytes = sent.map(|v| v.vector_bytes.as_slice()).unwrap_or_default();
    let (width, floats) = bytes.split_first_chunk().ok_or("it has no vectors")?;
    let dim =
        NonZeroUsize::new(u16::from_le_bytes(*width).into()).ok_or("its vectors have no width")?;
    let (floats, rest) = floats.as_chunks();
    if !rest.is_empty() {
        return Err("its vectors are incomplete".to_owned());
    }
    let rows = floats
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    MultiVector::new(rows, dim).map_err(|cause| cause.to_string())
}

/// The properties of a result.
pub(super) struct Fields<'a>(Option<&'a Properties>);

impl<'a> Fields<'a> {
    pub(super) fn new(result: &'a SearchResult) -> Self {
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

    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self.kind(name), Some(Kind::Bool(true)))
    }

    pub(super) fn blob(&self, name: &str) -> Option<Vec<u8>> {
        match self.kind(name)? {
            Kind::Text(text) => BASE64.decode(text).ok(),
            _ => None,
        }
    }

    /// The id of the page.
    pub(super) fn id(&self) -> Option<PageId> {
        let manual = ManualId::from(self.text("manual")?);
        Some(PageId {
            manual,
            number: self.int("page_number")?,
        })
    }

    /// What the last run did with a manual.
    pub(super) fn last_run(&self) -> Option<LastRun> {
        LastRun::from_json(&self.text(LAST_RUN)?)
    }

    /// The record of a manual.
    pub(super) fn card(&self) -> Option<ManualCard> {
        Some(ManualCard {
            id: ManualId::from(self.text("name")?),
            path: path_text::decode(&self.text("path")?),
            file: self.text("file")?,
            render: self.text("render")?,
            pages: self.int("pages")?,
        })
    }
}
