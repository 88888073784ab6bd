//! The store as a worker uses it: it waits for a server that is away, and leaves the records of manuals to the coordinator.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::page::{ManualId, Page, PageSet};
use crate::store::{
    BatchPolicy, Error, LastRun, ManualCard, Store, StoredPage, WriteOutcome, Writer,
};
use crate::vectors::Profile;

/// Time that pages wait for the server before their items go back to the queue.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two attempts.
const RETRY: Duration = Duration::from_secs(1);

/// Writes pages to a server, which others write to as well.
pub(super) struct PageWriter<'a> {
    store: &'a dyn Store,
    stop: &'a AtomicBool,
    /// Called while pages wait for the server.
    on_wait: &'a (dyn Fn(&str) + Sync),
    was_away: AtomicBool,
}

impl<'a> PageWriter<'a> {
    pub(super) fn new(
        store: &'a dyn Store,
        stop: &'a AtomicBool,
        on_wait: &'a (dyn Fn(&str) + Sync),
    ) -> Self {
        Self {
            store,
            stop,
            on_wait,
            was_away: AtomicBool::new(false),
        }
    }

    /// Whether the server was away since the last call.
    pub(super) fn was_away(&self) -> bool {
        self.was_away.swap(false, Ordering::Relaxed)
    }

    /// Tries again while the server is away; at the end of the patience, the error.
    fn patiently<T>(&self, call: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let start = Instant::now();
        loop {
            match call() {
                Err(Error::Unavailable { why, .. })
                    if start.elapsed() < PATIENCE && !self.stop.load(Ordering::Relaxed) =>
                {
                    self.was_away.store(true, Ordering::Relaxed);
                    (self.on_wait)(&why);
                    thread::sleep(RETRY);
                }
                result => return result,
            }
        }
    }
}

impl Writer for PageWriter<'_> {
    fn prepare(&self, _profile: &Profile) -> Result<(), Error> {
        Ok(())
    }

    fn upsert_manual(&self, _card: &ManualCard) -> Result<(), Error> {
        Ok(())
    }

    fn record_run(&self, _manual: &ManualId, _run: &LastRun) -> Result<(), Error> {
        Ok(())
    }

    fn batch_policy(&self) -> BatchPolicy {
        self.store.batch_policy()
    }

    /// Pages that the server does not take in time are deferred: their items go back to the queue.
    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<WriteOutcome>>, Error> {
        match self.patiently(|| self.store.upsert(pages)) {
            Err(Error::Unavailable { why, .. }) => {
                let why: Arc<str> = why.into();
                let deferred = |page: &StoredPage| {
                    let outcome = WriteOutcome::Deferred(Arc::clone(&why));
                    (page.id.clone(), Ok(outcome))
                };
                Ok(pages.iter().map(deferred).collect())
            }
            outcomes => outcomes,
        }
    }

    fn remove(&self, manual: &ManualId, pages: &PageSet) -> Result<u64, Error> {
        self.patiently(|| self.store.remove(manual, pages))
    }
}
