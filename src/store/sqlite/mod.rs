//! The embedded store: one SQLite file. Only this folder names `rusqlite`. Stores that come later are tested against it.
//!
//! One collection per model lives in the file. A run that writes holds a lock on `<file>.lock` for as long as it lives;
//! readers need none (WAL).

mod catalogue;
mod lookup;
mod outbox;
mod schema;
mod write;

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use rusqlite::{Connection, ErrorCode, Result as Sql};

use self::schema::Source;
use super::{CollectionSelector, Config, Error, Mode, Precision, locked};
use crate::vectors::Profile;

/// A SQLite file, opened, with one of its collections.
pub(super) struct Sqlite {
    connection: Mutex<Connection>,
    source: Source,
    at: String,
    /// What a new collection is made like.
    wanted: Keeping,
    collection: Mutex<Option<Collection>>,
    /// Whether pages may wait in it without their vectors.
    is_outbox: bool,
    /// Held for the life of a store opened for writing; the system lets go of it when the process dies.
    _lock: Option<File>,
}

/// The pages of one model.
#[derive(Clone, Debug)]
struct Collection {
    id: i64,
    profile: Profile,
    precision: Precision,
    /// The pool factor of its first stage; 1: it has none.
    first_stage: u32,
}

impl Collection {
    /// Bytes of a vector.
    fn row_bytes(&self) -> usize {
        self.precision.row_bytes(self.profile.dim as usize)
    }
}

/// How vectors should be kept; none takes what is there.
#[derive(Clone, Copy, Debug)]
struct Keeping {
    precision: Option<Precision>,
    first_stage: Option<u32>,
}

impl Sqlite {
    /// Opens a file; for writing it is made when it is not there.
    pub(super) fn open(
        path: &Path,
        config: &Config,
        which: CollectionSelector<'_>,
        mode: Mode,
    ) -> Result<Self, Error> {
        let at = path.display().to_string();
        let (lock, source, connection) = match mode {
            Mode::Read if !path.exists() => return Err(Error::Empty { at }),
            Mode::Read => {
                let (source, connection) = Source::open(path, &at)?;
                (None, source, connection)
            }
            Mode::Write | Mode::Offline => {
                let lock = lock(path, &at)?;
                let connection = schema::writer(path, config.limit, &at)?;
                (Some(lock), Source::of(path), connection)
            }
        };
        let found = schema::find(&connection, which).at(&at)?;
        if mode == Mode::Read && found.is_none() {
            return Err(missing(which, at));
        }
        Ok(Self {
            connection: Mutex::new(connection),
            source,
            at,
            wanted: Keeping {
                precision: config.precision,
                first_stage: config.first_stage,
            },
            collection: Mutex::new(found),
            is_outbox: false,
            _lock: lock,
        })
    }

    /// The model whose pages are shown.
    pub(super) fn profile(&self) -> Option<Profile> {
        self.collection().map(|c| c.profile)
    }

    /// The path, for people.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// The models whose pages are in the file, the one used last first.
    pub(super) fn collections(&self) -> Result<Vec<Profile>, Error> {
        let all = schema::collections(&self.connection()).at(&self.at)?;
        Ok(all.into_iter().map(|c| c.profile).collect())
    }

    fn collection(&self) -> Option<Collection> {
        locked(&self.collection).clone()
    }

    /// The connection, for this thread alone until the guard goes.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        locked(&self.connection)
    }

    fn prepared(&self) -> Result<Collection, Error> {
        self.collection().ok_or_else(|| Error::Empty {
            at: self.at.clone(),
        })
    }
}

fn missing(which: CollectionSelector<'_>, at: String) -> Error {
    match which {
        CollectionSelector::Last => Error::Empty { at },
        CollectionSelector::Profile(profile) => Error::NoCollection {
            at,
            model: profile.model.clone(),
        },
    }
}

/// Takes the lock of a file's only writer; makes the folder.
fn lock(path: &Path, at: &str) -> Result<File, Error> {
    let refused = |cause: std::io::Error| Error::open(at, &cause.to_string());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(refused)?;
    }
    // Two names of one file must lead to one lock.
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
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { at: at.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(refused(cause)),
    }
}

/// Turns a failure of SQLite into one of the store at some path.
trait Named<T> {
    fn at(self, at: &str) -> Result<T, Error>;
}

impl<T> Named<T> for Sql<T> {
    fn at(self, at: &str) -> Result<T, Error> {
        self.map_err(|cause| match cause.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full {
                at: at.to_owned(),
                why: cause.to_string(),
            },
            _ => Error::failed(at, &cause.to_string()),
        })
    }
}
