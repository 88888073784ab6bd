//! The library that requests read.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::problem::Problem;
use crate::library::{self, Library};
use crate::page::PageId;
use crate::pipeline::absolute_path;
use crate::store::{self, Address, ManualCard};

/// The library, opened for reading. It is opened when the first page has been stored, and anew after each job: then there
/// may be another model.
pub(super) struct Shelf {
    config: store::Config,
    opened: RwLock<Option<Arc<Library>>>,
}

impl Shelf {
    pub(super) fn new(config: &store::Config) -> Self {
        Self {
            config: config.clone(),
            opened: RwLock::new(None),
        }
    }

    /// The library.
    ///
    /// # Errors
    /// If nothing is stored yet, or the store cannot be opened.
    pub(super) fn library(&self) -> Result<Arc<Library>, Problem> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        match &*opened {
            Some(library) => Ok(library.clone()),
            None => {
                drop(opened);
                self.reopen()
            }
        }
    }

    /// The library, or `None` if nothing is stored yet.
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub(super) fn library_if_any(&self) -> Result<Option<Arc<Library>>, Problem> {
        match self.library() {
            Ok(library) => Ok(Some(library)),
            Err(problem) if problem.is_empty_library() => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Opens the library anew.
    ///
    /// # Errors
    /// As [`Shelf::library`].
    pub(super) fn reopen(&self) -> Result<Arc<Library>, Problem> {
        let opened = library::open_for_reading(&self.config, None);
        let mut slot = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        *slot = None;
        let library = Arc::new(opened?);
        *slot = Some(library.clone());
        Ok(library)
    }

    /// Path or URL of the store, for display.
    pub(super) fn location(&self) -> String {
        match &self.config.url {
            Address::File(_) => {
                let path = store::path(&self.config).unwrap_or_default();
                path.display().to_string()
            }
            Address::Servers(nodes) => nodes.join(", "),
        }
    }

    /// Folder of the files that were uploaded: beside the file of the library, or in the platform's data folder.
    ///
    /// # Errors
    /// If the platform has no such folder.
    pub(super) fn uploads(&self) -> Result<PathBuf, store::Error> {
        let path = store::path(&self.config)?;
        // As the store names files, whatever the working folder is.
        let path = absolute_path(&path);
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(path.with_file_name(format!("{stem}-uploads")))
    }
}

/// A page and its manual.
pub(super) fn page_of(library: &Library, id: &str) -> Result<(ManualCard, PageId), library::Error> {
    let page = library::find_page_by_uuid(&*library.store, id)?;
    let cards = library.store.cards()?;
    let card = cards.into_iter().find(|card| card.id == page.manual);
    let card = card.ok_or_else(|| library::Error::NoPage(page.clone()))?;
    Ok((card, page))
}
