//! Files in the queue's object store, named by their SHA-256.

use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_nats::jetstream::object_store::{InfoErrorKind, ObjectInfo, ObjectMetadata, ObjectStore};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, ReadBuf};

use super::failure::Failure;
use super::link::Subject;
use super::names::{FILES, check_digest};
use super::{Error, Queue};
use crate::units::ByteSize;

/// Size of a chunk: half of what a message may have.
pub(super) const CHUNK: usize = 512 * 1024;
/// Bytes that the server keeps besides a chunk, and with the record of a file: more than it needs.
const OVERHEAD: u64 = 256;
const RECORD: u64 = 4096;
/// Chunks that are asked for at once.
const BATCH: usize = 16;
/// Maximum time until a chunk is confirmed, over a slow line.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(5);

/// The client's handle of the object store, once it was found.
#[derive(Default)]
pub(super) struct Store(Mutex<Option<ObjectStore>>);

impl Queue {
    /// Whether a file was uploaded.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`].
    pub fn has_file(&self, digest: &str) -> Result<bool, Error> {
        check_digest(digest)?;
        let about = about("look for a file");
        let record = self.link.retry(about, async || self.record(digest).await)?;
        Ok(record.is_some())
    }

    /// Uploads a file whose SHA-256 is `digest`, 64 lowercase hexadecimal digits; one that is there is not sent again.
    ///
    /// # Errors
    /// [`Error::Full`] if it does not fit, before anything was sent; [`Error::Changed`] if its content has another digest,
    /// [`Error::File`]: nothing is kept then; [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`],
    /// [`Error::Failed`].
    pub fn put_file(&self, digest: &str, path: &Path) -> Result<(), Error> {
        if self.has_file(digest)? {
            return Ok(());
        }
        let size = std::fs::metadata(path).map_err(|cause| unreadable(path, &cause))?;
        self.check_space(path, size.len())?;
        let upload = || self.upload(digest, path);
        match upload() {
            Err(Error::Away { .. }) => upload(),
            done => done,
        }
    }

