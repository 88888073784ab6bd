//! Disk space: a full disk, removal without free space, and giving space back.

use std::io::{self, Write};
use std::path::Path;

use rusqlite::{Connection, ErrorCode, Result as Sql};

use super::{Sqlite, WithLocation};
use crate::store::Error;
use crate::units::ByteSize;

/// Database pages that one transaction of the vacuum frees: 4 MiB.
const VACUUM_STEP: i64 = 256;
/// Value of `PRAGMA auto_vacuum` of a file that can shrink page by page.
const INCREMENTAL: i64 = 2;

/// Whether an error means that the disk, or the size limit of the file, is full.
///
/// SQLite reports that shared memory for WAL, or a new file, cannot be created as a general failure; only a write tells.
pub(super) fn is_full(cause: &rusqlite::Error, location: &str) -> bool {
    match cause.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => true,
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => is_disk_full(location),
        _ => false,
    }
}

fn is_disk_full(location: &str) -> bool {
    let folder = Path::new(location).parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    let probe = tempfile::tempfile_in(folder.unwrap_or(Path::new(".")))
        .and_then(|mut file| file.write_all(&[1; 1 << 16]));
    probe.is_err_and(|cause| is_storage_full(&cause))
}

pub(super) fn is_storage_full(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl Sqlite {
    /// Runs `remove`, also on a full disk.
    ///
    /// There the log of a transaction has no space. The transaction is run again with its journal in memory: it changes the
    /// file in place, which needs none, and frees some. Only a process killed during this one transaction can damage the file.
    pub(super) fn remove_on_full_disk<T>(
        &self,
        remove: impl Fn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let full = match remove() {
            Err(full @ Error::Full { .. }) => full,
            done => return done,
        };
        let in_memory = self.set_journal("MEMORY");
        if !in_memory.is_ok_and(|mode| mode == "memory") {
            return Err(full);
        }
        let removed = remove();
        if removed.is_ok() && is_incremental(&self.connection()).unwrap_or(false) {
            // Enough for the log of the following transactions. Without it the pages are removed all the same.
            vacuum_step(&self.connection(), 2 * VACUUM_STEP).ok();
        }
        // A writer that opens the file sets it too.
        self.set_journal("WAL").ok();
        removed
    }

    fn set_journal(&self, mode: &str) -> Sql<String> {
        self.connection()
            .pragma_update_and_check(None, "journal_mode", mode, |row| row.get(0))
    }

    /// Gives the space of removed pages back to the disk; returns the bytes that the file keeps for later pages. A file
    /// made by a version that could not shrink it keeps all.
    pub(super) fn vacuum(&self) -> Result<ByteSize, Error> {
        let connection = self.connection();
        let run = || {
            let mut free = number(&connection, "freelist_count")?;
            while free > 0 && is_incremental(&connection)? {
                match vacuum_step(&connection, VACUUM_STEP) {
                    // On a disk that is still full the file keeps the rest.
                    Err(cause) if is_full(&cause, &self.location) => break,
                    done => done?,
                }
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
                let left = number(&connection, "freelist_count")?;
                if left >= free {
                    break;
                }
                free = left;
            }
            let kept = number(&connection, "freelist_count")? * number(&connection, "page_size")?;
            Ok(ByteSize(kept.unsigned_abs()))
        };
        Sql::with_location(run(), &self.location)
    }
}

fn is_incremental(connection: &Connection) -> Sql<bool> {
    Ok(number(connection, "auto_vacuum")? == INCREMENTAL)
}

fn number(connection: &Connection, pragma: &str) -> Sql<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// Frees up to so many database pages at the end of the file; each row of the answer is one.
fn vacuum_step(connection: &Connection, pages: i64) -> Sql<()> {
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
