//! Lock of the writer of a file, and removal of a file in which nothing was stored.

use std::fs::{File, TryLockError, remove_dir, remove_file};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::space;
use crate::store::Error;

/// Appended to the name of a store: the file with the writer lock.
const LOCK: &str = ".lock";
/// Attempts to lock a file that other writers remove in the meantime.
const ATTEMPTS: usize = 100;

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

/// Whether a folder does not exist.
fn is_gone(folder: Option<&Path>) -> bool {
    folder.is_some_and(|folder| !folder.exists())
}

/// Whether an open file is the one at a path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (open.dev(), open.ino())),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(cause),
    }
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
        for _ in 0..ATTEMPTS {
            match Self::try_acquire(path) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) => {}
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(cause)) => return Err(refused(cause)),
            }
        }
        Err(Error::Locked {
            location: location.to_owned(),
        })
    }

    /// Opens and locks the lock file; `None` if the writer before removed it, or its folder, in between.
    ///
    /// A lock file is removed only by its holder. So a locked file that is still at its path stays there, and what exists
    /// now is what the writer before has left.
    fn try_acquire(path: &Path) -> Result<Option<Self>, TryLockError> {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
        let mut folders = Vec::new();
        if let Some(folder) = folder {
            let missing = folder.ancestors().take_while(|folder| !folder.exists());
            folders.extend(missing.map(Path::to_owned));
            std::fs::create_dir_all(folder).map_err(TryLockError::Error)?;
        }
        // Two names of one file must share one lock.
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = with_suffix(&real, LOCK);
        let is_new_lock = !name.exists();
        let options = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&name);
        let lock = match options {
            Err(cause) if cause.kind() == ErrorKind::NotFound && is_gone(folder) => {
                return Ok(None);
            }
            opened => opened.map_err(TryLockError::Error)?,
        };
        lock.try_lock()?;
        if !is_at(&lock, &name).map_err(TryLockError::Error)? {
            return Ok(None);
        }
        let is_new = path.symlink_metadata().is_err();
        let mut created = match is_new {
            true => files(path),
            false if is_new_lock => vec![name],
            false => Vec::new(),
        };
        created.append(&mut folders);
        Ok(Some(Self {
            lock,
            is_new,
            created,
        }))
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
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    /// Each writer leaves a store, or nothing, in which case it deletes the lock file that others have open.
    #[test]
    fn two_writers_never_hold_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = &folder.path().join("new/library.db");
        let (holders, acquired) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
        let work = || {
            for _ in 0..4_000 {
                let Ok(mut lock) = WriterLock::acquire(path, "library.db") else {
                    continue;
                };
                assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                assert_eq!(lock.is_new_store(), !path.exists());
                match acquired.fetch_add(1, Ordering::SeqCst) % 4 {
                    0 => std::fs::write(path, "pages").unwrap(),
                    1 => drop(std::fs::remove_file(path)),
                    _ => {}
                }
                if path.exists() {
                    lock.keep_store();
                }
                holders.fetch_sub(1, Ordering::SeqCst);
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
        assert!(acquired.load(Ordering::SeqCst) > 1_000);
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
