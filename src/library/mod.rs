//! Library API for front ends (command line, web server): open a store and its model, look up manuals and pages, render
//! page images and heat maps, plan memory. Returns values and typed errors; prints nothing.

use std::path::PathBuf;

use crate::page::{ManualId, PageError, PageId};
use crate::{embed, patch, render, store};

mod budget;
mod context;
mod describe;
mod index;
mod name;
mod open;
mod page;
mod query_models;

pub use budget::{
    RENDERED_QUEUE, available_memory, embedding_memory_limit, in_process_vlm_memory_limit,
    machine_memory, memory_plan, text_model_memory, vlm_memory_limit,
};
pub use context::{answer_settings, context_pages, hits_to_read, upright_renderer};
pub use describe::describe_settings;
pub use index::{Indexing, Openers};
pub use name::{find_manual, manual_named};
pub use open::{
    FlushOutcome, Library, WritableStore, card_for_profile, flush, meaning_opener,
    open_for_reading, open_for_writing, open_model, open_model_for_profile,
};
pub use page::{
    find_page, find_page_by_label, find_page_by_uuid, find_record, heat_map, open_manual,
    page_image, rendered_page,
};
pub use query_models::QueryModels;

/// Error of a library, a manual or a page.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The embedding model cannot be opened, or failed.
    #[error(transparent)]
    Embed(#[from] embed::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The renderer failed as a whole.
    #[error(transparent)]
    Render(#[from] render::Error),
    /// The store has no manual of that name.
    #[error("there is no manual `{name}` in the store")]
    NoManual {
        /// The name given.
        name: String,
        /// The most similar stored name, if one is close.
        nearest: Option<String>,
    },
    /// The store has no such page.
    #[error("{0} is not stored")]
    NoPage(PageId),
    /// The store has no page with that id.
    #[error("no stored page has the id `{0}`")]
    NoId(String),
    /// The store has none of the requested pages of a manual.
    #[error("there is no such page: none of those pages of {0} is stored")]
    NoPages(ManualId),
    /// No stored page of the manual has that label.
    #[error("{manual} has no page labelled `{label}`")]
    NoLabel {
        /// The manual.
        manual: ManualId,
        /// The label given.
        label: String,
    },
    /// The file that a manual was stored from is missing or has changed.
    #[error(transparent)]
    File(#[from] store::FileError),
    /// The renderer cannot open the file of a manual.
    #[error("{}: {cause}", path.display())]
    Manual {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        cause: render::Error,
    },
    /// A page of a manual cannot be rendered.
    #[error("{}: page {number} {cause}", path.display())]
    Page {
        /// The file.
        path: PathBuf,
        /// Page number, from 1.
        number: u32,
        /// Cause.
        #[source]
        cause: PageError,
    },
    /// A page image cannot be prepared for the model.
    #[error(transparent)]
    Prepare(#[from] patch::PrepareError),
    /// The model cannot embed a page.
    #[error(transparent)]
    Embedding(PageError),
}
