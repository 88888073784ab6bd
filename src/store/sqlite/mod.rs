//! Embedded store: one SQLite file. The only user of `rusqlite`, and the reference that other stores are tested against.
//!
//! The file has one collection per model. A writer holds a lock on `<file>.lock` while its process lives; readers need
//! none (WAL).

mod catalogue;
mod lock_file;
mod lookup;
mod outbox;
mod schema;
mod similar;
mod source;
mod space;
mod text_vectors;
mod variants;
mod write;

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use rusqlite::{Connection, Result as Sql};

use self::lock_file::WriterLock;
pub(super) use self::lock_file::files as store_files;
use self::source::Source;
use super::{CollectionSelector, Config, Error, Mode, Precision, Scope, lock};
use crate::page::ManualId;
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
    /// Held while a store is open for writing. Dropped after the connection.
    lock: Option<WriterLock>,
}

impl Drop for Sqlite {
    /// A file that was created for pages and got none is deleted.
    fn drop(&mut self) {
        if !self.lock.as_ref().is_some_and(WriterLock::is_new_store) {
            return;
        }
        let keep = self.is_outbox || self.page_count().map_or(true, |pages| pages > 0);
        if let Some(lock) = self.lock.as_mut().filter(|_| keep) {
            lock.keep_store();
        }
    }
}

/// The collection of one model.
#[derive(Clone, Debug)]
struct Collection {
    id: i64,
    profile: Profile,
    precision: Precision,
    /// Of the text vectors.
    text_precision: Precision,
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
            Mode::Write | Mode::Offline | Mode::Direct => {
                let mut lock = WriterLock::acquire(path, &location)?;
                let connection = schema::open_writer(path, config.limit, &location)?;
                lock.keep_existing();
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
            lock,
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

/// The names of the manuals of a scope, as a JSON array; `None` if it has all.
fn names(scope: &Scope) -> Option<String> {
    let names: Vec<&str> = scope.manuals.iter().map(ManualId::as_str).collect();
    (!names.is_empty()).then(|| serde_json::json!(names).to_string())
}

/// Converts an error of SQLite to one of the store at a path.
trait WithLocation<T> {
    fn with_location(self, location: &str) -> Result<T, Error>;
}

impl<T> WithLocation<T> for Sql<T> {
    fn with_location(self, location: &str) -> Result<T, Error> {
        self.map_err(|cause| match space::is_full(&cause, location) {
            true => Error::Full {
                location: location.to_owned(),
                why: cause.to_string(),
            },
            false => Error::failed(location, &cause.to_string()),
        })
    }
}
