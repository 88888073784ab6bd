//! What is kept of manuals and pages.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::page::{Annotation, ManualId, PageId};
use crate::vectors::PageVectors;

/// The record of a manual: everything that is not about one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManualCard {
    /// Its name.
    pub id: ManualId,
    /// Where it was last seen.
    pub path: PathBuf,
    /// SHA-256 of the file, hex.
    pub file: String,
    /// How its pages were rendered ([`crate::render::Config::profile`]'s text).
    pub render: String,
    /// Pages in the file.
    pub pages: u32,
}

impl ManualCard {
    /// SHA-256 of a file, hex: what [`ManualCard::file`] holds.
    ///
    /// # Errors
    /// When it cannot be read.
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

    /// Checks that the file at [`ManualCard::path`] is still the one that the manual was stored from: pages that are
    /// rendered again from another file would be other pages.
    ///
    /// # Errors
    /// When it cannot be read or its bytes are others.
    pub fn verify_file(&self) -> Result<(), FileError> {
        let path = self.path.clone();
        match Self::digest(&path) {
            Ok(digest) if digest == self.file => Ok(()),
            Ok(_) => Err(FileError::Changed { path }),
            Err(cause) => Err(FileError::Unreadable { path, cause }),
        }
    }

    /// Whether this is the record of another manual that happens to have the same name: neither path nor file agree.
    pub fn is_another(&self, of_same_name: &Self) -> bool {
        self.path != of_same_name.path && self.file != of_same_name.file
    }
}

/// Why a manual's file cannot stand for what is stored of it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file is missing, or may not be read.
    #[error("{}: cannot be opened: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The bytes are not those that were stored.
    #[error("{} has changed since it was stored, or is another file", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// A manual and how much of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManualSummary {
    /// The manual.
    #[serde(flatten)]
    pub card: ManualCard,
    /// Pages stored.
    pub stored: u32,
    /// Of these, blank ones.
    pub blank: u32,
    /// Bytes of their vectors.
    pub bytes: u64,
}

/// What a store knows of a page without its vectors: enough to tell whether it must be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The page's number.
    pub number: u32,
    /// The file and render profile it was made from: [`StoredPage::origin`].
    pub origin: String,
    /// Digest of its pixels and text.
    pub content: String,
}

/// A page to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPage {
    /// Its id.
    pub id: PageId,
    /// Digest of file and render profile; a manual whose pages all carry the present one is unchanged.
    pub origin: String,
    /// Digest of pixels and text; a page with an equal one keeps its vectors.
    pub content: String,
    /// The printed label.
    pub label: Option<String>,
    /// The section it lies in.
    pub section: Option<String>,
    /// The text layer.
    pub text: String,
    /// What a describing run left at it, an [`Annotation`] as JSON; a page that keeps its vectors keeps the one it has, unless there is a new one.
    pub description: Option<String>,
    /// Whether it shows nothing.
    pub blank: bool,
    /// A small JPEG, at most 40 KB.
    pub thumbnail: Vec<u8>,
    /// Its vectors.
    pub vectors: VectorUpdate,
}

impl StoredPage {
    /// The words of its description; none where it brings none.
    pub(super) fn said(&self) -> Option<String> {
        let json = self.description.as_deref()?;
        Some(Annotation::from_json(json).map_or_else(String::new, |a| a.search_text()))
    }

    /// Bytes it takes on its way to a server, about.
    pub fn bytes(&self) -> usize {
        let vectors = match &self.vectors {
            VectorUpdate::Replace(new) => size_of_val(new.vectors.as_slice()),
            VectorUpdate::Keep => 0,
        };
        // Pictures travel as base64.
        vectors + self.text.len() + self.thumbnail.len().div_ceil(3) * 4
    }
}

/// The vectors of a page to be stored.
#[derive(Clone, Debug, PartialEq)]
pub enum VectorUpdate {
    /// These; already rounded to f16.
    Replace(PageVectors),
    /// Those stored under the same id: pixels and text are as they were.
    Keep,
}

/// What is wrong with the vectors of a page for a collection of width `dim`.
pub(super) fn flaw(new: &PageVectors, dim: u32) -> Option<String> {
    let (made, patches) = (new.vectors.dim(), new.patches.cells().len());
    if made != dim as usize {
        return Some(format!(
            "its vectors have width {made}, the collection's {dim}"
        ));
    }
    (patches != new.vectors.len()).then(|| {
        format!(
            "it has {} vectors but cells for {patches}",
            new.vectors.len()
        )
    })
}
