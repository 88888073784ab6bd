//! The stages of a run, and the events that it emits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::notes::PageNote;
use crate::page::{ManualId, PageSet};
use crate::render::{self, MissingContent};

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Renders a PDF page to an image and its text layer.
    Render,
    /// Turns the image into model input; computes digest and thumbnail.
    Prepare,
    /// Runs the model.
    Embed,
    /// Writes to the store.
    Store,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 4] = [Self::Render, Self::Prepare, Self::Embed, Self::Store];

    /// The stage's name.
    pub fn name(self) -> &'static str {
        ["render", "prepare", "embed", "store"][self as usize]
    }
}

/// What the store has of a manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// At least one page; none waits for the server.
    Stored,
    /// Pages wait until the store's server is available.
    Queued,
    /// No page.
    Missing,
}

/// An event of a run, emitted in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// A manual was opened; `todo` of its pages must be processed.
    Opened {
        /// The manual.
        manual: ManualId,
        /// Pages to process.
        todo: u32,
    },
    /// A stage finished this many more pages.
    Done(Stage, u32),
    /// The model's weights are being loaded.
    Loading,
    /// The model was loaded in this time.
    Loaded(Duration),
    /// The same happened to these pages of a manual.
    Pages {
        /// The manual.
        manual: ManualId,
        /// The pages.
        pages: PageSet,
        /// Their number.
        count: u32,
        /// What happened.
        note: PageNote,
    },
    /// A viewer shows content of a manual that its pages do not have.
    ContentMissing {
        /// The manual.
        manual: ManualId,
        /// The content.
        content: MissingContent,
    },
    /// A manual failed as a whole.
    ManualFailed {
        /// As given on the command line.
        path: PathBuf,
        /// The reason.
        why: String,
        /// The error of the renderer, if the file was opened.
        cause: Option<Arc<render::Error>>,
    },
    /// A file has the bytes of a manual that is stored, or was to be stored, from another file.
    SameAs {
        /// As given on the command line.
        path: PathBuf,
        /// The manual.
        manual: ManualId,
        /// What the store has of it.
        availability: Availability,
    },
    /// The store's server is unavailable, for this reason; pages are deferred.
    Deferred(Arc<str>),
    /// What the run did with a manual could not be kept in the store; nothing is kept of those after it.
    RunNotRecorded {
        /// The manual.
        manual: ManualId,
        /// The reason.
        why: String,
    },
    /// Out of memory: from now on a batch holds at most this many pages.
    BatchSizeReduced(usize),
}
