//! What happens, told to all clients that listen.

use tokio::sync::broadcast::{Receiver, Sender};

use super::job::JobView;
use super::librarian::ModelStatus;

/// Events that a slow client may be behind; then it gets a new snapshot.
const BACKLOG: usize = 256;

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A job was added, moved on or ended.
    Job(Box<JobView>),
    /// Manuals or pages were added or removed.
    Library,
    /// The state of the model changed.
    Model(ModelStatus),
}

/// Sends events to all clients.
pub(super) struct Events(Sender<Event>);

impl Events {
    pub(super) fn new() -> Self {
        Self(Sender::new(BACKLOG))
    }

    pub(super) fn send(&self, event: Event) {
        // Without clients there is nobody to tell.
        let _ = self.0.send(event);
    }

    /// The events from now on.
    pub(super) fn subscribe(&self) -> Receiver<Event> {
        self.0.subscribe()
    }
}
