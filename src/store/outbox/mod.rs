//! Outbox of a server: writes that cannot be delivered are queued in a SQLite file in the data folder and flushed when the
//! server is back, at the next run, or by `ingest sync`.

mod send;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::sqlite::Sqlite;
use super::weaviate::{self, Weaviate};
use super::{
    BatchPolicy, Catalogue, CollectionSelector, Config, Error, Fingerprint, Hit, LastRun, Lookup,
    ManualCard, ManualSummary, Mode, Opened, Outbox, Scope, ServerIndex, Store, StoredPage,
    TextField, TopK, WriteOutcome, Writer, config, lock,
};
use crate::page::{ManualId, Page, PageId, PageSet};
use crate::vectors::{MultiVector, Profile, TextQuery};

/// First pause of the exponential back-off after a server was unavailable.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// Longest pause of the back-off.
const MAX_BACKOFF: Duration = Duration::from_secs(15);

/// Opens the configured server for writing, with its outbox.
pub(super) fn open(
    config: &Config,
    selector: CollectionSelector<'_>,
    mode: Mode,
) -> Result<Opened, Error> {
    let remote = match mode {
        Mode::Offline => None,
        _ => Some(Weaviate::open(config, selector, mode)?),
    };
    let path = outbox_path(config)?;
    let location = weaviate::location(config);
    let store = OutboxStore {
        queue: OnceLock::new(),
        open_lock: Mutex::default(),
        file_lock: Mutex::default(),
        send_lock: Mutex::default(),
        has_unsent: AtomicBool::new(false),
        cards: Mutex::default(),
        backoff: Mutex::default(),
        resolved: Mutex::default(),
        remote,
        path,
    };
    let mut profile = store.remote.as_ref().and_then(Weaviate::profile);
    let mut note = match &store.remote {
        None => format!(
            "nothing is sent; pages are queued in {}",
            store.path.display()
        ),
        Some(remote) => remote.describe_index(),
    };
    if store.remote.is_none() || store.path.exists() {
        let wanted = profile
            .as_ref()
            .map_or(selector, CollectionSelector::Profile);
        match Sqlite::outbox(&store.path, wanted) {
            // Another run uses it.
            Err(Error::Locked { .. }) if store.remote.is_some() => {}
            queue => {
                let queue = queue?;
                profile = profile.or_else(|| queue.profile());
                note.push_str(&note_on_other_models(&queue, profile.as_ref())?);
                drop(store.queue.set(queue));
                store.has_unsent.store(true, Ordering::Relaxed);
            }
        }
    }
    Ok(Opened {
        upgrade: store.remote.as_ref().and_then(Weaviate::upgrade_note),
        store: Box::new(store),
        profile,
        location,
        note: Some(note),
    })
}

/// A note on queued pages of other models, which this collection cannot take.
fn note_on_other_models(queue: &Sqlite, profile: Option<&Profile>) -> Result<String, Error> {
    let models = queue.models_except(profile.map_or("", |profile| &profile.id))?;
    let location = queue.location();
    let sentence = |model: &String| {
        format!(
            "; pages of `{model}` need another collection: `ingest sync --from {location} --model {model} --to-collection NEW`"
        )
    };
    Ok(models.iter().map(sentence).collect())
}

/// Path of an outbox: one file for each URL, collection and tenant.
fn outbox_path(config: &Config) -> Result<PathBuf, Error> {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, weaviate::location(config).as_bytes());
    config::in_data_folder(&format!("outbox/{}-{}.db", config.collection, id.simple()))
}

/// A server with an outbox.
struct OutboxStore {
    /// `None` in [`Mode::Offline`]: nothing is sent.
    remote: Option<Weaviate>,
    path: PathBuf,
    /// The queue; opened on first use.
    queue: OnceLock<Sqlite>,
    open_lock: Mutex<()>,
    /// Held while entries are added or removed: a page and its manual must stay together.
    file_lock: Mutex<()>,
    /// Held while the queue is sent.
    send_lock: Mutex<()>,
    /// Whether the queue has entries that were not tried yet.
    has_unsent: AtomicBool,
    /// Manuals of this run: a page can be queued only with the record of its manual.
    cards: Mutex<HashMap<ManualId, ManualCard>>,
    backoff: Mutex<Backoff>,
    /// Outcomes of queued pages that [`Outbox::flush`] has not returned yet.
    resolved: Mutex<Vec<Page<WriteOutcome>>>,
}

