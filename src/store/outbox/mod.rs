//! Nothing is lost while a server is away: what cannot be delivered waits in a SQLite file beside the settings' own, and
//! goes out when the server is back, at the next run, or when `ingest sync` says so.

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
    BatchPolicy, Catalogue, CollectionSelector, Config, Error, Fingerprint, Hit, Lookup,
    ManualCard, ManualSummary, Mode, Opened, Outbox, Scope, ServerIndex, Store, StoredPage,
    TextField, TopK, WriteOutcome, Writer, config, locked,
};
use crate::page::{ManualId, Page, PageSet};
use crate::vectors::{MultiVector, Profile};

/// A server that was away is left alone for so long, then twice as long, and so on …
const REST: Duration = Duration::from_secs(1);
/// … but never longer.
const LONGEST_REST: Duration = Duration::from_secs(15);

/// Opens the server that the configuration names for writing, with the outbox before it.
pub(super) fn open(
    config: &Config,
    which: CollectionSelector<'_>,
    mode: Mode,
) -> Result<Opened, Error> {
    let remote = match mode {
        Mode::Offline => None,
        _ => Some(Weaviate::open(config, which, mode)?),
    };
    let file = file(config)?;
    let at = weaviate::place(config);
    let store = OutboxStore {
        waiting: OnceLock::new(),
        opening: Mutex::default(),
        door: Mutex::default(),
        sending: Mutex::default(),
        has_news: AtomicBool::new(false),
        cards: Mutex::default(),
        rest: Mutex::default(),
        settled: Mutex::default(),
        remote,
        file,
    };
    let mut profile = store.remote.as_ref().and_then(Weaviate::profile);
    let mut note = match &store.remote {
        None => format!("nothing is sent; pages wait in {}", store.file.display()),
        Some(remote) => remote.describe(),
    };
    if store.remote.is_none() || store.file.exists() {
        let wanted = profile.as_ref().map_or(which, CollectionSelector::Profile);
        match Sqlite::outbox(&store.file, wanted) {
            // Another run sees to it.
            Err(Error::Locked { .. }) if store.remote.is_some() => {}
            waiting => {
                let waiting = waiting?;
                profile = profile.or_else(|| waiting.profile());
                note.push_str(&strangers(&waiting, profile.as_ref())?);
                drop(store.waiting.set(waiting));
                store.has_news.store(true, Ordering::Relaxed);
            }
        }
    }
    Ok(Opened {
        store: Box::new(store),
        profile,
        at,
        note: Some(note),
    })
}

/// Words about pages that wait and that this collection will never take.
fn strangers(waiting: &Sqlite, profile: Option<&Profile>) -> Result<String, Error> {
    let models = waiting.models_but(profile.map_or("", |profile| &profile.id))?;
    let at = waiting.at();
    let words = |model: &String| {
        format!(
            "; pages of `{model}` wait for another collection: `ingest sync --from {at} --model {model} --to-collection NEW`"
        )
    };
    Ok(models.iter().map(words).collect())
}

/// The file of an outbox: one for each URL, collection and tenant.
fn file(config: &Config) -> Result<PathBuf, Error> {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, weaviate::place(config).as_bytes());
    config::in_data_folder(&format!("outbox/{}-{}.db", config.collection, id.simple()))
}

/// A server with an outbox before it.
struct OutboxStore {
    /// None: nothing is sent.
    remote: Option<Weaviate>,
    file: PathBuf,
    /// What waits; opened when something has to.
    waiting: OnceLock<Sqlite>,
    opening: Mutex<()>,
    /// Held while something is put into the file or taken out: a page and its manual belong together.
    door: Mutex<()>,
    /// Held while what waits is sent.
    sending: Mutex<()>,
    /// Whether something waits that was not tried yet.
    has_news: AtomicBool,
    /// Manuals of this run: a page can wait only beside the record of its manual.
    cards: Mutex<HashMap<ManualId, ManualCard>>,
    rest: Mutex<Rest>,
    /// Pages that waited and got their verdict, not yet told.
    settled: Mutex<Vec<Page<WriteOutcome>>>,
}

/// Until when an absent server is left alone.
#[derive(Default)]
struct Rest {
    until: Option<Instant>,
    pause: Duration,
    why: Arc<str>,
}

impl OutboxStore {
    /// The server, unless it is absent and left alone for now.
    fn remote(&self) -> Option<&Weaviate> {
        let is_over = locked(&self.rest)
            .until
            .is_none_or(|until| until <= Instant::now());
        self.remote.as_ref().filter(|_| is_over)
    }

    /// Runs `work` on the server; none when it is away, which then is remembered.
    fn on_remote<T>(
        &self,
        work: impl FnOnce(&Weaviate) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let Some(remote) = self.remote() else {
            return Ok(None);
        };
        let done = work(remote);
        let mut rest = locked(&self.rest);
        match done {
            Err(away @ Error::Unavailable { .. }) => {
                rest.why = away.to_string().into();
                rest.pause = (rest.pause * 2).clamp(REST, LONGEST_REST);
                rest.until = Some(Instant::now() + rest.pause);
                Ok(None)
            }
            done => {
                *rest = Rest::default();
                done.map(Some)
            }
        }
    }

