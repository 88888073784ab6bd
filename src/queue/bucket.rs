//! Buckets: small values by key, each with a revision.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use async_nats::jetstream::kv::{self, CreateErrorKind, Operation};
use async_nats::jetstream::message::StreamMessage;

use super::failure::Failure;
use super::link::{PATIENCE, PAUSE, Subject};
use super::names::{LEADS, RUNS, WORKERS, check_key};
use super::{Error, Queue};

/// Entries that are read at once.
const BATCH: usize = 256;
/// Headers of a message that says that a key has no value any more: removed, or too old.
const REMOVED: [&str; 2] = ["KV-Operation", "Nats-Marker-Reason"];

/// A value and what the server knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Content.
    pub value: Vec<u8>,
    /// Grows with every change in the bucket.
    pub revision: u64,
    /// When it was written, by the server's clock.
    pub written: SystemTime,
}

/// The client's handles of buckets, once they were found.
#[derive(Default)]
pub(super) struct Stores(Mutex<BTreeMap<&'static str, kv::Store>>);

/// A bucket. Keys are names of `A-Za-z0-9_-`, joined by dots.
pub struct Bucket<'q> {
    queue: &'q Queue,
    name: &'static str,
}

impl Queue {
    /// Manifests of runs; kept for 30 days.
    pub fn runs(&self) -> Bucket<'_> {
        self.bucket(RUNS)
    }

    /// Workers that live. A value vanishes after 10 s: its worker puts it again every 2 s.
    pub fn workers(&self) -> Bucket<'_> {
        self.bucket(WORKERS)
    }

    /// Coordinators that live. A value vanishes after 4 s: its coordinator renews it every second with [`Bucket::update`].
    pub fn leads(&self) -> Bucket<'_> {
        self.bucket(LEADS)
    }

    fn bucket(&self, name: &'static str) -> Bucket<'_> {
        Bucket { queue: self, name }
    }
}

impl Bucket<'_> {
    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`]; so of all methods.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.retry("read", key, async || self.read(key).await)
    }

    /// Sets the value of a key, and returns its revision.
    ///
    /// # Errors
    /// As [`Bucket::get`], and [`Error::TooLarge`].
    pub fn put(&self, key: &str, value: &[u8]) -> Result<u64, Error> {
        self.retry("write", key, async || {
            let store = self.store().await?;
            Ok(store.put(key, value.to_vec().into()).await?)
        })
    }

    /// Sets the value of a key that has none, and returns its revision; `None` if it has one.
    ///
    /// # Errors
    /// As [`Bucket::put`].
    pub fn create(&self, key: &str, value: &[u8]) -> Result<Option<u64>, Error> {
        self.exchange(key, value, None)
    }

    /// Replaces the value of a key if its revision is still this one, and returns the new one; `None` if it is not.
    ///
    /// # Errors
    /// As [`Bucket::put`].
    pub fn update(&self, key: &str, value: &[u8], revision: u64) -> Result<Option<u64>, Error> {
        self.exchange(key, value, Some(revision))
    }

    /// Removes the value of a key.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        self.retry("remove", key, async || {
            Ok(self.store().await?.delete(key).await?)
        })
    }

    /// All keys that begin with `prefix` (whole names and a dot, as in `worker.`; empty: all) with their values, by key.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>, Error> {
        let root = format!("$KV.{}.", self.name);
        let name = prefix.strip_suffix('.').unwrap_or(prefix);
        let filter = match name {
            "" => format!("{root}>"),
            name => {
                check_key(name)?;
                format!("{root}{name}.>")
            }
        };
        let stream = format!("KV_{}", self.name);
        let (mut entries, mut next) = (BTreeMap::new(), 1);
        loop {
            let what = format!("read `{}`", self.name);
            let about = self.about(&what);
            let messages = self.queue.link.retry(about, async || {
                self.queue.link.stored(&stream, &filter, next, BATCH).await
            })?;
            let Some(last) = messages.last() else {
                return Ok(entries.into_iter().collect());
            };
            next = last.sequence + 1;
            for message in messages {
                let key = message.subject.strip_prefix(&root).unwrap_or_default();
                let key = key.to_owned();
                match entry(message) {
                    Some(entry) => drop(entries.insert(key, entry)),
                    None => drop(entries.remove(&key)),
                }
            }
        }
    }

    /// Sets a value if the key has this revision, or none. An answer that was lost is looked up.
    fn exchange(
        &self,
        key: &str,
        value: &[u8],
        revision: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        check_key(key)?;
        let what = format!("write `{}`", self.name);
        let about = self.about(&what);
        let link = &self.queue.link;
        let start = Instant::now();
        loop {
            let done = link.block_on(link.guard(about, self.exchange_once(key, value, revision)));
            match done {
                Ok(revision) => return Ok(Some(revision)),
                Err(Failure::Changed) => return Ok(None),
                Err(failure) if failure.is_passing() && start.elapsed() < PATIENCE => {}
                Err(failure) => return Err(link.error(about, failure)),
            }
            std::thread::sleep(PAUSE);
            let found = self.get(key)?;
            match found {
                Some(found) if found.value == value && Some(found.revision) != revision => {
                    return Ok(Some(found.revision));
                }
                found if found.as_ref().map(|found| found.revision) == revision => {}
                _ => return Ok(None),
            }
        }
    }

    async fn exchange_once(
        &self,
        key: &str,
        value: &[u8],
        revision: Option<u64>,
    ) -> Result<u64, Failure> {
        let store = self.store().await?;
        let value = value.to_vec().into();
        match revision {
            Some(revision) => Ok(store.update(key, value, revision).await?),
            None => store
                .create(key, value)
                .await
                .map_err(|error| match error.kind() {
                    CreateErrorKind::AlreadyExists => Failure::Changed,
                    _ => error.into(),
                }),
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Entry>, Failure> {
        let entry = self.store().await?.entry(key).await?;
        let entry = entry.filter(|entry| entry.operation == Operation::Put);
        Ok(entry.map(|entry| Entry {
            value: entry.value.into(),
            revision: entry.revision,
            written: entry.created.into(),
        }))
    }

    /// The client's handle, which asks the server for the bucket's settings the first time.
    async fn store(&self) -> Result<kv::Store, Failure> {
        let known = || {
            let stores = self.queue.buckets.0.lock();
            stores.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(store) = known().get(self.name) {
            return Ok(store.clone());
        }
        let store = self.queue.link.context.get_key_value(self.name).await?;
        known().insert(self.name, store.clone());
        Ok(store)
    }

    fn retry<T>(
        &self,
        verb: &str,
        key: &str,
        request: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, Error> {
        check_key(key)?;
        let what = format!("{verb} `{key}` in `{}`", self.name);
        self.queue.link.retry(self.about(&what), request)
    }

    fn about<'a>(&self, what: &'a str) -> Subject<'a> {
        Subject {
            what,
            name: self.name,
            subject: self.name,
        }
    }
}

/// The entry of a stored message; `None` if the key has no value any more.
fn entry(message: StreamMessage) -> Option<Entry> {
    let is_removed = REMOVED
        .iter()
        .any(|name| message.headers.get(*name).is_some());
    (!is_removed).then(|| Entry {
        value: message.payload.into(),
        revision: message.sequence,
        written: message.time.into(),
    })
}
