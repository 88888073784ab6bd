//! The work queue of many machines: NATS JetStream, with blocking calls outside.
//!
//! One [`Queue`] is one connection. The coordinator of a run publishes items ([`Queue::publish`]), workers of the same group
//! lease them ([`WorkGroup::pull`]), send a result for each and acknowledge it; the coordinator reads the results
//! ([`Queue::results`]). Files travel as objects named by their SHA-256; state is in three [`Bucket`]s. An item is delivered at
//! least once: what counts as done is decided by whoever reads the results. Streams and rights: `README.md` of this folder.

mod address;
mod bucket;
mod config;
mod connect;
mod error;
mod events;
mod failure;
mod files;
mod key;
mod lease;
mod link;
mod names;
mod publish;
mod results;
mod streams;
mod sweep;
mod work;

use std::time::Duration;

pub use bucket::{Bucket, Entry};
pub use config::{Config, FileAccess, OPTIONAL_KEYS, Servers};
pub use error::Error;
pub use lease::Lease;
pub use publish::NewItem;
pub use results::{ResultMessage, Results};
pub use work::{Backlog, Kind, PullRequest, WorkGroup};

/// A connection to the servers of the queue; every method blocks.
pub struct Queue {
    link: link::Link,
    streams: streams::StreamSettings,
    lease: Duration,
    buckets: bucket::Stores,
    files: files::Store,
}

impl Queue {
    /// Connects, and reconnects by itself from then on, for ever.
    ///
    /// # Errors
    /// Without a retry, so that each cause has its name: [`Error::Unset`], [`Error::Key`], [`Error::UnencryptedKey`],
    /// [`Error::Certificate`], [`Error::Unreachable`], [`Error::Untrusted`], [`Error::Unauthorized`], [`Error::TooOld`],
    /// [`Error::NoJetStream`].
    pub fn connect(config: &Config) -> Result<Self, Error> {
        if config.url.is_empty() {
            return Err(Error::Unset);
        }
        Ok(Self {
            link: link::Link::open(config)?,
            streams: streams::StreamSettings {
                replicas: config.replicas,
                keep: i64::try_from(config.keep.0).unwrap_or(i64::MAX),
            },
            lease: Duration::from_secs(config.lease_s),
            buckets: bucket::Stores::default(),
            files: files::Store::default(),
        })
    }

    /// The addresses of the servers, as configured.
    pub fn location(&self) -> &str {
        &self.link.location
    }

    /// Why the server is not connected now; `None` if it is.
    pub fn outage(&self) -> Option<String> {
        self.link.outage()
    }
}
