//! Enqueues writes in the outbox and sends them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::OutboxStore;
use crate::page::{Page, PageError, PageId, PageSet};
use crate::store::sqlite::Sqlite;
use crate::store::weaviate::Weaviate;
use crate::store::{Catalogue, Error, ManualCard, Scope, StoredPage, WriteOutcome, Writer, lock};

impl OutboxStore {
    /// Runs `work` on the queue and marks it as unsent.
    pub(super) fn enqueue<T>(
        &self,
        work: impl FnOnce(&Sqlite) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let queue = self.open_queue()?;
        let result = {
            let _guard = lock(&self.file_lock);
            work(queue)
        };
        self.has_unsent.store(true, Ordering::Relaxed);
        result
    }

    /// Queues pages; they are [`WriteOutcome::Deferred`].
    pub(super) fn defer_pages(
        &self,
        pages: &[StoredPage],
    ) -> Result<Vec<Page<WriteOutcome>>, Error> {
        let mut outcomes = self.enqueue(|queue| {
            for page in pages {
                if let Some(card) = lock(&self.cards).get(&page.id.manual) {
                    queue.upsert_manual(card)?;
                }
            }
            queue.upsert(pages)
        })?;
        let why = Arc::clone(&lock(&self.backoff).why);
        for (_, outcome) in &mut outcomes {
            if *outcome == Ok(WriteOutcome::Stored) {
                *outcome = Ok(WriteOutcome::Deferred(Arc::clone(&why)));
            }
        }
        Ok(outcomes)
    }

    /// Removes pages that reached the server from the queue.
    pub(super) fn dequeue(
        &self,
        queue: &Sqlite,
        outcomes: &[Page<WriteOutcome>],
    ) -> Result<(), Error> {
        let _guard = lock(&self.file_lock);
        for (id, outcome) in outcomes {
            // A rejected page stays queued: nothing is discarded silently.
            if outcome.is_ok() {
                queue.remove(&id.manual, &PageSet::of([id.number]))?;
            }
        }
        Ok(())
    }

    /// Sends the queue, except manuals whose name belongs to another manual on the server.
    fn send_queued(&self, remote: &Weaviate, queue: &Sqlite) -> Result<(), Error> {
        let remote_cards = remote.cards()?;
        let is_conflicting = |card: &&ManualCard| {
            remote_cards
                .iter()
                .any(|t| t.id == card.id && t.is_different_manual(card))
        };
        let cards = queue.cards()?;
        let (conflicting, cards): (Vec<&ManualCard>, Vec<&ManualCard>) =
            cards.iter().partition(is_conflicting);
        for card in &conflicting {
            self.report_name_conflict(queue, card)?;
        }
        for (number, manual, pages) in queue.deferred_removals()? {
            if conflicting.iter().all(|card| card.id != manual) {
                remote.remove(&manual, &pages)?;
                queue.complete_removal(number)?;
            }
        }
        for card in &cards {
            remote.upsert_manual(card)?;
            self.send_pages(remote, queue, card)?;
        }
        let _guard = lock(&self.file_lock);
        queue.compact(&cards)
    }

    fn send_pages(
        &self,
        remote: &Weaviate,
        queue: &Sqlite,
        card: &ManualCard,
    ) -> Result<(), Error> {
        let mut batch = Batch::default();
        let scope = Scope {
            manuals: vec![card.id.clone()],
            ..Scope::default()
        };
        for page in queue.scan(&scope)? {
            batch.push(page?);
            if batch.bytes >= remote.batch_policy().target_bytes {
                self.send_batch(remote, queue, std::mem::take(&mut batch))?;
            }
        }
        self.send_batch(remote, queue, batch)
    }

    fn send_batch(&self, remote: &Weaviate, queue: &Sqlite, batch: Batch) -> Result<(), Error> {
        if batch.pages.is_empty() {
            return Ok(());
        }
        let outcomes = remote.upsert(&batch.pages)?;
        self.dequeue(queue, &outcomes)?;
        lock(&self.resolved).extend(outcomes);
        Ok(())
    }

    /// Reports a name conflict as the outcome of the manual's first page.
    fn report_name_conflict(&self, queue: &Sqlite, card: &ManualCard) -> Result<(), Error> {
        let why = format!(
            "another manual has this name on the server; all its pages stay in {}",
            queue.location()
        );
        if let Some(first) = queue.fingerprints(&card.id)?.first() {
            let id = PageId::new(&card.id, first.number);
            lock(&self.resolved).push((id, Err(PageError::Store(why))));
        }
        Ok(())
    }

    /// Sends the queue if it has untried entries and the server is available.
    pub(super) fn flush_queue(&self) -> Result<(), Error> {
        let Some(queue) = self.queue().filter(|_| self.remote().is_some()) else {
            return Ok(());
        };
        let _guard = lock(&self.send_lock);
        if self.remote().is_some() && self.has_unsent.swap(false, Ordering::Relaxed) {
            let sent = self.try_remote(|remote| self.send_queued(remote, queue))?;
            if sent.is_none() {
                self.has_unsent.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Drops queued pages of an older file once the server has the record of a newer one.
    pub(super) fn drop_superseded(&self, card: &ManualCard) -> Result<(), Error> {
        let Some(queue) = self.queue() else {
            return Ok(());
        };
        let _guard = lock(&self.file_lock);
        let is_older = |old: &ManualCard| old.id == card.id && old.file != card.file;
        if queue.cards()?.iter().any(is_older) {
            queue.remove(&card.id, &PageSet::all())?;
        }
        Ok(())
    }
}

/// Pages of one call.
#[derive(Default)]
struct Batch {
    pages: Vec<StoredPage>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, page: StoredPage) {
        self.bytes += page.bytes();
        self.pages.push(page);
    }
}
