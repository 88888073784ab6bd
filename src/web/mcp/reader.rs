//! What the tools read, and how they wait for it.

use std::sync::{Arc, Once};

use super::super::app::App;
use super::super::asker::Asker;
use super::super::counters::Counters;
use super::super::librarian::{Desk, Librarian};
use super::super::pictures::Pictures;
use super::super::problem::Problem;
use super::super::shelf::Shelf;
use super::failure::Failure;
use crate::config::Settings;
use crate::library::{self, Library};
use crate::page::PageId;
use crate::store::{ManualCard, StoredPage};

/// What the tools read.
pub(super) struct Reader {
    pub(super) pictures: Arc<Pictures>,
    pub(super) counters: Arc<Counters>,
    pub(super) asker: Arc<Asker>,
    shelf: Arc<Shelf>,
    librarian: Arc<Librarian>,
    /// The first question loads the models.
    load: Once,
}

impl Reader {
    /// Of a program that does nothing else. Its models are loaded when they are first needed.
    ///
    /// # Errors
    /// If the system refuses the thread of the models.
    pub(super) fn alone(settings: &Settings, passwords: &[String]) -> std::io::Result<Self> {
        Ok(Self {
            pictures: Arc::new(Pictures::new(settings, passwords)),
            counters: Arc::new(Counters::default()),
            asker: Arc::new(Asker::new(settings, passwords)),
            shelf: Arc::new(Shelf::new(&settings.store)),
            librarian: Arc::new(Librarian::start(settings)?),
            load: Once::new(),
        })
    }

    /// Of a web server, which loads the models itself.
    pub(super) fn of(app: &App) -> Self {
        let load = Once::new();
        load.call_once(|| ());
        Self {
            pictures: app.pictures.clone(),
            counters: app.counters.clone(),
            asker: app.asker.clone(),
            shelf: app.shelf.clone(),
            librarian: app.librarian.clone(),
            load,
        }
    }

    /// Runs work that reads the library, away from the threads that serve connections.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &Arc<Library>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&this, &this.shelf.library()?)).await;
        done.map_err(|_| Problem::internal("the call failed with a panic"))?
    }

    /// Runs a task on the thread of the models.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        library: &Arc<Library>,
        task: impl FnOnce(&mut Desk, &Library) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let load = || self.librarian.load(Some(library.clone()), |_| ());
        self.load.call_once(load);
        let library = library.clone();
        self.librarian.ask(move |desk| task(desk, &library)).await
    }
}

/// A page without its vectors, and its manual.
///
/// # Errors
/// If there is no such manual or page; names are not completed.
pub(super) fn find(
    library: &Library,
    manual: &str,
    number: u32,
) -> Result<(ManualCard, StoredPage), Failure> {
    let card = library::manual_named(&*library.store, manual)?;
    let page = library::find_record(&*library.store, &PageId::new(&card.id, number));
    match page {
        Ok(page) => Ok((card, page)),
        Err(library::Error::NoPage(_)) => Err(Failure::no_page(&card, number)),
        Err(error) => Err(error.into()),
    }
}
