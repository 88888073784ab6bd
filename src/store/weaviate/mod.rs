//! Weaviate store: one collection of pages with multi-vectors, and one of manuals. The only user of `prost` and, with
//! `vlm/server`, of `reqwest`.
//!
//! The behaviour of the server was read from its source and tested on 1.39.3; comments mark the surprising cases.

mod catalogue;
mod filter;
mod key;
mod manuals;
mod object;
mod outage;
mod properties;
mod proto;
mod query;
mod repair;
mod schema;
mod text_object;
mod text_vectors;
mod transport;
mod values;
mod variants;
mod write;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use prost::Message;
use reqwest::Method;

use self::schema::Collection;
use self::transport::{Failure, Transport};
pub(super) use self::write::MAX_IN_FLIGHT;
use super::{Address, CollectionSelector, Config, Error, Mode, lock};
use crate::page::ManualId;
use crate::vectors::Profile;

/// The first versions that serve Connect on the REST port and whose multi-vector index has no known bug
/// (weaviate/weaviate #11794, #12170, #12731), by minor version.
const MIN_VERSIONS: [(u32, u32, u32); 2] = [(1, 38, 12), (1, 39, 1)];
/// Maximum message size if the server does not report it: the default of `GRPC_MAX_MESSAGE_SIZE`.
const DEFAULT_MAX_MESSAGE: usize = 104_858_000;

/// An opened Weaviate cluster and the configured collection.
pub(super) struct Weaviate {
    transport: Transport,
    config: Config,
    /// URL and collection, for messages.
    location: String,
    /// Maximum message size of the server in bytes.
    max_message: usize,
    /// Target message size in bytes; halved after each timeout.
    target_bytes: AtomicUsize,
    collection: Mutex<Option<Collection>>,
    /// Manuals whose records are known to be stored.
    known_manuals: Mutex<HashSet<ManualId>>,
}

impl Weaviate {
    /// Opens a collection; for writing it need not exist yet.
    pub(super) fn open(
        config: &Config,
        selector: CollectionSelector<'_>,
        mode: Mode,
    ) -> Result<Self, Error> {
        let Address::Servers(nodes) = &config.url else {
            return Err(Error::open(&config.url.to_string(), "it is not a server"));
        };
        let location = location(config);
        let transport = Transport::new(config, nodes)?;
        let max_message = check_server(&transport, &location)?;
        let found = schema::find_collection(&transport, config, &location)?;
        if let Some(found) = &found {
            check_selector(found, selector, mode, &location)?;
        } else if mode == Mode::Read {
            return Err(Error::Empty { location });
        }
        Ok(Self {
            transport,
            config: config.clone(),
            location,
            max_message,
            target_bytes: AtomicUsize::new(write::TARGET_MESSAGE),
            collection: Mutex::new(found),
            known_manuals: Mutex::default(),
        })
    }

    /// The model of the collection.
    pub(super) fn profile(&self) -> Option<Profile> {
        self.collection().map(|c| c.profile)
    }

    /// URL and collection, for messages.
    pub(super) fn location(&self) -> &str {
        &self.location
    }

    /// Whether a node was lost since the store was opened.
    pub(super) fn lost_node(&self) -> bool {
        self.transport.lost_node()
    }

    /// Describes the current or planned index, for messages.
    pub(super) fn describe_index(&self) -> String {
        match self.collection() {
            Some(existing) => existing.describe_index(),
            None => schema::describe_planned_index(&self.config),
        }
    }

    fn collection(&self) -> Option<Collection> {
        lock(&self.collection).clone()
    }

    /// The collection, or [`Error::Empty`].
    fn require_collection(&self) -> Result<Collection, Error> {
        self.collection().ok_or_else(|| Error::Empty {
            location: self.location.clone(),
        })
    }

    /// Calls a method of the gRPC service.
    fn call<R: Message + Default>(&self, method: &str, request: &impl Message) -> Result<R, Error> {
        self.transport
            .call(method, request)
            .map_err(|failure| failure.into_error(&self.location))
    }

