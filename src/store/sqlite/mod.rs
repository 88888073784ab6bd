//! Embedded store: one SQLite file. The only user of `rusqlite`, and the reference that other stores are tested against.
//!
//! The file has one collection per model. A writer holds a lock on `<file>.lock` while its process lives; readers need
//! none (WAL).

mod catalogue;
mod lookup;
mod outbox;
mod schema;
mod write;

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use rusqlite::{Connection, ErrorCode, Result as Sql};

use self::schema::Source;
use super::{CollectionSelector, Config, Error, Mode, Precision, lock};
use crate::vectors::Profile;

/// An opened SQLite file and its selected collection.
pub(super) struct Sqlite {
    connection: Mutex<Connection>,
    source: Source,
    location: String,
    /// Configured vector format; applied to a new collection.
    format: VectorFormat,
    collection: Mutex<Option<Collection>>,
    /// Whether pages without vectors may be queued in it.
    is_outbox: bool,
    /// Held while a store is open for writing.
    _lock: Option<WriterLock>,
}

/// The lock of a writer. The operating system releases it when the process dies.
struct WriterLock(File);

impl Drop for WriterLock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that another thread is just starting shares the open file until it executes
        // its program, and with the file the lock. A failure leaves that short delay.
        self.0.unlock().ok();
    }
}

/// The collection of one model.
#[derive(Clone, Debug)]
struct Collection {
    id: i64,
    profile: Profile,
    precision: Precision,
    /// Pool factor of the first stage; 1: no first stage.
    first_stage: u32,
}

impl Collection {
    /// Bytes of a vector.
    fn row_bytes(&self) -> usize {
        self.precision.row_bytes(self.profile.dim as usize)
    }
}

/// Configured storage of vectors; `None` accepts that of an existing collection.
#[derive(Clone, Copy, Debug)]
struct VectorFormat {
    precision: Option<Precision>,
    first_stage: Option<u32>,
}

impl Sqlite {
    /// Opens a file; for writing it is created if it does not exist.
    pub(super) fn open(
        path: &Path,
        config: &Config,
        selector: CollectionSelector<'_>,
        mode: Mode,
    ) -> Result<Self, Error> {
        let location = path.display().to_string();
        let (lock, source, connection) = match mode {
            Mode::Read => {
                check_readable(path, &location)?;
                let (source, connection) = Source::open(path, &location)?;
                (None, source, connection)
            }
            Mode::Write | Mode::Offline => {
                let lock = lock_file(path, &location)?;
                let connection = schema::open_writer(path, config.limit, &location)?;
                (Some(lock), Source::new(path), connection)
            }
        };
        let found = schema::find(&connection, selector).with_location(&location)?;
        if mode == Mode::Read && found.is_none() {
            return Err(not_found(selector, location));
        }
        Ok(Self {
            connection: Mutex::new(connection),
            source,
            location,
            format: VectorFormat {
                precision: config.precision,
                first_stage: config.first_stage,
            },
            collection: Mutex::new(found),
            is_outbox: false,
            _lock: lock,
        })
    }

    /// The model of the selected collection.
    pub(super) fn profile(&self) -> Option<Profile> {
        self.collection().map(|c| c.profile)
    }

    /// The path, for messages.
    pub(super) fn location(&self) -> &str {
        &self.location
    }

    /// The models whose pages are in the file, the most recently used first.
    pub(super) fn collections(&self) -> Result<Vec<Profile>, Error> {
        let all = schema::collections(&self.connection()).with_location(&self.location)?;
        Ok(all.into_iter().map(|c| c.profile).collect())
    }

    fn collection(&self) -> Option<Collection> {
        lock(&self.collection).clone()
    }

    /// The connection, exclusive to this thread until the guard is dropped.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        lock(&self.connection)
    }

    /// The selected collection, or [`Error::Empty`].
    fn require_collection(&self) -> Result<Collection, Error> {
        self.collection().ok_or_else(|| Error::Empty {
            location: self.location.clone(),
        })
    }
}

fn not_found(selector: CollectionSelector<'_>, location: String) -> Error {
    match selector {
        CollectionSelector::Last => Error::Empty { location },
        CollectionSelector::Profile(profile) => Error::NoCollection {
            location,
            model: profile.model.clone(),
        },
    }
}

/// Checks that the file exists and may be read: SQLite does not tell the two apart.
fn check_readable(path: &Path, location: &str) -> Result<(), Error> {
    match File::open(path) {
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Err(Error::Empty {
            location: location.to_owned(),
        }),
        Err(cause) => Err(Error::open(location, &cause.to_string())),
    }
}

/// Acquires the writer lock of a file; creates its folder.
fn lock_file(path: &Path, location: &str) -> Result<WriterLock, Error> {
    let refused = |cause: std::io::Error| Error::open(location, &cause.to_string());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(refused)?;
    }
    // Two names of one file must share one lock.
    let mut name = path
        .canonicalize()
        .unwrap_or_else(|_| path.to_owned())
        .into_os_string();
    name.push(".lock");
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(name)
        .map_err(refused)?;
    match lock.try_lock() {
        Ok(()) => Ok(WriterLock(lock)),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            location: location.to_owned(),
        }),
        Err(TryLockError::Error(cause)) => Err(refused(cause)),
    }
}

/// Converts an error of SQLite to one of the store at a path.
trait WithLocation<T> {
    fn with_location(self, location: &str) -> Result<T, Error>;
}

impl<T> WithLocation<T> for Sql<T> {
    fn with_location(self, location: &str) -> Result<T, Error> {
        self.map_err(|cause| match cause.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full {
                location: location.to_owned(),
                why: cause.to_string(),
            },
            _ => Error::failed(location, &cause.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_is_released_although_a_child_process_shares_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library.db");
        let lock = lock_file(&path, "library.db").unwrap();
        let inherited = lock.0.try_clone().unwrap();
        assert!(lock_file(&path, "library.db").is_err());
        drop(lock);
        assert!(lock_file(&path, "library.db").is_ok());
        drop(inherited);
    }
}
