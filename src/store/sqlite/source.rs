//! A SQLite file opened for reading, also where it cannot be written.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, Result as Sql};

use super::schema::{
    FIRST_WITH_TEXT_VECTORS, FIRST_WITH_VARIANTS, FIRST_WITH_WORDS_READ, NO_LAST_RUN, VERSION,
    check_version, keep_temporary_data_in_memory, open_error, open_writer, version,
};
use super::space::is_full;
use super::text_vectors;
use crate::store::{Error, path_text};

/// First version that is searched as it is where it cannot be migrated, without what later ones have.
const FIRST_READABLE: i64 = 4;

/// A file and how to open it for reading.
///
/// Not memory-mapped: that saves a tenth of a search over 1,000 pages, and a failing disk would end the process.
#[derive(Clone, Debug)]
pub(super) struct Source {
    path: PathBuf,
    /// The folder is read-only, or its disk full: open the file as immutable, without WAL.
    immutable: bool,
    /// Schema version of the file.
    version: i64,
}

impl Source {
    /// Opens for reading; in a read-only folder, as immutable.
    pub(super) fn open(path: &Path, location: &str) -> Result<(Self, Connection), Error> {
        let mut source = Self::new(path);
        let first = source.reader().and_then(|c| version(&c).map(|_| c));
        let connection = match first {
            Err(cause)
                if (needs_immutable(&cause) || is_full(&cause, location)) && !has_wal(path) =>
            {
                source.immutable = true;
                source.reader()
            }
            other => other,
        };
        let connection = connection.map_err(|cause| open_error(location, &cause))?;
        match check_version(&connection, location)? {
            0 => Err(Error::Empty {
                location: location.to_owned(),
            }),
            VERSION => Ok((source, connection)),
            // An older version is migrated first; the last one is readable as it is where that is impossible.
            old => {
                let is_readable = old >= FIRST_READABLE;
                let migrated = match is_readable && source.immutable {
                    true => false,
                    false => match open_writer(path, None, location) {
                        Err(cause) if !is_readable => return Err(cause),
                        migrated => migrated.is_ok(),
                    },
                };
                if !migrated {
                    source.version = old;
                    let text_vectors = match old {
                        ..FIRST_WITH_TEXT_VECTORS => text_vectors::NO_TABLE,
                        FIRST_WITH_TEXT_VECTORS..FIRST_WITH_WORDS_READ => {
                            text_vectors::NO_WORDS_READ
                        }
                        _ => "",
                    };
                    connection
                        .execute_batch(&format!("{text_vectors} {NO_LAST_RUN}"))
                        .map_err(|cause| open_error(location, &cause))?;
                }
                Ok((source, connection))
            }
        }
    }

    /// A file that is not immutable.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            immutable: false,
            version: VERSION,
        }
    }

    /// Whether the file has the index of variants.
    pub(super) fn has_variants(&self) -> bool {
        self.version >= FIRST_WITH_VARIANTS
    }

    /// Opens a read-only connection.
    pub(super) fn reader(&self) -> Sql<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = if self.immutable {
            let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
            let uri = format!("{}?immutable=1", path_text::file_uri(&path));
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
        } else {
            Connection::open_with_flags(&self.path, flags)?
        };
        keep_temporary_data_in_memory(&connection)?;
        Ok(connection)
    }
}

fn needs_immutable(cause: &rusqlite::Error) -> bool {
    matches!(
        cause.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
    )
}

fn has_wal(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    std::fs::metadata(wal).is_ok_and(|found| found.len() > 0)
}
