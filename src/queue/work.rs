//! Items of work: publishing them, and groups of workers that lease them.

use std::time::Duration;

use super::{Error, Lease, Queue};

/// What is done with the pages of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// They are rendered, embedded and stored.
    Pages,
    /// They are described.
    Describe,
}

impl Kind {
    /// Its name in subjects.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Describe => "describe",
        }
    }
}

/// An item to publish. Its names are 1 to 128 of `A-Za-z0-9_-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewItem {
    /// What is done.
    pub kind: Kind,
    /// The group of workers that may do it.
    pub group: String,
    /// The run that it belongs to.
    pub run: String,
    /// Its name within the run: the same item is queued once.
    pub item: String,
    /// Content, for the worker.
    pub payload: Vec<u8>,
}

/// What a worker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Maximum number of items.
    pub items: usize,
    /// Maximum time to wait for the first one.
    pub expires: Duration,
    /// Only if more items than this wait (0: in any case): a slow worker leaves the last ones to faster ones.
    pub min_pending: u64,
}

/// Items of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Waiting.
    pub queued: u64,
    /// Leased, not acknowledged.
    pub in_hand: u64,
}

/// The workers that may do the same items.
pub struct WorkGroup<'q> {
    queue: &'q Queue,
}

impl<'q> WorkGroup<'q> {
    /// Leases items: at once what is there, else the first that comes within the time. After an error the caller should pause.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Forbidden`], [`Error::Failed`].
    pub fn pull(&self, request: PullRequest) -> Result<Vec<Lease<'q>>, Error> {
        let _ = (self.queue, request);
        todo!()
    }

    /// The time after which an item that is neither extended nor acknowledged goes to another worker.
    pub fn lease(&self) -> Duration {
        todo!()
    }

    /// How many items wait and are in hand.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Forbidden`], [`Error::Failed`].
    pub fn backlog(&self) -> Result<Backlog, Error> {
        todo!()
    }
}

impl Queue {
    /// Removes all items of a run, also those in hand, whose acknowledgement is then without effect. Returns their number.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Forbidden`], [`Error::Missing`], [`Error::Away`], [`Error::Failed`].
    pub fn cancel(&self, run: &str) -> Result<u64, Error> {
        let _ = run;
        todo!()
    }
}
