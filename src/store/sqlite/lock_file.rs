//! Lock of the writer of a file, and removal of a file in which nothing was stored.

use std::fs::{File, Metadata, TryLockError, remove_dir, remove_file};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::space;
use crate::store::Error;

/// Appended to the name of a store: the file with the writer lock.
const LOCK: &str = ".lock";

/// All files of a store.
pub(in crate::store) fn files(path: &Path) -> Vec<PathBuf> {
    ["", "-wal", "-shm", LOCK]
        .map(|suffix| with_suffix(path, suffix))
        .into()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether an open file is the one at a path.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |found: Metadata| (found.dev(), found.ino());
    let [open, there] = [file.metadata(), path.metadata()].map(|found| found.ok().map(identity));
    open.is_some() && open == there
}

/// The lock of a writer. The operating system releases it when the process dies.
pub(super) struct WriterLock {
    lock: File,
    /// Whether the store did not exist before.
    is_new: bool,
    /// Files and folders that did not exist before; deleted on drop.
    created: Vec<PathBuf>,
}

impl WriterLock {
    /// Acquires the writer lock of a file; creates its folder.
    pub(super) fn acquire(path: &Path, location: &str) -> Result<Self, Error> {
        let refused = |cause: io::Error| match space::is_storage_full(&cause) {
            true => Error::Full {
                location: location.to_owned(),
                why: cause.to_string(),
            },
            false => Error::open(location, &cause.to_string()),
        };
        let is_new = path.symlink_metadata().is_err();
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
        // Two names of one file must share one lock.
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = with_suffix(&real, LOCK);
        let mut created = match is_new {
            true => files(path),
            false if !name.exists() => vec![name.clone()],
            false => Vec::new(),
        };
        if let Some(folder) = folder {
            let missing = folder.ancestors().take_while(|folder| !folder.exists());
            created.extend(missing.map(Path::to_owned));
            std::fs::create_dir_all(folder).map_err(refused)?;
        }
        loop {
            let lock = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&name)
                .map_err(refused)?;
            match lock.try_lock() {
                // Its last holder deleted it: the next one has another file.
                Ok(()) if !is_at(&lock, &name) => {}
                Ok(()) => {
                    return Ok(Self {
                        lock,
                        is_new,
                        created,
                    });
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Locked {
                        location: location.to_owned(),
                    });
                }
                Err(TryLockError::Error(cause)) => return Err(refused(cause)),
            }
        }
    }

    /// The store is opened: one that existed before stays.
    pub(super) fn keep_existing(&mut self) {
        if !self.is_new {
            self.created.clear();
        }
    }

    /// Whether the store did not exist before.
    pub(super) fn is_new_store(&self) -> bool {
        self.is_new
    }

    /// The store has pages.
    pub(super) fn keep_store(&mut self) {
        self.created.clear();
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        for path in &self.created {
            // Only empty folders are deleted.
            drop(remove_file(path).or_else(|_| remove_dir(path)));
        }
        // Closing is not enough: a child process that another thread is just starting shares the open file until it executes
        // its program, and with the file the lock. A failure leaves that short delay.
        self.lock.unlock().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_is_released_although_a_child_process_shares_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library.db");
        let acquire = || WriterLock::acquire(&path, "library.db");
        let mut lock = acquire().unwrap();
        let inherited = lock.lock.try_clone().unwrap();
        assert!(acquire().is_err());
        lock.keep_store();
        drop(lock);
        assert!(acquire().is_ok());
        drop(inherited);
    }

    #[test]
    fn a_lock_file_that_was_deleted_is_not_the_one_at_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library.db.lock");
        let old = File::create(&path).unwrap();
        assert!(is_at(&old, &path));
        remove_file(&path).unwrap();
        assert!(!is_at(&old, &path));
        let new = File::create(&path).unwrap();
        assert!(is_at(&new, &path) && !is_at(&old, &path));
    }

    #[test]
    fn threads_never_hold_a_lock_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library.db");
        let held = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        // Nothing is stored, so each holder deletes the lock file.
                        let Ok(lock) = WriterLock::acquire(&path, "library.db") else {
                            continue;
                        };
                        assert_eq!(held.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        held.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }

    #[test]
    fn what_was_created_for_a_store_without_pages_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/deep/library.db");
        let lock = WriterLock::acquire(&path, "library.db").unwrap();
        assert!(path.parent().unwrap().exists());
        drop(lock);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        let notes = folder.path().join("notes.txt");
        std::fs::write(&notes, "not ours").unwrap();
        drop(WriterLock::acquire(&notes, "notes.txt").unwrap());
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        assert!(notes.exists());
    }
}
