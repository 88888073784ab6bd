//! What goes into the outbox, and how it leaves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::OutboxStore;
use crate::page::{Page, PageError, PageId, PageSet};
use crate::store::sqlite::Sqlite;
use crate::store::weaviate::Weaviate;
use crate::store::{Catalogue, Error, ManualCard, Scope, StoredPage, WriteOutcome, Writer, locked};

impl OutboxStore {
    /// Puts something into the file.
    pub(super) fn put<T>(
        &self,
        work: impl FnOnce(&Sqlite) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let file = self.file()?;
        let done = {
            let _door = locked(&self.door);
            work(file)
        };
        self.has_news.store(true, Ordering::Relaxed);
        done
    }

    pub(super) fn put_by(&self, pages: &[StoredPage]) -> Result<Vec<Page<WriteOutcome>>, Error> {
        let mut verdicts = self.put(|file| {
            for page in pages {
                if let Some(card) = locked(&self.cards).get(&page.id.manual) {
                    file.upsert_manual(card)?;
                }
            }
            file.upsert(pages)
        })?;
        let why = Arc::clone(&locked(&self.rest).why);
        for (_, verdict) in &mut verdicts {
            if *verdict == Ok(WriteOutcome::Stored) {
                *verdict = Ok(WriteOutcome::Deferred(Arc::clone(&why)));
            }
        }
        Ok(verdicts)
    }

    /// Takes pages out that reached the server.
    pub(super) fn take_out(
        &self,
        file: &Sqlite,
        verdicts: &[Page<WriteOutcome>],
    ) -> Result<(), Error> {
        let _door = locked(&self.door);
        for (id, verdict) in verdicts {
            // A page that was refused stays: nothing is thrown away unseen.
            if verdict.is_ok() {
                file.remove(&id.manual, &PageSet::of([id.number]))?;
            }
        }
        Ok(())
    }

    /// Sends what waits, unless it belongs to a manual whose name another one has on the server.
    fn send_waiting(&self, remote: &Weaviate, file: &Sqlite) -> Result<(), Error> {
        let theirs = remote.cards()?;
        let taken =
            |card: &&ManualCard| theirs.iter().any(|t| t.id == card.id && t.is_another(card));
        let cards = file.cards()?;
        let (strange, cards): (Vec<&ManualCard>, Vec<&ManualCard>) = cards.iter().partition(taken);
        for card in &strange {
            self.refuse(file, card)?;
        }
        for (number, manual, pages) in file.put_offs()? {
            if strange.iter().all(|card| card.id != manual) {
                remote.remove(&manual, &pages)?;
                file.complete_removal(number)?;
            }
        }
        for card in &cards {
            remote.upsert_manual(card)?;
            self.send_pages(remote, file, card)?;
        }
        let _door = locked(&self.door);
        file.shrink(&cards)
    }

    fn send_pages(&self, remote: &Weaviate, file: &Sqlite, card: &ManualCard) -> Result<(), Error> {
        let mut batch = Batch::default();
        let scope = Scope {
            manual: Some(card.id.clone()),
            ..Scope::default()
        };
        for page in file.scan(&scope)? {
            batch.push(page?);
            if batch.bytes >= remote.batch_policy().target_bytes {
                self.send_batch(remote, file, std::mem::take(&mut batch))?;
            }
        }
        self.send_batch(remote, file, batch)
    }

    fn send_batch(&self, remote: &Weaviate, file: &Sqlite, batch: Batch) -> Result<(), Error> {
        if batch.pages.is_empty() {
            return Ok(());
        }
        let verdicts = remote.upsert(&batch.pages)?;
        self.take_out(file, &verdicts)?;
        locked(&self.settled).extend(verdicts);
        Ok(())
    }

    /// Says, by its first page, that a manual cannot go where another one is.
    fn refuse(&self, file: &Sqlite, card: &ManualCard) -> Result<(), Error> {
        let why = format!(
            "another manual has this name on the server; all its pages wait in {}",
            file.at()
        );
        if let Some(first) = file.fingerprints(&card.id)?.first() {
            let id = PageId::new(&card.id, first.number);
            locked(&self.settled).push((id, Err(PageError::Store(why))));
        }
        Ok(())
    }

    pub(super) fn send_all(&self) -> Result<(), Error> {
        let Some(file) = self.waiting().filter(|_| self.remote().is_some()) else {
            return Ok(());
        };
        let _one_at_a_time = locked(&self.sending);
        if self.remote().is_some() && self.has_news.swap(false, Ordering::Relaxed) {
            let sent = self.on_remote(|remote| self.send_waiting(remote, file))?;
            if sent.is_none() {
                self.has_news.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// What waits of a manual is of an older file, once a newer one is on the server.
    pub(super) fn supersede(&self, card: &ManualCard) -> Result<(), Error> {
        let Some(file) = self.waiting() else {
            return Ok(());
        };
        let _door = locked(&self.door);
        let is_older = |old: &ManualCard| old.id == card.id && old.file != card.file;
        if file.cards()?.iter().any(is_older) {
            file.remove(&card.id, &PageSet::all())?;
        }
        Ok(())
    }
}

/// Pages to be sent together.
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
