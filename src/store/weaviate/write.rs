//! Puts pages in. Ids are those of every store, so what is sent twice is there once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message;
use reqwest::Method;

use super::proto::{
    BatchDeleteReply, BatchDeleteRequest, BatchObject, BatchObjectsReply, BatchObjectsRequest,
    Filters, QUORUM,
};
use super::schema::{self, Collection};
use super::transport::{Failure, passes};
use super::{Weaviate, filter, object};
use crate::page::{ManualId, Page, PageError, PageSet};
use crate::store::{
    BatchPolicy, Error, ManualCard, Scope, ServerIndex, StoredPage, VectorUpdate, WriteOutcome,
    Writer, flaw,
};
use crate::units::ByteSize;
use crate::vectors::{PageVectors, Profile};

/// Bytes that a message should have: large enough that its way does not count, small enough to keep several in memory.
pub(super) const MESSAGE: usize = 16 << 20;
/// What a slow line shrinks them to at most.
const SMALLEST: usize = 1 << 20;
/// Bytes of a message that are no objects.
const FRAME: usize = 1_024;
/// Calls at once. The server puts one page's vectors in one after another and works on pages in parallel; while it
/// indexes one batch, the next is on its way.
const LANES: usize = 3;
/// Each lane holds pages, their objects and the message; more pages are being gathered, and wait for a lane.
pub(in crate::store) const SENDING: ByteSize = ByteSize(((LANES * 3 + 2) * MESSAGE) as u64);

/// A page is on its way at the latest so long after it was embedded.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of a page; none while it is under way.
type Outcome = Option<Result<WriteOutcome, PageError>>;

impl Writer for Weaviate {
    fn prepare(&self, profile: &Profile) -> Result<(), Error> {
        if let Some(found) = self.collection().filter(|c| c.profile.dim != profile.dim) {
            return Err(Error::Width {
                found: found.profile.dim,
                made: profile.dim,
            });
        }
        schema::make(&self.wire, &self.config, profile, &self.at)?;
        let made = schema::find(&self.wire, &self.config, &self.at)?;
        *super::locked(&self.collection) = made;
        Ok(())
    }

    fn upsert_manual(&self, card: &ManualCard) -> Result<(), Error> {
        let collection = self.prepared()?;
        let mut object = object::manual(card);
        object.collection = schema::manuals(&self.config);
        object.tenant.clone_from(&self.config.tenant);
        match self.send(&collection, vec![object])?.pop() {
            Some((_, why)) => Err(Error::failed(&self.at, &format!("{}: {why}", card.id))),
            None => {
                super::locked(&self.entered).insert(card.id.clone());
                Ok(())
            }
        }
    }

    fn batch_policy(&self) -> BatchPolicy {
        BatchPolicy {
            target_bytes: self.room(),
            linger: PATIENCE,
            concurrency: LANES,
        }
    }

    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<WriteOutcome>>, Error> {
        let collection = self.prepared()?;
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(pages.len());
        for page in pages {
            let is_entered = self.is_entered(&page.id.manual)?;
            outcomes.push(
                (!is_entered)
                    .then(|| Err(PageError::Store("its manual was never entered".to_owned()))),
            );
        }
        self.put(&collection, pages, &mut outcomes)?;
        for (page, outcome) in pages.iter().zip(&mut outcomes) {
            if outcome.is_none() && page.vectors == VectorUpdate::Keep {
                *outcome = Some(self.patch(page)?);
            }
        }
        let verdict = |outcome: Outcome| outcome.unwrap_or(Ok(WriteOutcome::Stored));
        Ok(pages
            .iter()
            .zip(outcomes)
            .map(|(page, outcome)| (page.id.clone(), verdict(outcome)))
            .collect())
    }

    fn remove(&self, manual: &ManualId, pages: &PageSet) -> Result<u64, Error> {
        let Some(collection) = self.collection() else {
            return Ok(0);
        };
        let scope = |pages: &PageSet| Scope {
            manual: Some(manual.clone()),
            pages: pages.clone(),
        };
        if pages.is_empty() {
            return Ok(0);
        }
        let gone = self.delete(&collection, filter::of(&scope(pages)))?;
        if pages.is_all() {
            self.forget(manual)?;
        }
        Ok(gone)
    }

    fn index(&self) -> Option<&dyn ServerIndex> {
        Some(self)
    }
}

