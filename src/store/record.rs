//! Stored records of manuals and pages.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::path_text::serialize_path;
use crate::page::{Annotation, ManualId, PageId};
use crate::vectors::{PageVectors, TextVectors};

/// The record of a manual: everything that does not concern a single page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManualCard {
    /// Its name.
    pub id: ManualId,
    /// Path of the file at the last run.
    #[serde(serialize_with = "serialize_path")]
    pub path: PathBuf,
    /// SHA-256 of the file, hex.
    pub file: String,
    /// Render profile of its pages (text of [`crate::render::Config::profile`]).
    pub render: String,
    /// Pages in the file.
    pub pages: u32,
}

impl ManualCard {
    /// SHA-256 of a file, hex: the value of [`ManualCard::file`].
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn digest(path: &Path) -> io::Result<String> {
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
        let digest = hash.finalize();
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Checks that the file at [`ManualCard::path`] is the one that was stored: rendering again from another file would
    /// give other pages.
    ///
    /// # Errors
    /// [`FileError::Unreadable`] or [`FileError::Changed`].
    pub fn verify_file(&self) -> Result<(), FileError> {
        let path = self.path.clone();
        match Self::digest(&path) {
            Ok(digest) if digest == self.file => Ok(()),
            Ok(_) => Err(FileError::Changed { path: shown(&path) }),
            Err(cause) => Err(FileError::Unreadable { path, cause }),
        }
    }

    /// Digest of the file and the render profile: the [`StoredPage::origin`] of its pages.
    pub fn origin(&self) -> String {
        digest(&[self.file.as_bytes(), self.render.as_bytes()])
    }

    /// The error for pages that were stored from another version of the file.
    pub fn changed_since(&self, pages: &[u32]) -> FileError {
        let numbers: Vec<String> = pages.iter().map(ToString::to_string).collect();
        let path = shown(&self.path);
        FileError::ChangedSince {
            path,
            pages: match &numbers[..] {
                [one] => format!("page {one} was"),
                several => format!("pages {} were", several.join(", ")),
            },
        }
    }

    /// Whether this is the record of another manual with the same name: both path and digest differ.
    pub fn is_different_manual(&self, other: &Self) -> bool {
        self.path != other.path && self.file != other.file
    }
}

/// Returns the first 16 bytes of a SHA-256 over several length-prefixed parts, hex.
pub fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest[..16].iter().map(|b| format!("{b:02x}")).collect()
}

/// A path as it can be typed: without the working folder.
fn shown(path: &Path) -> PathBuf {
    let folder = std::env::current_dir();
    let relative = folder
        .ok()
        .and_then(|folder| path.strip_prefix(folder).ok());
    relative.unwrap_or(path).to_owned()
}

/// Error when the file of a manual is checked against its record.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file is missing or unreadable.
    #[error("{}: cannot be opened: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// The digest differs from the stored one.
    #[error("{} has changed since it was stored; `ingest {}` again", path.display(), path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Pages were stored from another version of the file, or with other render settings.
    #[error("{} has changed since {pages} stored; `ingest {}` again", path.display(), path.display())]
    ChangedSince {
        /// The file.
        path: PathBuf,
        /// The pages, as the subject of a sentence.
        pages: String,
    },
}

/// A manual with its page counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ManualSummary {
    /// The manual.
    #[serde(flatten)]
    pub card: ManualCard,
    /// Pages stored.
    pub stored: u32,
    /// Blank pages among them.
    pub blank: u32,
    /// Bytes of their vectors.
    pub bytes: u64,
    /// Pages with a description; `None` if the store would have to read them all to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub described: Option<u32>,
    /// What the last run did with it; `None` if an earlier version stored it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
}

/// What the last run that processed pages of a manual did with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastRun {
    /// When it had done so, in seconds since 1970.
    pub ended: u64,
    /// Busy seconds of each stage.
    pub seconds: StageSeconds,
    /// Pages stored per second, from the opening of the file to the last page, without the time to load the model.
    pub pages_per_second: f64,
    /// Pages that it stored.
    pub stored: u32,
    /// Pages that failed.
    pub failed: u32,
    /// The first of them, at most [`LastRun::MAX_FAILURES`].
    pub failures: Vec<FailedPage>,
}

/// Busy seconds of each stage of the pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageSeconds {
    /// Rendering.
    pub render: f64,
    /// Digests, thumbnails and model inputs.
    pub prepare: f64,
    /// The model.
    pub embed: f64,
    /// Writing to the store.
    pub store: f64,
}

/// A page that failed, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedPage {
    /// The page, from 1.
    pub page: u32,
    /// The reason.
    pub reason: String,
}

impl LastRun {
    /// Maximum length of [`LastRun::failures`].
    pub const MAX_FAILURES: usize = 100;

    /// Seconds from the opening of the file to the last page, without the time to load the model; 0 if no page was stored.
    pub fn seconds_taken(&self) -> f64 {
        match self.pages_per_second {
            rate if rate > 0.0 => f64::from(self.stored) / rate,
            _ => 0.0,
        }
    }

    /// As a store keeps it.
    pub(super) fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// Reads what a store keeps; `None` if another version wrote it otherwise.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Digests of a stored page: decide whether it must be rendered or embedded again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The page's number.
    pub number: u32,
    /// Digest of file and render profile: [`StoredPage::origin`].
    pub origin: String,
    /// Digest of pixels and text: [`StoredPage::content`].
    pub content: String,
    /// Digest of what its text vectors were made from: [`TextUpdate::Replace`]. Empty if it has none.
    pub text: String,
}