    /// What waits, if anything ever had to.
    fn waiting(&self) -> Option<&Sqlite> {
        self.waiting.get()
    }

    /// The file for what has to wait.
    fn file(&self) -> Result<&Sqlite, Error> {
        let opening = locked(&self.opening);
        if let Some(file) = self.waiting.get() {
            return Ok(file);
        }
        let profile = self.remote.as_ref().and_then(Weaviate::profile);
        let empty = || Error::open(&self.file.display().to_string(), "no model was named yet");
        let profile = profile.ok_or_else(empty)?;
        let file = Sqlite::outbox(&self.file, CollectionSelector::Profile(&profile))?;
        file.prepare(&profile)?;
        let file = self.waiting.get_or_init(|| file);
        drop(opening);
        Ok(file)
    }

    /// Where questions go.
    fn front(&self) -> Result<&dyn Store, Error> {
        match &self.remote {
            Some(remote) => Ok(remote),
            None => self.file().map(|file| file as &dyn Store),
        }
    }
}

impl Writer for OutboxStore {
    fn prepare(&self, profile: &Profile) -> Result<(), Error> {
        if let Some(remote) = &self.remote {
            remote.prepare(profile)?;
        }
        // An outbox that was opened before the model was known looks into that model's pages from now on.
        self.waiting().map_or(Ok(()), |file| file.prepare(profile))
    }

    fn upsert_manual(&self, card: &ManualCard) -> Result<(), Error> {
        locked(&self.cards).insert(card.id.clone(), card.clone());
        match self.on_remote(|remote| remote.upsert_manual(card))? {
            Some(()) => self.supersede(card),
            None => self.put(|file| {
                file.upsert_manual(card)?;
                // Without the server nobody knows whether it has more pages than the file has now.
                match self.remote {
                    None => file.put_off(&card.id, &PageSet::starting_at(card.pages + 1)),
                    Some(_) => Ok(()),
                }
            }),
        }
    }

    fn batch_policy(&self) -> BatchPolicy {
        match &self.remote {
            Some(remote) => remote.batch_policy(),
            None => BatchPolicy::of_a_file(),
        }
    }

    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<WriteOutcome>>, Error> {
        self.send_all()?;
        let Some(verdicts) = self.on_remote(|remote| remote.upsert(pages))? else {
            return self.put_by(pages);
        };
        if let Some(file) = self.waiting()
            && file.len()? > 0
        {
            // An older state of the same page must not be sent later.
            self.take_out(file, &verdicts)?;
        }
        Ok(verdicts)
    }

    fn remove(&self, manual: &ManualId, pages: &PageSet) -> Result<u64, Error> {
        let waited = match self.waiting() {
            Some(file) => {
                let _door = locked(&self.door);
                file.remove(manual, pages)?
            }
            None => 0,
        };
        match self.on_remote(|remote| remote.remove(manual, pages))? {
            Some(gone) => Ok(gone + waited),
            None => self
                .put(|file| file.put_off(manual, pages))
                .map(|()| waited),
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
    fn waiting(&self) -> Result<usize, Error> {
        match self.waiting.get() {
            Some(file) => file.len(),
            None if self.file.exists() => Err(Error::Locked {
                at: self.file.display().to_string(),
            }),
            None => Ok(0),
        }
    }

    fn flush(&self) -> Result<Vec<Page<WriteOutcome>>, Error> {
        locked(&self.rest).until = None;
        self.send_all()?;
        if self.remote.as_ref().is_some_and(Weaviate::lost_node) {
            // A server that was killed has lost some of what this run gave it before.
            let cards: Vec<ManualCard> = locked(&self.cards).values().cloned().collect();
            self.on_remote(|remote| remote.repair(&cards))?;
        }
        Ok(std::mem::take(&mut *locked(&self.settled)))
    }
}

impl Lookup for OutboxStore {
    fn visual(&self, query: &MultiVector, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error> {
        self.front()?.visual(query, scope, top_k)
    }

    fn text(
        &self,
        of: TextField,
        question: &str,
        scope: &Scope,
        top_k: TopK,
    ) -> Result<Vec<Hit>, Error> {
        self.front()?.text(of, question, scope, top_k)
    }
}

impl Catalogue for OutboxStore {
    fn cards(&self) -> Result<Vec<ManualCard>, Error> {
        self.front()?.cards()
    }

    fn manuals(&self) -> Result<Vec<ManualSummary>, Error> {
        self.front()?.manuals()
    }

    fn fingerprints(&self, manual: &ManualId) -> Result<Vec<Fingerprint>, Error> {
        self.front()?.fingerprints(manual)
    }

    fn scan(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        self.front()?.scan(scope)
    }

    fn records(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        self.front()?.records(scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Address;

    #[test]
    fn the_file_of_an_outbox_never_changes() {
        let url = Address::Servers(vec!["http://127.0.0.1:8080".to_owned()]);
        let config = Config::at(url);
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
            assert!(file(&config).unwrap().ends_with(expected));
        }
    }
}
