//! Weaviate: one collection of pages with their multi-vectors, one of manuals beside it. Only this folder names
//! `reqwest` and `prost`.
//!
//! What the server does was read from its source and tried on 1.39.3; where something is odd, the place says so.

mod catalogue;
mod filter;
mod key;
mod object;
mod proto;
mod query;
mod repair;
mod schema;
mod transport;
mod write;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use prost::Message;
use reqwest::Method;

use self::schema::Collection;
use self::transport::{Failure, Wire};
pub(super) use self::write::SENDING;
use super::{Address, CollectionSelector, Config, Error, Mode, locked};
use crate::page::ManualId;
use crate::vectors::Profile;

/// The first versions whose REST port speaks Connect and whose multi-vector index has no known fault
/// (weaviate/weaviate #11794, #12170, #12731), by minor version.
const LEAST: [(u32, u32, u32); 2] = [(1, 38, 12), (1, 39, 1)];
/// Largest message when the server does not tell: the default of `GRPC_MAX_MESSAGE_SIZE`.
const LARGEST: usize = 104_858_000;

/// A Weaviate cluster, opened, with the collection that the settings name.
pub(super) struct Weaviate {
    wire: Wire,
    config: Config,
    /// URL and collection, for people.
    at: String,
    /// Bytes of the largest message that the server takes.
    largest: usize,
    /// Bytes that a message should have; shrinks where the line or the server is slow.
    room: AtomicUsize,
    collection: Mutex<Option<Collection>>,
    /// Manuals that are known to be entered.
    entered: Mutex<HashSet<ManualId>>,
}

impl Weaviate {
    /// Opens a collection; for writing it need not be there yet.
    pub(super) fn open(
        config: &Config,
        which: CollectionSelector<'_>,
        mode: Mode,
    ) -> Result<Self, Error> {
        let Address::Servers(nodes) = &config.url else {
            return Err(Error::open(&config.url.to_string(), "it is no server"));
        };
        let at = place(config);
        let wire = Wire::new(config, nodes)?;
        let largest = check(&wire, &at)?;
        let found = schema::find(&wire, config, &at)?;
        if let Some(found) = &found {
            fits(found, which, mode, &at)?;
        } else if mode == Mode::Read {
            return Err(Error::Empty { at });
        }
        Ok(Self {
            wire,
            config: config.clone(),
            at,
            largest,
            room: AtomicUsize::new(write::MESSAGE),
            collection: Mutex::new(found),
            entered: Mutex::default(),
        })
    }

    /// The model whose pages are in the collection.
    pub(super) fn profile(&self) -> Option<Profile> {
        self.collection().map(|c| c.profile)
    }

    /// URL and collection, for people.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// Whether a node died since this was opened.
    pub(super) fn lost_node(&self) -> bool {
        self.wire.lost_node()
    }

    /// How the collection is indexed, or will be, for people.
    pub(super) fn describe(&self) -> String {
        match self.collection() {
            Some(there) => there.describe(),
            None => schema::planned(&self.config),
        }
    }

    fn collection(&self) -> Option<Collection> {
        locked(&self.collection).clone()
    }

    fn prepared(&self) -> Result<Collection, Error> {
        self.collection().ok_or_else(|| Error::Empty {
            at: self.at.clone(),
        })
    }

    /// Calls a method of the gRPC service.
    fn call<R: Message + Default>(&self, method: &str, request: &impl Message) -> Result<R, Error> {
        self.wire
            .call(method, request)
            .map_err(|failure| failure.of(&self.at))
    }

    /// Query parameters that every request for one object takes.
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

/// Takes the collections away.
pub(super) fn discard(config: &Config) -> Result<(), Error> {
    let Address::Servers(nodes) = &config.url else {
        return Ok(());
    };
    let wire = Wire::new(config, nodes)?;
    for class in [config.collection.clone(), schema::manuals(config)] {
        match wire.rest(&Method::DELETE, &format!("schema/{class}"), None) {
            Ok(_) | Err(Failure::Missing(_)) => {}
            Err(failure) => return Err(failure.of(&place(config))),
        }
    }
    Ok(())
}

/// URL and collection, for people.
pub(super) fn place(config: &Config) -> String {
    let tenant = match config.tenant.as_str() {
        "" => String::new(),
        tenant => format!(" of tenant {tenant}"),
    };
    format!("{} {}{tenant}", config.url, config.collection)
}

/// Whether the server is there, lets us in and is new enough; tells how large a message it takes.
fn check(wire: &Wire, at: &str) -> Result<usize, Error> {
    let meta = wire
        .rest(&Method::GET, "meta", None)
        .map_err(|failure| match failure {
            Failure::Missing(_) | Failure::Refused(_) => {
                Error::open(at, "what answers there is no Weaviate")
            }
            other => other.of(at),
        })?;
    let found = meta["version"]
        .as_str()
        .ok_or_else(|| Error::open(at, "what answers there is no Weaviate"))?;
    if !is_new_enough(found) {
        let (major, minor, patch) = LEAST[1];
        return Err(Error::TooOld {
            at: at.to_owned(),
            found: found.to_owned(),
            least: format!("{major}.{minor}.{patch}"),
        });
    }
    let largest = meta["grpcMaxMessageSize"].as_u64();
    Ok(largest.map_or(LARGEST, |bytes| bytes as usize))
}

fn is_new_enough(version: &str) -> bool {
    let number = |part: &str| {
        let digits = part.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|d| d.parse().ok()).unwrap_or(0)
    };
    let mut parts = version.trim_start_matches('v').split('.').map(number);
    let mut next = || parts.next().unwrap_or(0);
    let found: (u32, u32, u32) = (next(), next(), next());
    let (_, newest_minor, _) = LEAST[1];
    match LEAST
        .iter()
        .find(|least| (least.0, least.1) == (found.0, found.1))
    {
        Some(&least) => found >= least,
        None => (found.0, found.1) > (1, newest_minor),
    }
}

/// Whether a collection is the one asked for.
fn fits(
    found: &Collection,
    which: CollectionSelector<'_>,
    mode: Mode,
    at: &str,
) -> Result<(), Error> {
    let Profile { id, model, .. } = &found.profile;
    let at = at.to_owned();
    match which {
        CollectionSelector::Last => Ok(()),
        CollectionSelector::Profile(wanted) if wanted.id == *id => Ok(()),
        CollectionSelector::Profile(wanted) if mode == Mode::Read => Err(Error::NoCollection {
            at,
            model: wanted.model.clone(),
        }),
        CollectionSelector::Profile(wanted) => Err(Error::Foreign {
            at,
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