/// A page to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPage {
    /// Its id.
    pub id: PageId,
    /// Digest of file and render profile; a manual is unchanged if all its pages have the current one.
    pub origin: String,
    /// Digest of pixels and text; a page with an equal one keeps its vectors.
    pub content: String,
    /// The printed label.
    pub label: Option<String>,
    /// The section that contains it.
    pub section: Option<String>,
    /// The text layer.
    pub text: String,
    /// An [`Annotation`] as JSON; with [`VectorUpdate::Keep`], `None` keeps the stored one.
    pub description: Option<String>,
    /// Whether the page is blank.
    pub blank: bool,
    /// A small JPEG, at most 40 KB.
    pub thumbnail: Vec<u8>,
    /// Its vectors.
    pub vectors: VectorUpdate,
    /// The vectors of its text.
    pub text_vectors: TextUpdate,
}

impl StoredPage {
    /// Whether the page was stored from the file of its manual, as far as that is known.
    pub fn is_from(&self, manual: &ManualCard) -> bool {
        self.origin.is_empty() || self.origin == manual.origin()
    }

    /// The text of its description; `None` if it has no annotation.
    pub(super) fn description_text(&self) -> Option<String> {
        let json = self.description.as_deref()?;
        Some(Annotation::from_json(json).map_or_else(String::new, |a| a.search_text()))
    }

    /// Approximate size of the page in a message to a server.
    pub fn bytes(&self) -> usize {
        let vectors = match &self.vectors {
            VectorUpdate::Replace(new) => size_of_val(new.vectors.as_slice()),
            VectorUpdate::Keep => 0,
        };
        let text_vectors = match &self.text_vectors {
            TextUpdate::Replace {
                vectors: Some(new), ..
            } => size_of_val(new.vectors.as_slice()),
            _ => 0,
        };
        // Thumbnails are sent as base64.
        vectors + text_vectors + self.text.len() + self.thumbnail.len().div_ceil(3) * 4
    }
}

/// Vector update of a page to be stored.
#[derive(Clone, Debug, PartialEq)]
pub enum VectorUpdate {
    /// Replaces the vectors; the values are already rounded to f16.
    Replace(PageVectors),
    /// Keeps the vectors stored under the same id: pixels and text are unchanged.
    Keep,
}

/// Text vector update of a page to be stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum TextUpdate {
    /// Replaces them.
    Replace {
        /// The profile of the text model, then a digest of the text or the model that reads the page: [`text_digest`],
        /// [`read_digest`].
        digest: String,
        /// The vectors; `None` for a text without words.
        vectors: Option<TextVectors>,
        /// The words that were read from the image of a page whose text layer says little, separated by spaces: BM25 finds
        /// the page by them, but they are never shown as its text. Empty for another page.
        words_read: String,
    },
    /// Keeps what is stored under the same id, if anything, unless the text has changed, or the picture that it was read from.
    #[default]
    Keep,
}

/// Begins what the text vectors of a page that was read are made from, in its digest.
const READ_WITH: &str = "read with ";

/// Digest of what text vectors are made from: `profile` of the text model and the text.
pub fn text_digest(profile: &str, text: &str) -> String {
    let digest = digest(&[text.as_bytes()]);
    format!("{profile}:{digest}")
}

/// Digest of what the text vectors of a page that was read are made from: `profile` of the text model, and that of the page
/// vectors that were read. They are those of a picture and a text: the [`StoredPage::content`] they are stored with.
pub fn read_digest(profile: &str, page_profile: &str) -> String {
    format!("{profile}:{READ_WITH}{page_profile}")
}

/// What precedes the page profile in the digest of a page that was read.
pub(super) fn read_mark() -> String {
    format!(":{READ_WITH}")
}

/// Whether a [`Fingerprint::text`] is of words that were read from the page.
pub fn is_read(digest: &str) -> bool {
    let made_from = digest.split_once(':');
    made_from.is_some_and(|(_, made_from)| made_from.starts_with(READ_WITH))
}

/// Whether text vectors that are stored with this digest, for pixels and text with the digest `content`, are those of a page.
pub(super) fn is_made_from(digest: &str, content: &str, page: &StoredPage) -> bool {
    match text_profile(digest) {
        Some(_) if is_read(digest) => content == page.content,
        Some(profile) => digest == text_digest(profile, &page.text),
        None => false,
    }
}

/// The profile of the text model in a digest.
pub(super) fn text_profile(digest: &str) -> Option<&str> {
    digest.split_once(':').map(|(profile, _)| profile)
}

/// Whether a [`Fingerprint::text`] is of text vectors with this profile.
pub fn has_text_profile(digest: &str, profile: &str) -> bool {
    text_profile(digest) == Some(profile)
}

/// Checks the vectors of a page against the width `dim` of a collection.
pub(super) fn validate(new: &PageVectors, dim: u32) -> Result<(), String> {
    let (found, rows, cells) = (
        new.vectors.dim(),
        new.vectors.len(),
        new.patches.cells().len(),
    );
    if found != dim as usize {
        return Err(format!(
            "its vectors have width {found}, the collection's {dim}"
        ));
    }
    match cells == rows {
        true => Ok(()),
        false => Err(format!("it has {rows} vectors but cells for {cells}")),
    }
}
