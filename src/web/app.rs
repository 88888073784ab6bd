//! What all requests share.

use std::sync::Arc;

use super::access::Access;
use super::asker::Asker;
use super::counters::Counters;
use super::events::{Event, Events};
use super::jobs::Jobs;
use super::librarian::Librarian;
use super::pictures::Pictures;
use super::problem::Problem;
use super::shelf::Shelf;
use crate::config::Settings;
use crate::library::Library;

/// The handle that every request gets.
pub(super) type Shared = Arc<App>;

/// The state of the server.
pub(super) struct App {
    pub(super) settings: Settings,
    pub(super) access: Arc<Access>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) librarian: Arc<Librarian>,
    pub(super) asker: Arc<Asker>,
    pub(super) pictures: Arc<Pictures>,
    pub(super) jobs: Jobs,
    pub(super) events: Arc<Events>,
    pub(super) counters: Arc<Counters>,
}

impl App {
    /// Opens the library anew, loads its model if that is another one, and tells the clients.
    pub(super) fn refresh(&self) {
        self.load(self.shelf.reopen().ok());
        self.events.send(Event::Library);
    }

    /// Loads the models of the library.
    pub(super) fn load(&self, library: Option<Arc<Library>>) {
        let events = self.events.clone();
        let on_change = move |status: &_| events.send(Event::Model(Clone::clone(status)));
        self.librarian.load(library, on_change);
    }
}

/// Runs blocking work away from the threads that serve connections.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::internal("the request failed with a panic"))?
}
