//! An item in the hands of a worker.

use std::time::Duration;

use super::{Error, Queue};

/// A leased item. When it is dropped without an answer its lease runs out.
pub struct Lease<'q> {
    queue: &'q Queue,
}

impl Lease<'_> {
    /// The run that it belongs to.
    pub fn run(&self) -> &str {
        let _ = self.queue;
        todo!()
    }

    /// Its name within the run.
    pub fn item(&self) -> &str {
        todo!()
    }

    /// Its content.
    pub fn payload(&self) -> &[u8] {
        todo!()
    }

    /// How often it was delivered, this time included; returned items count as well.
    pub fn delivered(&self) -> u64 {
        todo!()
    }

    /// Starts its lease anew. Does not wait for the server.
    pub fn extend(&self) {
        todo!()
    }

    /// Acknowledges it, so that it is removed; waits until the server has confirmed it, for 4 s at most. If the server does
    /// not confirm it that is no error: the item comes again then, and is found done.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn acknowledge(&self) -> Result<(), Error> {
        todo!()
    }

    /// Gives it back: to any worker, at once or after `delay`. Does not wait for the server.
    pub fn hand_back(&self, delay: Option<Duration>) {
        let _ = delay;
        todo!()
    }
}