    /// URL parameters of every request for one object.
    fn parameters(&self) -> String {
        let tenant = &self.config.tenant;
        let mut all = Vec::new();
        if !tenant.is_empty() {
            all.push(format!("tenant={tenant}"));
        }
        if self.collection().is_some_and(|c| c.replicated) {
            all.push("consistency_level=QUORUM".to_owned());
        }
        format!("?{}", all.join("&"))
    }
}

/// Deletes the collections.
pub(super) fn discard(config: &Config) -> Result<(), Error> {
    let Address::Servers(nodes) = &config.url else {
        return Ok(());
    };
    let transport = Transport::new(config, nodes)?;
    for class in [config.collection.clone(), schema::manuals(config)] {
        match transport.rest(&Method::DELETE, &format!("schema/{class}"), None) {
            Ok(_) | Err(Failure::NotFound(_)) => {}
            Err(failure) => return Err(failure.into_error(&location(config))),
        }
    }
    Ok(())
}

/// URL and collection, for messages.
pub(super) fn location(config: &Config) -> String {
    let tenant = match config.tenant.as_str() {
        "" => String::new(),
        tenant => format!(" of tenant {tenant}"),
    };
    format!("{} {}{tenant}", config.url, config.collection)
}

/// Checks that the server responds, accepts the key and is new enough; returns its maximum message size.
fn check_server(transport: &Transport, location: &str) -> Result<usize, Error> {
    let meta = transport
        .rest(&Method::GET, "meta", None)
        .map_err(|failure| match failure {
            Failure::NotFound(_) | Failure::Rejected(_) => {
                Error::open(location, "the server is not Weaviate")
            }
            other => other.into_error(location),
        })?;
    let found = meta["version"]
        .as_str()
        .ok_or_else(|| Error::open(location, "the server is not Weaviate"))?;
    if !is_new_enough(found) {
        let (major, minor, patch) = MIN_VERSIONS[1];
        return Err(Error::TooOld {
            location: location.to_owned(),
            found: found.to_owned(),
            minimum: format!("{major}.{minor}.{patch}"),
        });
    }
    let max_message = meta["grpcMaxMessageSize"].as_u64();
    Ok(max_message.map_or(DEFAULT_MAX_MESSAGE, |bytes| bytes as usize))
}

fn is_new_enough(version: &str) -> bool {
    let number = |part: &str| {
        let digits = part.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|d| d.parse().ok()).unwrap_or(0)
    };
    let mut parts = version.trim_start_matches('v').split('.').map(number);
    let mut next = || parts.next().unwrap_or(0);
    let found: (u32, u32, u32) = (next(), next(), next());
    let (_, newest_minor, _) = MIN_VERSIONS[1];
    match MIN_VERSIONS
        .iter()
        .find(|least| (least.0, least.1) == (found.0, found.1))
    {
        Some(&least) => found >= least,
        None => (found.0, found.1) > (1, newest_minor),
    }
}

/// Checks that a collection is the selected one.
fn check_selector(
    found: &Collection,
    selector: CollectionSelector<'_>,
    mode: Mode,
    location: &str,
) -> Result<(), Error> {
    let Profile { id, model, .. } = &found.profile;
    let location = location.to_owned();
    match selector {
        CollectionSelector::Last => Ok(()),
        CollectionSelector::Profile(wanted) if wanted.id == *id => Ok(()),
        CollectionSelector::Profile(wanted) if mode == Mode::Read => Err(Error::NoCollection {
            location,
            model: wanted.model.clone(),
        }),
        CollectionSelector::Profile(wanted) => Err(Error::OtherModel {
            location,
            found: model.clone(),
            found_id: id.clone(),
            made: wanted.model.clone(),
            made_id: wanted.id.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::is_new_enough;

    #[test]
    fn versions_are_compared_as_numbers() {
        for good in [
            "1.38.12",
            "1.39.1",
            "1.39.10",
            "1.40.0",
            "1.100.0",
            "2.0.0",
            "1.40.0-rc.1",
        ] {
            assert!(is_new_enough(good), "{good}");
        }
        for bad in ["1.38.11", "1.39.0", "1.37.20", "1.9.0", "", "none"] {
            assert!(!is_new_enough(bad), "{bad}");
        }
    }
}
