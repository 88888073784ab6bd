//! Disk space: a full disk, removal without free space, and giving space back.

use std::io::{self, Write};
use std::path::Path;

use rusqlite::{Connection, ErrorCode, Result as Sql};

use super::{Sqlite, WithLocation};
use crate::page::PageSet;
use crate::store::Error;
use crate::units::ByteSize;

/// Database pages that one transaction of the vacuum frees: 4 MiB.
const VACUUM_STEP: i64 = 256;
/// Pages of a manual that one transaction removes on a full disk: they take some MB, and their log less.
pub(super) const PAGES_PER_STEP: usize = 8;
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
    /// Runs `remove` for each step, on a disk where the log of one transaction for all of them has no space.
    ///
    /// The log of a step is small. If it has no space either, this one step has its journal in memory: it changes the file in
    /// place, which needs none, and gives space for the logs of the following ones back to the disk. Only a process killed
    /// just then can damage the file; one killed at another time has removed some of the pages.
    pub(super) fn remove_on_full_disk(
        &self,
        steps: &[PageSet],
        remove: impl Fn(&PageSet) -> Result<u64, Error>,
    ) -> Result<u64, Error> {
        let mut removed = 0;
        for step in steps {
            removed += match remove(step) {
                Err(full @ Error::Full { .. }) => self.in_place(full, || remove(step))?,
                done => done?,
            };
            // The log of the next step overwrites this one. If it cannot, it needs more space.
            checkpoint(&self.connection()).ok();
        }
        Ok(removed)
    }

    /// Runs `remove` with the journal of its transaction in memory; `full` is its error without.
    fn in_place(&self, full: Error, remove: impl Fn() -> Result<u64, Error>) -> Result<u64, Error> {
        // Not while another process has the file open.
        let in_memory = self.set_journal("MEMORY");
        if !in_memory.is_ok_and(|mode| mode == "memory") {
            return Err(full);
        }
        let removed = remove();
        if removed.is_ok() && is_incremental(&self.connection()).unwrap_or(false) {
            // Without it the following steps are run in place too.
            vacuum_step(&self.connection(), VACUUM_STEP).ok();
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
                checkpoint(&connection)?;
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

/// Empties the log.
fn checkpoint(connection: &Connection) -> Sql<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::store::{Address, CollectionSelector, Config, Mode};

    #[test]
    fn only_a_step_whose_log_has_no_space_changes_the_file_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library.db");
        let config = Config::new(Address::File(path.clone()));
        let store = Sqlite::open(&path, &config, CollectionSelector::Last, Mode::Write).unwrap();
        let calls = RefCell::new(Vec::new());
        let remove = |pages: &PageSet| {
            let journal: String = store
                .connection()
                .pragma_query_value(None, "journal_mode", |row| row.get(0))
                .unwrap();
            let has_space = journal == "memory" || pages.to_string() != "3";
            calls.borrow_mut().push(format!("{pages} {journal}"));
            match has_space {
                true => Ok(1),
                false => Err(Error::Full {
                    location: String::new(),
                    why: String::new(),
                }),
            }
        };
        let steps = [1, 3, 5].map(|n| PageSet::of([n]));
        assert_eq!(store.remove_on_full_disk(&steps, remove).unwrap(), 3);
        assert_eq!(calls.into_inner(), ["1 wal", "3 wal", "3 memory", "5 wal"]);
    }
}