/// Exponential back-off: no request is sent to an unavailable server until `until`.
#[derive(Default)]
struct Backoff {
    until: Option<Instant>,
    delay: Duration,
    why: Arc<str>,
}

impl OutboxStore {
    /// The server, or `None` during the back-off and offline.
    fn remote(&self) -> Option<&Weaviate> {
        let is_over = lock(&self.backoff)
            .until
            .is_none_or(|until| until <= Instant::now());
        self.remote.as_ref().filter(|_| is_over)
    }

    /// Runs `work` on the server; `None` if it is unavailable, which starts or extends the back-off.
    fn try_remote<T>(
        &self,
        work: impl FnOnce(&Weaviate) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let Some(remote) = self.remote() else {
            return Ok(None);
        };
        let result = work(remote);
        let mut backoff = lock(&self.backoff);
        match result {
            Err(unavailable @ Error::Unavailable { .. }) => {
                backoff.why = unavailable.to_string().into();
                backoff.delay = (backoff.delay * 2).clamp(INITIAL_BACKOFF, MAX_BACKOFF);
                backoff.until = Some(Instant::now() + backoff.delay);
                Ok(None)
            }
            result => {
                *backoff = Backoff::default();
                result.map(Some)
            }
        }
    }

    /// The queue, if it was opened.
    fn queue(&self) -> Option<&Sqlite> {
        self.queue.get()
    }

    /// The queue; opens or creates its file.
    fn open_queue(&self) -> Result<&Sqlite, Error> {
        let open_lock = lock(&self.open_lock);
        if let Some(queue) = self.queue.get() {
            return Ok(queue);
        }
        let profile = self.remote.as_ref().and_then(Weaviate::profile);
        let empty = || Error::open(&self.path.display().to_string(), "no model is known yet");
        let profile = profile.ok_or_else(empty)?;
        let queue = Sqlite::outbox(&self.path, CollectionSelector::Profile(&profile))?;
        queue.prepare(&profile)?;
        let queue = self.queue.get_or_init(|| queue);
        drop(open_lock);
        Ok(queue)
    }

    /// The store that searches and lists read from.
    fn read_target(&self) -> Result<&dyn Store, Error> {
        match &self.remote {
            Some(remote) => Ok(remote),
            None => self.open_queue().map(|queue| queue as &dyn Store),
        }
    }
}

impl Writer for OutboxStore {
    fn prepare(&self, profile: &Profile) -> Result<(), Error> {
        if let Some(remote) = &self.remote {
            remote.prepare(profile)?;
        }
        // An outbox that was opened before the model was known now selects the collection of that model.
        self.queue().map_or(Ok(()), |queue| queue.prepare(profile))
    }

    fn upsert_manual(&self, card: &ManualCard) -> Result<(), Error> {
        lock(&self.cards).insert(card.id.clone(), card.clone());
        match self.try_remote(|remote| remote.upsert_manual(card))? {
            Some(()) => self.drop_superseded(card),
            None => self.enqueue(|queue| {
                queue.upsert_manual(card)?;
                // Offline it is unknown whether the server has more pages than the file has now.
                match self.remote {
                    None => queue.defer_removal(&card.id, &PageSet::starting_at(card.pages + 1)),
                    Some(_) => Ok(()),
                }
            }),
        }
    }

    fn record_run(&self, manual: &ManualId, run: &LastRun) -> Result<(), Error> {
        self.try_remote(|remote| remote.record_run(manual, run))
            .map(drop)
    }

    fn batch_policy(&self) -> BatchPolicy {
        match &self.remote {
            Some(remote) => remote.batch_policy(),
            None => BatchPolicy::for_file(),
        }
    }

    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<WriteOutcome>>, Error> {
        self.flush_queue()?;
        let Some(outcomes) = self.try_remote(|remote| remote.upsert(pages))? else {
            return self.defer_pages(pages);
        };
        if let Some(queue) = self.queue()
            && queue.page_count()? > 0
        {
            // An older version of the same page must not be sent later.
            self.dequeue(queue, &outcomes)?;
        }
        Ok(outcomes)
    }

