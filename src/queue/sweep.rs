//! Removing what ended uploads left in the object store.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use async_nats::datetime::parse_rfc3339;
use async_nats::jetstream::object_store::ObjectInfo;
use async_nats::jetstream::response::Response;
use futures_util::TryStreamExt;
use serde::Deserialize;

use super::failure::{Failure, from_server, from_text};
use super::files::{CHUNK, about, stream};
use super::names::FILES;
use super::{Error, Queue};
use crate::units::ByteSize;

/// Records that are read at once.
const BATCH: usize = 256;

/// The time of the server, as it tells it with its streams.
#[derive(Deserialize)]
struct Clock {
    ts: String,
}

impl Queue {
    /// Removes the chunks of uploads that never ended, if the last chunk came longer than `age` ago; returns how much that
    /// was.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`].
    pub fn sweep_files(&self, age: Duration) -> Result<ByteSize, Error> {
        let about = about("remove what ended uploads left");
        // In this order: an upload that ends in between has a record.
        let uploads = self.link.retry(about, async || self.uploads().await)?;
        let recorded = self.recorded()?;
        let mut removed = 0;
        for (subject, chunks) in uploads {
            let id = subject.rsplit('.').next().unwrap_or_default();
            if recorded.contains(id) {
                continue;
            }
            let left = self.link.retry(about, async || {
                let context = &self.link.context;
                let stream = context.get_stream_no_info(stream()).await?;
                let last = stream.direct_get_last_for_subject(&subject).await?;
                let idle = self.server_time().await?.duration_since(last.time.into());
                if idle.unwrap_or_default() < age {
                    return Ok(0);
                }
                stream.purge().filter(&subject).await?;
                Ok((chunks.saturating_sub(1) * CHUNK + last.payload.len()) as u64)
            });
            match left {
                Ok(bytes) => removed += bytes,
                // Another sweep was faster.
                Err(Error::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ByteSize(removed))
    }

    /// The subjects of all uploads with their number of chunks.
    async fn uploads(&self) -> Result<Vec<(String, usize)>, Failure> {
        let stream = self.link.context.get_stream_no_info(stream()).await?;
        let subjects = stream.info_with_subjects(format!("$O.{FILES}.C.>"));
        Ok(subjects.await?.try_collect().await?)
    }

    /// The ids of the uploads that ended well.
    fn recorded(&self) -> Result<BTreeSet<String>, Error> {
        let filter = format!("$O.{FILES}.M.>");
        let (mut ids, mut next) = (BTreeSet::new(), 1);
        loop {
            let records = self.link.retry(about("list the files"), async || {
                self.link.stored(&stream(), &filter, next, BATCH).await
            })?;
            let Some(last) = records.last() else {
                return Ok(ids);
            };
            next = last.sequence + 1;
            for record in &records {
                let record: ObjectInfo = serde_json::from_slice(&record.payload)
                    .map_err(|cause| self.link.error(about("list the files"), cause.into()))?;
                if !record.deleted {
                    ids.insert(record.nuid);
                }
            }
        }
    }

    async fn server_time(&self) -> Result<SystemTime, Failure> {
        let subject = format!("STREAM.INFO.{}", stream());
        let context = &self.link.context;
        match context.request(subject, &()).await? {
            Response::Ok(Clock { ts }) => match parse_rfc3339(&ts) {
                Ok(time) => Ok(time.into()),
                Err(cause) => Err(from_text(cause.to_string())),
            },
            Response::Err { error } => Err(from_server(&error)),
        }
    }
}
