//! The files of items: the named path if it has the right bytes, else a copy from the queue, kept in a cache folder.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::super::messages::Item;
use crate::pipeline::FileStamp;
use crate::queue::{self, FileAccess, Queue};
use crate::store::ManualCard;

/// Length of a SHA-256 in hex.
const DIGEST_DIGITS: usize = 64;

/// Why a worker cannot have a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// Files are not in the queue, and the path leads nowhere here.
    #[error("{path}: {why}, and `queue.files = \"shared\"` keeps files out of the queue")]
    NotShared { path: String, why: &'static str },
    /// The queue has no such file.
    #[error("{path} is not in the queue")]
    Missing { path: String },
    /// The cache cannot be written.
    #[error("{}: {cause}", folder.display())]
    Cache { folder: PathBuf, cause: io::Error },
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] queue::Error),
}

/// Finds and fetches files.
pub(super) struct Files<'a> {
    queue: &'a Queue,
    config: &'a queue::Config,
    folder: PathBuf,
    /// Digests that were taken here, with what the file was then.
    known: Mutex<HashMap<PathBuf, (FileStamp, String)>>,
}

impl<'a> Files<'a> {
    pub(super) fn new(queue: &'a Queue, config: &'a queue::Config) -> Self {
        let folder = config.cache_folder().unwrap_or_else(std::env::temp_dir);
        Self {
            queue,
            config,
            folder,
            known: Mutex::default(),
        }
    }

    /// The path of an item's file on this machine. `in_use`: digests of files that the cache must keep.
    pub(super) fn locate(&self, item: &Item, in_use: &[String]) -> Result<PathBuf, FileError> {
        let named = Path::new(&item.path);
        let why = match self.config.files {
            FileAccess::Queue => "",
            _ => match fs::metadata(named) {
                Err(_) => "there is no such file on this machine",
                Ok(file) if file.len() != item.bytes => "it is another file on this machine",
                Ok(_) if !self.has_digest(named, &item.file) => {
                    "it is another file on this machine"
                }
                Ok(_) => return Ok(named.to_owned()),
            },
        };
        match self.config.files {
            FileAccess::Shared => Err(FileError::NotShared {
                path: item.path.clone(),
                why,
            }),
            _ => self.cached(item, in_use),
        }
    }

    fn has_digest(&self, path: &Path, digest: &str) -> bool {
        let stamp = FileStamp::of(path);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((was, taken)) = known.get(path)
            && *was == stamp
        {
            return taken == digest;
        }
        let Ok(taken) = ManualCard::digest(path) else {
            return false;
        };
        let is_same = taken == digest;
        known.insert(path.to_owned(), (stamp, taken));
        is_same
    }

    /// The copy in the cache, fetched if it is missing. Workers of one machine share the folder.
    fn cached(&self, item: &Item, in_use: &[String]) -> Result<PathBuf, FileError> {
        let failed = |cause| FileError::Cache {
            folder: self.folder.clone(),
            cause,
        };
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let extension = Path::new(&item.path).extension().and_then(|e| e.to_str());
        let is_plain = |e: &&str| e.len() <= 8 && e.chars().all(|c| c.is_ascii_alphanumeric());
        let extension = extension.filter(is_plain).unwrap_or("pdf");
        let path = self.folder.join(format!("{}.{extension}", item.file));
        let lock = File::create(self.folder.join(format!("{}.lock", item.file))).map_err(failed)?;
        lock.lock().map_err(failed)?;
        // The time of the lock tells when the copy was used last; that of the copy would tell that it has changed.
        lock.set_modified(SystemTime::now()).map_err(failed)?;
        if path.exists() && self.has_digest(&path, &item.file) {
            return Ok(path);
        }
        self.make_room(item.bytes, in_use).map_err(failed)?;
        match self.queue.get_file(&item.file, &path)? {
            true => Ok(path),
            false => Err(FileError::Missing {
                path: item.path.clone(),
            }),
        }
    }

    /// Removes the copies that were not used for longest, until `bytes` more fit.
    fn make_room(&self, bytes: u64, in_use: &[String]) -> io::Result<()> {
        let mut copies = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let digest = path.file_stem().and_then(|stem| stem.to_str());
            let digest = digest.unwrap_or_default().to_owned();
            if path.extension().is_some_and(|e| e != "lock") && digest.len() == DIGEST_DIGITS {
                let lock = fs::metadata(path.with_extension("lock"));
                let used = lock.and_then(|lock| lock.modified());
                let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
                copies.push((used, fs::metadata(&path)?.len(), digest, path));
            }
        }
        copies.sort();
        let mut total: u64 = copies.iter().map(|(_, bytes, ..)| bytes).sum();
        for (_, size, digest, path) in copies {
            if total + bytes <= self.config.cache_limit.0 {
                break;
            }
            if !in_use.contains(&digest) {
                fs::remove_file(&path)?;
                total -= size;
            }
        }
        Ok(())
    }
}