    fn remove(&self, manual: &ManualId, pages: &PageSet) -> Result<u64, Error> {
        let from_queue = match self.queue() {
            Some(queue) => {
                let _guard = lock(&self.file_lock);
                queue.remove(manual, pages)?
            }
            None => 0,
        };
        match self.try_remote(|remote| remote.remove(manual, pages))? {
            Some(removed) => Ok(removed + from_queue),
            None => self
                .enqueue(|queue| queue.defer_removal(manual, pages))
                .map(|()| from_queue),
        }
    }

    fn outbox(&self) -> Option<&dyn Outbox> {
        Some(self)
    }

    fn index(&self) -> Option<&dyn ServerIndex> {
        self.remote.as_ref()?.index()
    }
}

impl Outbox for OutboxStore {
    fn pending(&self) -> Result<usize, Error> {
        match self.queue.get() {
            Some(queue) => queue.page_count(),
            None if self.path.exists() => Err(Error::Locked {
                location: self.path.display().to_string(),
            }),
            None => Ok(0),
        }
    }

    fn flush(&self) -> Result<Vec<Page<WriteOutcome>>, Error> {
        lock(&self.backoff).until = None;
        self.flush_queue()?;
        if self.remote.as_ref().is_some_and(Weaviate::lost_node) {
            // A killed server has lost some index entries of this run's pages.
            let cards: Vec<ManualCard> = lock(&self.cards).values().cloned().collect();
            self.try_remote(|remote| remote.repair(&cards))?;
        }
        Ok(std::mem::take(&mut *lock(&self.resolved)))
    }

    fn outage(&self) -> Option<Arc<str>> {
        Some(Arc::clone(&lock(&self.backoff).why)).filter(|why| !why.is_empty())
    }
}

impl Lookup for OutboxStore {
    fn visual(&self, query: &MultiVector, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error> {
        self.read_target()?.visual(query, scope, top_k)
    }

    fn text(
        &self,
        field: TextField,
        query: &str,
        scope: &Scope,
        top_k: TopK,
    ) -> Result<Vec<Hit>, Error> {
        self.read_target()?.text(field, query, scope, top_k)
    }

    fn has_text_vectors(&self, profile: &str, scope: &Scope) -> Result<bool, Error> {
        self.read_target()?.has_text_vectors(profile, scope)
    }

    fn meaning(&self, query: &TextQuery, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error> {
        self.read_target()?.meaning(query, scope, top_k)
    }

    fn nearest_tokens(
        &self,
        query: &TextQuery,
        pages: &[PageId],
    ) -> Result<Vec<Vec<(u32, f32)>>, Error> {
        self.read_target()?.nearest_tokens(query, pages)
    }

    fn similar_words(&self, word: &str, count: usize) -> Result<Vec<String>, Error> {
        self.read_target()?.similar_words(word, count)
    }
}

impl Catalogue for OutboxStore {
    fn keeps_text_vectors(&self) -> bool {
        let remote = self.remote.as_ref();
        remote.is_none_or(Catalogue::keeps_text_vectors)
    }

    fn cards(&self) -> Result<Vec<ManualCard>, Error> {
        self.read_target()?.cards()
    }

    fn manuals(&self) -> Result<Vec<ManualSummary>, Error> {
        self.read_target()?.manuals()
    }

    fn page_with_uuid(&self, uuid: Uuid) -> Result<Option<PageId>, Error> {
        self.read_target()?.page_with_uuid(uuid)
    }

    fn fingerprints(&self, manual: &ManualId) -> Result<Vec<Fingerprint>, Error> {
        self.read_target()?.fingerprints(manual)
    }

    fn scan(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        self.read_target()?.scan(scope)
    }

    fn records(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        self.read_target()?.records(scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Address;

    #[test]
    fn outbox_file_names_are_pinned() {
        let url = Address::Servers(vec!["http://127.0.0.1:8080".to_owned()]);
        let config = Config::new(url);
        let tenant = Config {
            collection: "Shared".to_owned(),
            tenant: "a".to_owned(),
            ..config.clone()
        };
        for (config, name) in [
            (config, "PdfPage-7bf65ca8fd5258a1a8dcecfd6739fdf0.db"),
            (tenant, "Shared-74f986ff3cf05ef8a343263d9116b3c4.db"),
        ] {
            let expected = format!("ingest/outbox/{name}");
            assert!(outbox_path(&config).unwrap().ends_with(expected));
        }
    }
}
