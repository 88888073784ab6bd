//! Weaviate writer. Ids are deterministic (UUIDv5), so writes are idempotent.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};

use super::outage::{self, is_transient};
use super::properties::LAST_RUN;
use super::proto::{
    BatchDeleteReply, BatchDeleteRequest, BatchObject, BatchObjectsReply, BatchObjectsRequest,
    Filters, QUORUM,
};
use super::schema::{self, Collection};
use super::transport::Failure;
use super::{Weaviate, filter, object};
use crate::page::{ManualId, Page, PageError, PageId, PageSet};
use crate::store::{
    BatchPolicy, Error, LastRun, ManualCard, Scope, ServerIndex, StoredPage, TextUpdate,
    VectorUpdate, WriteOutcome, Writer, validate,
};
use crate::units::{ByteSize, pages};
use crate::vectors::{PageVectors, Profile};

/// Target message size in bytes: large enough to hide latency, small enough to keep several in memory.
pub(super) const TARGET_MESSAGE: usize = 16 << 20;
/// Minimum target after timeouts.
const MIN_MESSAGE: usize = 1 << 20;
/// Bytes of a message besides its objects.
const MESSAGE_OVERHEAD: usize = 1_024;
/// Concurrent calls. The server inserts the vectors of a page sequentially and works on pages in parallel; while it
/// indexes one batch, the next is in transit.
const CONCURRENCY: usize = 3;
/// Maximum bytes in flight: each call holds its pages, objects and message; one batch is filling and one waits for a call.
pub(in crate::store) const MAX_IN_FLIGHT: ByteSize =
    ByteSize(((CONCURRENCY * 3 + 2) * TARGET_MESSAGE) as u64);

/// Maximum time between embedding a page and sending it.
const LINGER: Duration = Duration::from_secs(5);

/// Outcome of a page; `None` until it is known.
type PendingOutcome = Option<Result<WriteOutcome, PageError>>;

impl Writer for Weaviate {
    fn prepare(&self, profile: &Profile) -> Result<(), Error> {
        if let Some(found) = self.collection().filter(|c| c.profile.dim != profile.dim) {
            return Err(Error::WidthMismatch {
                found: found.profile.dim,
                made: profile.dim,
            });
        }
        schema::create_collections(&self.transport, &self.config, profile, &self.location)?;
        let created = schema::find_collection(&self.transport, &self.config, &self.location)?;
        let is_old = created
            .as_ref()
            .is_some_and(|found| !found.variants_are_current);
        *super::lock(&self.collection) = created;
        match is_old {
            true => self.add_variants(),
            false => Ok(()),
        }
    }

    fn upsert_manual(&self, card: &ManualCard) -> Result<(), Error> {
        self.store_manual(card)
    }

    fn record_run(&self, manual: &ManualId, run: &LastRun) -> Result<(), Error> {
        let properties = json!({LAST_RUN: run.to_json()});
        self.patch_manual(manual, properties).map(drop)
    }

    fn batch_policy(&self) -> BatchPolicy {
        BatchPolicy {
            target_bytes: self.target_bytes(),
            linger: LINGER,
            concurrency: CONCURRENCY,
        }
    }

    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<WriteOutcome>>, Error> {
        let collection = self.require_collection()?;
        let mut outcomes: Vec<PendingOutcome> = Vec::with_capacity(pages.len());
        for page in pages {
            let has_manual = self.has_manual(&page.id.manual)?;
            outcomes.push((!has_manual).then(|| {
                Err(PageError::Store(
                    "its manual is not in the store".to_owned(),
                ))
            }));
        }
        self.send_pages(&collection, pages, &mut outcomes)?;
        self.patch_pages(pages, &mut outcomes)?;
        let resolved = |outcome: PendingOutcome| outcome.unwrap_or(Ok(WriteOutcome::Stored));
        Ok(pages
            .iter()
            .zip(outcomes)
            .map(|(page, outcome)| (page.id.clone(), resolved(outcome)))
            .collect())
    }

