//! What a server that is killed would forget: files to add, and manuals to remove. A small JSON file beside the uploads.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::problem::Problem;

/// Begins the names of files that are being written, here and beside: those of a server that was killed are deleted.
pub(super) const PARTIAL: &str = ".partial-";

/// A removal that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Name of the manual.
    pub(super) manual: String,
    /// The server's copy of its file.
    pub(super) file: Option<PathBuf>,
}

/// The content of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Content {
    /// Files that are not stored yet, in their order.
    pub(super) to_add: Vec<PathBuf>,
    /// Removals that were begun.
    pub(super) to_remove: Vec<Kept>,
}

/// The file and its content.
pub(super) struct Journal {
    path: PathBuf,
    content: Mutex<Content>,
}

impl Journal {
    /// Reads the file; a missing one is empty, and so is one that cannot be understood.
    pub(super) fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_default();
        Self {
            path: path.to_owned(),
            content: Mutex::new(serde_json::from_slice(&bytes).unwrap_or_default()),
        }
    }

    pub(super) fn kept(&self) -> Content {
        self.content
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn save_additions(&self, files: Vec<PathBuf>) -> Result<(), Problem> {
        self.change(|content| content.to_add = files)
    }

    pub(super) fn removal_begins(&self, manual: &str, file: Option<&Path>) -> Result<(), Problem> {
        let kept = Kept {
            manual: manual.to_owned(),
            file: file.map(Path::to_owned),
        };
        self.change(|content| content.to_remove.push(kept))
    }

    pub(super) fn removal_ended(&self, manual: &str) -> Result<(), Problem> {
        self.change(|content| content.to_remove.retain(|kept| kept.manual != manual))
    }

    /// Changes the content and replaces the file as a whole.
    fn change(&self, change: impl FnOnce(&mut Content)) -> Result<(), Problem> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut content);
        self.write(&content).map_err(|why| {
            let detail = format!("{}: cannot be written: {why}", self.path.display());
            Problem::new(axum::http::StatusCode::INSUFFICIENT_STORAGE, "full", detail)
                .hint("free some space, or let the server write to that folder")
        })
    }

    fn write(&self, content: &Content) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new()
            .prefix(PARTIAL)
            .tempfile_in(folder)?;
        file.write_all(&serde_json::to_vec_pretty(content)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }
}