impl Weaviate {
    /// Sends the pages that have vectors, in messages of a good size, and notes what became of the bad ones.
    fn put(
        &self,
        collection: &Collection,
        pages: &[StoredPage],
        outcomes: &mut [Outcome],
    ) -> Result<(), Error> {
        let room = self.room();
        let (mut batch, mut indices, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (index, page) in pages.iter().enumerate() {
            let VectorUpdate::Replace(new) = &page.vectors else {
                continue;
            };
            if outcomes[index].is_some() {
                continue;
            }
            match self.object(collection, page, new) {
                Err(why) => outcomes[index] = Some(Err(PageError::Store(why))),
                Ok((object, size)) => {
                    if bytes + size > room && !batch.is_empty() {
                        self.settle(collection, std::mem::take(&mut batch), &indices, outcomes)?;
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
        self.settle(collection, batch, &indices, outcomes)
    }

    /// Bytes that a message should have now.
    fn room(&self) -> usize {
        let room = self.room.load(Ordering::Relaxed);
        room.min(self.largest.saturating_sub(FRAME))
    }

    /// After a message that was not answered in time, the next ones are half as large.
    fn narrowed(&self, failure: Failure) -> Failure {
        if matches!(failure, Failure::Unavailable { hung: true, .. }) {
            let halved = |room: usize| Some((room / 2).max(SMALLEST));
            let order = Ordering::Relaxed;
            let _ = self.room.fetch_update(order, order, halved);
        }
        failure
    }

    /// A page as an object and its size in a message, or why it cannot be one.
    fn object(
        &self,
        collection: &Collection,
        page: &StoredPage,
        new: &PageVectors,
    ) -> Result<(BatchObject, usize), String> {
        if let Some(why) = flaw(new, collection.profile.dim) {
            return Err(why);
        }
        let mut object = object::page(page, new, &collection.profile.model);
        object.collection.clone_from(&self.config.collection);
        object.tenant.clone_from(&self.config.tenant);
        // Each object is preceded by its tag and its length.
        let size = object.encoded_len() + 8;
        if size + FRAME > self.largest {
            return Err(format!(
                "it takes {size} bytes, and the server takes messages of at most {} (GRPC_MAX_MESSAGE_SIZE)",
                self.largest
            ));
        }
        Ok((object, size))
    }

    fn settle(
        &self,
        collection: &Collection,
        batch: Vec<BatchObject>,
        indices: &[usize],
        outcomes: &mut [Outcome],
    ) -> Result<(), Error> {
        for (at, why) in self.send(collection, batch)? {
            if let Some(&index) = indices.get(at) {
                outcomes[index] = Some(Err(PageError::Store(why)));
            }
        }
        Ok(())
    }

    /// Sends objects; returns those that were refused, by their place, and why.
    ///
    /// The reply names failures only: what it does not name is stored.
    fn send(
        &self,
        collection: &Collection,
        objects: Vec<BatchObject>,
    ) -> Result<Vec<(usize, String)>, Error> {
        let request = BatchObjectsRequest {
            objects,
            consistency_level: collection.replicated.then_some(QUORUM),
        };
        let reply: BatchObjectsReply = self
            .wire
            .call("BatchObjects", &request)
            .map_err(|failure| self.narrowed(failure).of(&self.at))?;
        if let Some(passing) = reply.errors.iter().find(|e| passes(&e.error)) {
            return Err(Error::Unavailable {
                at: self.at.clone(),
                why: passing.error.clone(),
                untrusted: false,
            });
        }
        let place = |at: i32| usize::try_from(at).unwrap_or(usize::MAX);
        Ok(reply
            .errors
            .into_iter()
            .map(|e| (place(e.index), e.error))
            .collect())
    }

    /// Changes what is known of a page beside its vectors.
    fn patch(&self, page: &StoredPage) -> Result<Result<WriteOutcome, PageError>, Error> {
        let class = &self.config.collection;
        let path = format!("objects/{class}/{}{}", page.id.uuid(), self.parameters());
        let body = object::patch(page, class, &self.config.tenant);
        match self.wire.rest(&Method::PATCH, &path, Some(&body)) {
            Ok(_) => Ok(Ok(WriteOutcome::Stored)),
            Err(Failure::Missing(_)) => Ok(Err(PageError::Store(
                "no vectors are stored that it could keep".to_owned(),
            ))),
            Err(Failure::Refused(why)) => Ok(Err(PageError::Store(why))),
            Err(failure) => Err(failure.of(&self.at)),
        }
    }

    fn is_entered(&self, manual: &ManualId) -> Result<bool, Error> {
        if super::locked(&self.entered).contains(manual) {
            return Ok(true);
        }
        let class = schema::manuals(&self.config);
        let path = format!(
            "objects/{class}/{}{}",
            object::manual_uuid(manual),
            self.parameters()
        );
        match self.wire.rest(&Method::GET, &path, None) {
            Ok(_) => {
                super::locked(&self.entered).insert(manual.clone());
                Ok(true)
            }
            Err(Failure::Missing(_)) => Ok(false),
            Err(failure) => Err(failure.of(&self.at)),
        }
    }

    /// Deletes pages; the server takes at most 10,000 at once.
    fn delete(&self, collection: &Collection, filters: Option<Filters>) -> Result<u64, Error> {
        let request = BatchDeleteRequest {
            collection: self.config.collection.clone(),
            filters,
            consistency_level: collection.replicated.then_some(QUORUM),
            tenant: (!self.config.tenant.is_empty()).then(|| self.config.tenant.clone()),
        };
        let mut gone = 0;
        loop {
            let reply: BatchDeleteReply = self.call("BatchDelete", &request)?;
            if reply.failed > 0 {
                let why = format!("{} pages could not be deleted", reply.failed);
                return Err(Error::failed(&self.at, &why));
            }
            gone += reply.successful.max(0) as u64;
            if reply.successful <= 0 {
                return Ok(gone);
            }
        }
    }

    /// Takes the record of a manual away.
    fn forget(&self, manual: &ManualId) -> Result<(), Error> {
        super::locked(&self.entered).remove(manual);
        let class = schema::manuals(&self.config);
        let path = format!(
            "objects/{class}/{}{}",
            object::manual_uuid(manual),
            self.parameters()
        );
        match self.wire.rest(&Method::DELETE, &path, None) {
            Ok(_) | Err(Failure::Missing(_)) => Ok(()),
            Err(failure) => Err(failure.of(&self.at)),
        }
    }
}