    fn remove(&self, manual: &ManualId, pages: &PageSet) -> Result<u64, Error> {
        let Some(collection) = self.collection() else {
            return Ok(0);
        };
        let scope = |pages: &PageSet| Scope {
            manuals: vec![manual.clone()],
            pages: pages.clone(),
        };
        if pages.is_empty() {
            return Ok(0);
        }
        let removed = self.delete(&collection, filter::scope(&scope(pages)))?;
        if pages.is_all() {
            self.delete_manual(manual)?;
        }
        Ok(removed)
    }

    fn index(&self) -> Option<&dyn ServerIndex> {
        Some(self)
    }
}

impl Weaviate {
    /// Sends the pages that have vectors in messages of about the target size; records the outcomes of rejected ones.
    fn send_pages(
        &self,
        collection: &Collection,
        pages: &[StoredPage],
        outcomes: &mut [PendingOutcome],
    ) -> Result<(), Error> {
        let kept = self.kept_text_vectors(pages)?;
        let target_bytes = self.target_bytes();
        let (mut batch, mut indices, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (index, page) in pages.iter().enumerate() {
            let VectorUpdate::Replace(new) = &page.vectors else {
                continue;
            };
            if outcomes[index].is_some() {
                continue;
            }
            match self.object(collection, page, new, &kept) {
                Err(why) => outcomes[index] = Some(Err(PageError::Store(why))),
                Ok((object, size)) => {
                    if bytes + size > target_bytes && !batch.is_empty() {
                        self.send_batch(
                            collection,
                            std::mem::take(&mut batch),
                            &indices,
                            outcomes,
                        )?;
                        (bytes, indices) = (0, Vec::new());
                    }
                    bytes += size;
                    batch.push(object);
                    indices.push(index);
                }
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.send_batch(collection, batch, &indices, outcomes)
    }

    /// Updates the pages that keep their vectors.
    fn patch_pages(
        &self,
        pages: &[StoredPage],
        outcomes: &mut [PendingOutcome],
    ) -> Result<(), Error> {
        let outdated = self.with_outdated_text_vectors(pages)?;
        for (page, outcome) in pages.iter().zip(outcomes) {
            if outcome.is_some() || page.vectors != VectorUpdate::Keep {
                continue;
            }
            let is_new = page.text_vectors != TextUpdate::Keep || outdated.contains(&page.id);
            let text = Some(&page.text_vectors).filter(|_| is_new && self.takes_text_vectors());
            *outcome = Some(self.patch(&page.id, object::patch(page, text))?);
        }
        Ok(())
    }

    /// Current target message size in bytes.
    fn target_bytes(&self) -> usize {
        let target_bytes = self.target_bytes.load(Ordering::Relaxed);
        target_bytes.min(self.max_message.saturating_sub(MESSAGE_OVERHEAD))
    }

    /// Halves the target message size after a timeout.
    fn shrink_on_timeout(&self, failure: Failure) -> Failure {
        if matches!(failure, Failure::Unavailable { hung: true, .. }) {
            let halved = |target_bytes: usize| Some((target_bytes / 2).max(MIN_MESSAGE));
            let order = Ordering::Relaxed;
            let _ = self.target_bytes.fetch_update(order, order, halved);
        }
        failure
    }

    /// Converts a page to an object and its encoded size, or returns why it is rejected.
    fn object(
        &self,
        collection: &Collection,
        page: &StoredPage,
        new: &PageVectors,
        kept: &HashMap<PageId, TextUpdate>,
    ) -> Result<(BatchObject, usize), String> {
        validate(new, collection.profile.dim)?;
        let text = match &page.text_vectors {
            _ if !collection.has_text_vectors => &TextUpdate::Keep,
            TextUpdate::Keep => kept.get(&page.id).unwrap_or(&TextUpdate::Keep),
            replace @ TextUpdate::Replace { .. } => replace,
        };
        let mut object = object::page(page, new, text, &collection.profile.model);
        object.collection.clone_from(&self.config.collection);
        object.tenant.clone_from(&self.config.tenant);
        // Each object is preceded by its tag and its length.
        let size = object.encoded_len() + 8;
        if size + MESSAGE_OVERHEAD > self.max_message {
            return Err(format!(
                "it takes {size} bytes, and the server accepts messages of at most {} (GRPC_MAX_MESSAGE_SIZE)",
                self.max_message
            ));
        }
        Ok((object, size))
    }

    /// Sends a batch and records the outcomes of rejected pages; `indices` are their positions in `outcomes`.
    fn send_batch(
        &self,
        collection: &Collection,
        batch: Vec<BatchObject>,
        indices: &[usize],
        outcomes: &mut [PendingOutcome],
    ) -> Result<(), Error> {
        for (position, why) in self.send(collection, batch)? {
            if let Some(&index) = indices.get(position) {
                outcomes[index] = Some(Err(PageError::Store(why)));
            }
        }
        Ok(())
    }

    /// Sends objects; returns the indices of the rejected ones and the reasons.
    ///
    /// The reply lists failures only: all other objects are stored.
    pub(super) fn send(
        &self,
        collection: &Collection,
        objects: Vec<BatchObject>,
    ) -> Result<Vec<(usize, String)>, Error> {
        let request = BatchObjectsRequest {
            objects,
            consistency_level: collection.replicated.then_some(QUORUM),
        };
        let reply: BatchObjectsReply = self
            .transport
            .call("BatchObjects", &request)
            .map_err(|failure| self.shrink_on_timeout(failure).into_error(&self.location))?;
        if let Some(transient) = reply.errors.iter().find(|e| is_transient(&e.error)) {
            let outage = outage::of_response(&transient.error);
            return Err(Error::Unavailable {
                location: self.location.clone(),
                why: outage::explain(outage, transient.error.clone()),
                outage,
            });
        }
        let position = |index: i32| usize::try_from(index).unwrap_or(usize::MAX);
        Ok(reply
            .errors
            .into_iter()
            .map(|e| (position(e.index), e.error))
            .collect())
    }

    /// Updates the properties and named vectors of a page that are in `body`, and no others.
    pub(super) fn patch(
        &self,
        id: &PageId,
        mut body: Value,
    ) -> Result<Result<WriteOutcome, PageError>, Error> {
        let class = &self.config.collection;
        let path = format!("objects/{class}/{}{}", id.uuid(), self.parameters());
        body["class"] = class.as_str().into();
        if !self.config.tenant.is_empty() {
            body["tenant"] = self.config.tenant.as_str().into();
        }
        match self.transport.rest(&Method::PATCH, &path, Some(&body)) {
            Ok(_) => Ok(Ok(WriteOutcome::Stored)),
            Err(Failure::NotFound(_)) => Ok(Err(PageError::Store(
                "it has no stored vectors to keep".to_owned(),
            ))),
            Err(Failure::Rejected(why)) => Ok(Err(PageError::Store(why))),
            Err(failure) => Err(failure.into_error(&self.location)),
        }
    }

    /// Deletes pages; the server deletes at most 10,000 per call.
    fn delete(&self, collection: &Collection, filters: Option<Filters>) -> Result<u64, Error> {
        let request = BatchDeleteRequest {
            collection: self.config.collection.clone(),
            filters,
            consistency_level: collection.replicated.then_some(QUORUM),
            tenant: (!self.config.tenant.is_empty()).then(|| self.config.tenant.clone()),
        };
        let mut removed = 0;
        loop {
            let reply: BatchDeleteReply = self.call("BatchDelete", &request)?;
            if reply.failed > 0 {
                let why = format!("{} could not be deleted", pages(reply.failed as u64));
                return Err(Error::failed(&self.location, &why));
            }
            removed += reply.successful.max(0) as u64;
            if reply.successful <= 0 {
                return Ok(removed);
            }
        }
    }
}
