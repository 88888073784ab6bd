//! The work queue of many machines: NATS JetStream, with blocking calls outside.
//!
//! One [`Queue`] is one connection. The coordinator of a run publishes items ([`Queue::publish`]), workers of the same group
//! lease them ([`WorkGroup::pull`]), send a result for each and acknowledge it; the coordinator reads the results
//! ([`Queue::results`]). Files travel as objects named by their SHA-256; state is in three [`Bucket`]s. An item is delivered at
//! least once: what counts as done is decided by whoever reads the results. Streams and rights: `README.md` of this folder.

mod address;
mod bucket;
mod config;
mod error;
mod files;
mod lease;
mod results;
mod work;

use std::sync::atomic::AtomicBool;

pub use bucket::{Bucket, Entry};
pub use config::{Config, FileAccess, OPTIONAL_KEYS, Servers};
pub use error::Error;
pub use lease::Lease;
pub use results::{Live, ResultMessage, Results};
pub use work::{Backlog, Kind, NewItem, PullRequest, WorkGroup};

/// A connection to the servers of the queue; every method blocks.
pub struct Queue {
    location: String,
}

impl Queue {
    /// Connects, and reconnects by itself from then on, for ever.
    ///
    /// # Errors
    /// Without a retry, so that each cause has its name: [`Error::Unset`], [`Error::Key`], [`Error::UnencryptedKey`],
    /// [`Error::Certificate`], [`Error::Unreachable`], [`Error::Untrusted`], [`Error::Unauthorized`], [`Error::TooOld`],
    /// [`Error::NoJetStream`].
    pub fn connect(config: &Config) -> Result<Self, Error> {
        let _ = (config, address::is_remote);
        todo!()
    }

    /// The addresses of the servers, as configured.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Makes the streams and buckets that do not exist, and checks the settings of those that do. For coordinators.
    ///
    /// # Errors
    /// [`Error::SettingMismatch`], [`Error::Forbidden`] for a user with the rights of a worker, [`Error::Away`],
    /// [`Error::Failed`].
    pub fn create(&self) -> Result<(), Error> {
        todo!()
    }

    /// Why the server is not connected now; `None` if it is.
    pub fn outage(&self) -> Option<String> {
        todo!()
    }

    /// Makes or finds the group of workers of this kind, and sets its lease. For coordinators.
    ///
    /// # Errors
    /// [`Error::Missing`] before [`Queue::create`], [`Error::Name`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`].
    pub fn create_group(&self, kind: Kind, group: &str) -> Result<WorkGroup<'_>, Error> {
        let _ = (kind, group);
        todo!()
    }

    /// The group of workers of this kind; `None` if no coordinator has made it.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Away`], [`Error::Forbidden`], [`Error::Failed`].
    pub fn group(&self, kind: Kind, group: &str) -> Result<Option<WorkGroup<'_>>, Error> {
        let _ = (kind, group);
        todo!()
    }

    /// Publishes items. One that is queued or in hand already is not queued again, which is no error. Goes on after an outage
    /// of the server until `stop` is true.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`Error::Name`], [`Error::Missing`], [`Error::Full`], [`Error::TooLarge`], [`Error::Forbidden`],
    /// [`Error::Failed`].
    pub fn publish(&self, items: &[NewItem], stop: &AtomicBool) -> Result<(), Error> {
        let _ = (items, stop);
        todo!()
    }
}
