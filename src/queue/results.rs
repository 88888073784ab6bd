//! Results of a run, and its live counters.

use std::time::{Duration, SystemTime};

use super::{Error, Queue};

/// A result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultMessage {
    /// Content.
    pub payload: Vec<u8>,
    /// When the server received it, by the server's clock.
    pub received: SystemTime,
    /// Its place among the results of all runs: grows from one to the next.
    pub sequence: u64,
}

/// The results of a run, from the first one.
pub struct Results<'q> {
    queue: &'q Queue,
}

impl Results<'_> {
    /// The next result; `None` if none came within the time. Waits through outages of the server.
    ///
    /// # Errors
    /// [`Error::Away`] after an outage of 30 s; later calls go on where this one ended. [`Error::Forbidden`],
    /// [`Error::Missing`], [`Error::Failed`].
    pub fn next(&mut self, timeout: Duration) -> Result<Option<ResultMessage>, Error> {
        let _ = (self.queue, timeout);
        todo!()
    }
}

/// The live counters of a run.
pub struct Live<'q> {
    queue: &'q Queue,
}

impl Live<'_> {
    /// The next message and the worker that sent it; `None` if none came within the time.
    pub fn next(&mut self, timeout: Duration) -> Option<(String, Vec<u8>)> {
        let _ = (self.queue, timeout);
        todo!()
    }
}

impl Queue {
    /// Publishes the result of an item, and waits until the server has it. The same `id` within two minutes is stored once.
    /// Tried again for 30 s if the server is away.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Missing`], [`Error::Full`], [`Error::TooLarge`], [`Error::Forbidden`], [`Error::Away`],
    /// [`Error::Failed`].
    pub fn publish_result(&self, run: &str, id: &str, payload: &[u8]) -> Result<(), Error> {
        let _ = (run, id, payload);
        todo!()
    }

    /// The results of a run, from the first one, then as they arrive.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`].
    pub fn results(&self, run: &str) -> Result<Results<'_>, Error> {
        let _ = run;
        todo!()
    }

    /// Removes the results of a run.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`].
    pub fn remove_results(&self, run: &str) -> Result<(), Error> {
        let _ = run;
        todo!()
    }

    /// Publishes counters of a worker. Nobody waits for them, and they may be lost.
    pub fn publish_live(&self, run: &str, worker: &str, payload: &[u8]) {
        let _ = (run, worker, payload);
        todo!()
    }

    /// The counters that workers publish from now on.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Failed`].
    pub fn live(&self, run: &str) -> Result<Live<'_>, Error> {
        let _ = run;
        todo!()
    }
}
