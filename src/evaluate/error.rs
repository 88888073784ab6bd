//! Why a folder is no dataset that can be evaluated.

use std::path::{Path, PathBuf};

/// Why a folder is no dataset that can be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read.
    #[error("{}: {why}", .file.display())]
    File {
        /// The file or folder.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// One of the three tables is not there.
    #[error("{} holds no `{table}/*.parquet`", .folder.display())]
    Missing {
        /// The dataset.
        folder: PathBuf,
        /// The table.
        table: String,
    },
    /// A table without rows, or none that belong together.
    #[error("{} has no {what}", .folder.display())]
    Empty {
        /// The dataset.
        folder: PathBuf,
        /// What it lacks.
        what: &'static str,
    },
    /// An answer that is no page of the corpus.
    #[error("{}: the query `{query}` is answered by the page `{page}`, which the corpus does not hold", .folder.display())]
    UnknownPage {
        /// The dataset.
        folder: PathBuf,
        /// Id of the query.
        query: String,
        /// Id of the page.
        page: String,
    },
}

impl Error {
    pub(super) fn file(file: &Path, why: &dyn std::fmt::Display) -> Self {
        Self::File {
            file: file.to_owned(),
            why: why.to_string(),
        }
    }
}
