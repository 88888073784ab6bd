//! An opened library, for every face of the program: its store, the model that filled it, and its pages, rendered again
//! from the files they came from. Returns values and typed errors; prints nothing.

use std::path::PathBuf;

use crate::page::{PageError, PageId};
use crate::{embed, patch, render, store};

mod budget;
mod open;
mod page;

pub use budget::{
    RENDERED_AHEAD, allowance, in_process_memory, machine_memory, memory_limit, memory_plan,
};
pub use open::{
    FlushOutcome, Library, WritableStore, card_of, flush, model_of, open_for_reading,
    open_for_writing, open_model,
};
pub use page::{find_manual, heat_map, open_manual, page, page_image};

/// Why a library, a manual or a page cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model cannot be opened, or failed.
    #[error(transparent)]
    Embed(#[from] embed::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No page can be rendered at all.
    #[error(transparent)]
    Render(#[from] render::Error),
    /// The store holds no manual of that name.
    #[error("there is no manual `{name}` in the store")]
    NoManual {
        /// As given.
        name: String,
        /// The stored name that is most like it, if one is.
        nearest: Option<String>,
    },
    /// The store holds no such page.
    #[error("{0} is not stored")]
    NoPage(PageId),
    /// The file that a manual was stored from is missing, or is not the same any more.
    #[error(transparent)]
    File(#[from] store::FileError),
    /// The file cannot be opened.
    #[error("{}: {cause}", path.display())]
    Manual {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: render::Error,
    },
    /// A page of the file cannot be rendered.
    #[error("{}: page {number} {cause}", path.display())]
    Page {
        /// The file.
        path: PathBuf,
        /// The page's number.
        number: u32,
        /// Why.
        #[source]
        cause: PageError,
    },
    /// A page cannot be made ready for the model.
    #[error(transparent)]
    Prepare(#[from] patch::PrepareError),
    /// The model failed at this page.
    #[error(transparent)]
    Embedding(PageError),
}
