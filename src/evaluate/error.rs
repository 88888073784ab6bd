//! Errors of reading a dataset or a file of questions.

use std::path::{Path, PathBuf};

/// Error of reading a dataset or a file of questions.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{}: {why}", .file.display())]
    File {
        /// The file or folder.
        file: PathBuf,
        /// The reason.
        why: String,
    },
    /// One of the three tables is missing.
    #[error("{} contains no `{table}/*.parquet`", .folder.display())]
    Missing {
        /// The dataset.
        folder: PathBuf,
        /// The table.
        table: String,
    },
    /// A table has no rows, or none that match the other tables.
    #[error("{} has no {what}", .folder.display())]
    Empty {
        /// The dataset.
        folder: PathBuf,
        /// What it lacks.
        what: &'static str,
    },
    /// The qrels name a page that the corpus lacks.
    #[error("{}: the qrels of the query `{query}` name the page `{page}`, which the corpus lacks", .folder.display())]
    UnknownPage {
        /// The dataset.
        folder: PathBuf,
        /// Id of the query.
        query: String,
        /// Id of the page.
        page: String,
    },
    /// A question contradicts itself.
    #[error("{}: `{question}` {why}", .file.display())]
    Question {
        /// The file.
        file: PathBuf,
        /// The question.
        question: String,
        /// The contradiction.
        why: &'static str,
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