    /// Fetches a file to the path `to`, which has it only when it is complete and has that digest; `false` if it was never
    /// uploaded.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::File`], [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`],
    /// [`Error::Failed`].
    pub fn get_file(&self, digest: &str, to: &Path) -> Result<bool, Error> {
        check_digest(digest)?;
        let about = about("fetch a file");
        let record = self.link.retry(about, async || self.record(digest).await)?;
        let Some(record) = record else {
            return Ok(false);
        };
        let failed = |cause: std::io::Error| unreadable(to, &cause);
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
        let found = self.download(&record, about, &mut |bytes| {
            file.write_all(bytes).map_err(failed)
        })?;
        if found != digest {
            return Err(Error::Damaged {
                location: self.link.location.clone(),
                digest: digest.to_owned(),
                why: format!("its content has the digest {found}"),
            });
        }
        file.persist(to).map_err(|cause| failed(cause.error))?;
        Ok(true)
    }

    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`].
    pub fn remove_file(&self, digest: &str) -> Result<(), Error> {
        check_digest(digest)?;
        self.link.retry(about("remove a file"), async || {
            if self.record(digest).await?.is_none() {
                return Ok(());
            }
            Ok(self.store().await?.delete(digest).await?)
        })
    }

    /// Refuses a file that does not fit: the chunks of a refused one would stay.
    fn check_space(&self, path: &Path, size: u64) -> Result<(), Error> {
        let info = self.link.retry(about("look for space"), async || {
            let store = self.link.context.get_stream(stream()).await?;
            Ok(store.cached_info().clone())
        })?;
        let needed = size + size.div_ceil(CHUNK as u64) * OVERHEAD + RECORD;
        let limit = u64::try_from(info.config.max_bytes).unwrap_or(u64::MAX);
        let free = limit.saturating_sub(info.state.bytes);
        if needed <= free {
            return Ok(());
        }
        Err(Error::Full {
            location: self.link.location.clone(),
            why: format!(
                "{} has {}, and {} of {} are free",
                path.display(),
                ByteSize(size),
                ByteSize(free),
                ByteSize(limit)
            ),
        })
    }

    fn upload(&self, digest: &str, path: &Path) -> Result<(), Error> {
        let file = std::fs::File::open(path).map_err(|cause| unreadable(path, &cause))?;
        let mut reader = Checked {
            file: tokio::fs::File::from_std(file),
            hash: Sha256::new(),
            expected: digest,
            problem: None,
        };
        let meta = ObjectMetadata {
            name: digest.to_owned(),
            chunk_size: Some(CHUNK),
            ..ObjectMetadata::default()
        };
        let sent = self.link.once(about("upload a file"), async {
            Ok(self.store().await?.put(meta, &mut reader).await?)
        });
        match reader.problem {
            Some(Problem::Changed) => Err(Error::Changed {
                file: path.to_owned(),
            }),
            Some(Problem::Unreadable(cause)) => Err(unreadable(path, &cause)),
            None => sent.map(|_| ()),
        }
    }

    /// Reads the chunks of a file in order, and returns the digest of their content.
    fn download(
        &self,
        record: &ObjectInfo,
        about: Subject<'_>,
        write: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<String, Error> {
        let filter = format!("$O.{FILES}.C.{}", record.nuid);
        let (mut next, mut read, mut hash) = (1, 0, Sha256::new());
        while read < record.size {
            let chunks = self.link.retry(about, async || {
                self.link.stored(&stream(), &filter, next, BATCH).await
            })?;
            let Some(last) = chunks.last() else {
                return Err(Error::Damaged {
                    location: self.link.location.clone(),
                    digest: record.name.clone(),
                    why: format!("{read} of its {} bytes are there", record.size),
                });
            };
            next = last.sequence + 1;
            for chunk in &chunks {
                read += chunk.payload.len();
                hash.update(&chunk.payload);
                write(&chunk.payload)?;
            }
        }
        Ok(hexadecimal(hash))
    }

    /// The record of a file; `None` if it was never uploaded, or removed.
    async fn record(&self, digest: &str) -> Result<Option<ObjectInfo>, Failure> {
        match self.store().await?.info(digest).await {
            Ok(record) => Ok((!record.deleted).then_some(record)),
            Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The client's handle, which asks the server for the settings the first time.
    async fn store(&self) -> Result<ObjectStore, Failure> {
        let known = || self.files.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*known() {
            return Ok(store.clone());
        }
        let mut context = self.link.context.clone();
        context.set_timeout(CHUNK_TIMEOUT);
        let store = context.get_object_store(FILES).await?;
        *known() = Some(store.clone());
        Ok(store)
    }
}

pub(super) fn about(what: &str) -> Subject<'_> {
    Subject {
        what,
        name: FILES,
        subject: FILES,
    }
}

pub(super) fn stream() -> String {
    format!("OBJ_{FILES}")
}

fn hexadecimal(hash: Sha256) -> String {
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unreadable(file: &Path, cause: &std::io::Error) -> Error {
    Error::File {
        file: file.to_owned(),
        why: cause.to_string(),
    }
}

/// What is wrong with a file that is uploaded.
enum Problem {
    Changed,
    Unreadable(std::io::Error),
}

/// A file that fails at its end if its content has another digest: before its record is written.
struct Checked<'a> {
    file: tokio::fs::File,
    hash: Sha256,
    expected: &'a str,
    problem: Option<Problem>,
}

impl AsyncRead for Checked<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.file).poll_read(context, buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(cause)) => {
                this.problem = Some(Problem::Unreadable(cause));
                return Poll::Ready(Err(std::io::Error::other("unreadable")));
            }
        }
        let new = &buffer.filled()[before..];
        this.hash.update(new);
        if new.is_empty() && hexadecimal(this.hash.clone()) != this.expected {
            this.problem = Some(Problem::Changed);
            return Poll::Ready(Err(std::io::Error::other("changed")));
        }
        Poll::Ready(Ok(()))
    }
}
