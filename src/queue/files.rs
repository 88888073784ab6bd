//! Files in the queue's object store, named by their SHA-256.

use std::path::Path;
use std::time::Duration;

use super::{Error, Queue};
use crate::units::ByteSize;

impl Queue {
    /// Whether a file was uploaded.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`].
    pub fn has_file(&self, digest: &str) -> Result<bool, Error> {
        let _ = digest;
        todo!()
    }

    /// Uploads a file whose SHA-256 is `digest`, 64 lowercase hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::Full`] if it does not fit, before anything was sent; [`Error::Changed`] if its content has another digest,
    /// [`Error::File`]: nothing is kept then; [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`],
    /// [`Error::Failed`].
    pub fn put_file(&self, digest: &str, path: &Path) -> Result<(), Error> {
        let _ = (digest, path);
        todo!()
    }

    /// Fetches a file to the path `to`, which has it only when it is complete and has that digest; `false` if it was never
    /// uploaded.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::File`], [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`],
    /// [`Error::Failed`].
    pub fn get_file(&self, digest: &str, to: &Path) -> Result<bool, Error> {
        let _ = (digest, to);
        todo!()
    }

    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`].
    pub fn remove_file(&self, digest: &str) -> Result<(), Error> {
        let _ = digest;
        todo!()
    }

    /// Removes what uploads left that were begun longer than `age` ago and never ended; returns how much that was.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`].
    pub fn sweep_files(&self, age: Duration) -> Result<ByteSize, Error> {
        let _ = age;
        todo!()
    }
}
