//! Buckets: small values by key, each with a revision.

use std::time::SystemTime;

use super::{Error, Queue};

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

/// A bucket. Keys are names of `A-Za-z0-9_-`, joined by dots.
pub struct Bucket<'q> {
    queue: &'q Queue,
}

impl Bucket<'_> {
    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`]; so of all methods.
    pub fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let _ = (self.queue, key);
        todo!()
    }

    /// Sets the value of a key, and returns its revision.
    ///
    /// # Errors
    /// As [`Bucket::get`], and [`Error::TooLarge`].
    pub fn put(&self, key: &str, value: &[u8]) -> Result<u64, Error> {
        let _ = (key, value);
        todo!()
    }

    /// Sets the value of a key that has none, and returns its revision; `None` if it has one.
    ///
    /// # Errors
    /// As [`Bucket::put`].
    pub fn create(&self, key: &str, value: &[u8]) -> Result<Option<u64>, Error> {
        let _ = (key, value);
        todo!()
    }

    /// Replaces the value of a key if its revision is still this one, and returns the new one; `None` if it is not.
    ///
    /// # Errors
    /// As [`Bucket::put`].
    pub fn update(&self, key: &str, value: &[u8], revision: u64) -> Result<Option<u64>, Error> {
        let _ = (key, value, revision);
        todo!()
    }

    /// Removes the value of a key.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        let _ = key;
        todo!()
    }

    /// All keys that begin with `prefix` (whole names and a dot, as in `worker.`; empty: all) with their values, by key.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn entries(&self, prefix: &str) -> Result<Vec<(String, Entry)>, Error> {
        let _ = prefix;
        todo!()
    }
}

impl Queue {
    /// Manifests of runs; kept for 30 days.
    pub fn runs(&self) -> Bucket<'_> {
        todo!()
    }

    /// Workers that live. A value vanishes after 30 s: its worker puts it again every 10 s.
    pub fn workers(&self) -> Bucket<'_> {
        todo!()
    }

    /// Coordinators that live. A value vanishes after 4 s: its coordinator renews it every second with [`Bucket::update`].
    pub fn leads(&self) -> Bucket<'_> {
        todo!()
    }
}
