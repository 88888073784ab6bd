//! Nothing is lost while a server is away: what cannot be delivered waits in a SQLite file beside the settings' own, and
//! goes out when the server is back, at the next run, or when `ingest sync` says so.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::sqlite::Sqlite;
use super::weaviate::{self, Weaviate};
use super::{
    Catalogue, Config, Error, Fingerprint, Hit, Lookup, ManualCard, Mode, Opened, Pace, Scope,
    Shelved, Store, StoredPage, Verdict, Want, Which, Writer, config, locked,
};
use crate::page::{ManualId, Page, PageSet};
use crate::vectors::{MultiVector, Profile};

/// A server that was away is left alone for so long, then twice as long, and so on …
const REST: Duration = Duration::from_secs(1);
/// … but never longer.
const LONGEST_REST: Duration = Duration::from_secs(15);

/// Opens the server that the configuration names for writing, with the outbox before it.
pub(super) fn open(config: &Config, which: Which<'_>, mode: Mode) -> Result<Opened, Error> {
    let remote = match mode {
        Mode::Offline => None,
        _ => Some(Weaviate::open(config, which, mode)?),
    };
    let file = file(config)?;
    let at = weaviate::place(config);
    let store = Outbox {
        waiting: OnceLock::new(),
        opening: Mutex::default(),
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
        let wanted = profile.as_ref().map_or(which, Which::Profile);
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
    Ok(models
        .iter()
        .map(|model| {
            format!(
                "; pages of `{model}` wait in {}, for another collection",
                waiting.at()
            )
        })
        .collect())
}

/// The file of an outbox: one for each URL, collection and tenant.
fn file(config: &Config) -> Result<PathBuf, Error> {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, weaviate::place(config).as_bytes());
    config::in_data_folder(&format!("outbox/{}-{}.db", config.collection, id.simple()))
}

/// A server with an outbox before it.
struct Outbox {
    /// None: nothing is sent.
    remote: Option<Weaviate>,
    file: PathBuf,
    /// What waits; opened when something has to.
    waiting: OnceLock<Sqlite>,
    opening: Mutex<()>,
    sending: Mutex<()>,
    /// Whether something waits that was not tried yet.
    has_news: AtomicBool,
    /// Manuals of this run: a page can wait only beside the record of its manual.
    cards: Mutex<HashMap<ManualId, ManualCard>>,
    rest: Mutex<Rest>,
    /// Pages that waited and got their verdict, not yet told.
    settled: Mutex<Vec<Page<Verdict>>>,
}

/// Until when an absent server is left alone.
#[derive(Default)]
struct Rest {
    until: Option<Instant>,
    pause: Duration,
    why: Arc<str>,
}

impl Outbox {
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
            Err(away @ Error::Away { .. }) => {
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
        let file = Sqlite::outbox(&self.file, Which::Profile(&profile))?;
        file.prepare(&profile)?;
        let file = self.waiting.get_or_init(|| file);
        drop(opening);
        Ok(file)
    }

    /// The file, to put something into it.
    fn file_for_news(&self) -> Result<&Sqlite, Error> {
        let file = self.file()?;
        self.has_news.store(true, Ordering::Relaxed);
        Ok(file)
    }

    /// Where questions go.
    fn front(&self) -> Result<&dyn Store, Error> {
        match &self.remote {
            Some(remote) => Ok(remote),
            None => self.file().map(|file| file as &dyn Store),
        }
    }

    fn put_by(&self, pages: &[StoredPage]) -> Result<Vec<Page<Verdict>>, Error> {
        let file = self.file_for_news()?;
        for page in pages {
            if let Some(card) = locked(&self.cards).get(&page.id.manual) {
                file.enter(card)?;
            }
        }
        let why = Arc::clone(&locked(&self.rest).why);
        let mut verdicts = file.upsert(pages)?;
        for (_, verdict) in &mut verdicts {
            if *verdict == Ok(Verdict::Stored) {
                *verdict = Ok(Verdict::Waiting(Arc::clone(&why)));
            }
        }
        Ok(verdicts)
    }

    /// Sends what waits until nothing does, or the server is away.
    fn send_waiting(&self, remote: &Weaviate, file: &Sqlite) -> Result<(), Error> {
        while let Some((number, manual, pages)) = file.next_put_off()? {
            remote.remove(&manual, &pages)?;
            file.is_done(number)?;
        }
        for card in file.cards()? {
            remote.enter(&card)?;
        }
        let mut batch = Batch::default();
        for page in file.scan(&Scope::default())? {
            batch.push(page?);
            if batch.bytes >= remote.pace().bytes {
                self.send_batch(remote, file, std::mem::take(&mut batch))?;
            }
        }
        self.send_batch(remote, file, batch)?;
        if file.len()? == 0 {
            file.shrink()?;
        }
        Ok(())
    }

    fn send_batch(&self, remote: &Weaviate, file: &Sqlite, batch: Batch) -> Result<(), Error> {
        if batch.pages.is_empty() {
            return Ok(());
        }
        let verdicts = remote.upsert(&batch.pages)?;
        for (id, verdict) in &verdicts {
            // A page that was refused stays: nothing is thrown away unseen.
            if verdict.is_ok() {
                file.remove(&id.manual, &PageSet::of([id.number]))?;
            }
        }
        locked(&self.settled).extend(verdicts);
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

impl Writer for Outbox {
    fn prepare(&self, profile: &Profile) -> Result<(), Error> {
        if let Some(remote) = &self.remote {
            remote.prepare(profile)?;
        }
        // An outbox that was opened before the model was known looks into that model's pages from now on.
        self.waiting().map_or(Ok(()), |file| file.prepare(profile))
    }

    fn enter(&self, card: &ManualCard) -> Result<(), Error> {
        locked(&self.cards).insert(card.id.clone(), card.clone());
        match self.on_remote(|remote| remote.enter(card))? {
            Some(()) => Ok(()),
            None => self.file_for_news()?.enter(card),
        }
    }

    fn pace(&self) -> Pace {
        match &self.remote {
            Some(remote) => remote.pace(),
            None => Pace::of_a_file(),
        }
    }

    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<Verdict>>, Error> {
        self.send_all()?;
        match self.on_remote(|remote| remote.upsert(pages))? {
            Some(verdicts) => Ok(verdicts),
            None => self.put_by(pages),
        }
    }

    fn remove(&self, manual: &ManualId, pages: &PageSet) -> Result<u64, Error> {
        let waited = match self.waiting() {
            Some(file) => file.remove(manual, pages)?,
            None => 0,
        };
        match self.on_remote(|remote| remote.remove(manual, pages))? {
            Some(gone) => Ok(gone + waited),
            None => self
                .file_for_news()?
                .put_off(manual, pages)
                .map(|()| waited),
        }
    }

    fn mend(&self, manuals: &[ManualCard]) -> Result<u64, Error> {
        match &self.remote {
            Some(remote) => remote.mend(manuals),
            None => Ok(0),
        }
    }

    fn deliver(&self) -> Result<Vec<Page<Verdict>>, Error> {
        locked(&self.rest).until = None;
        self.send_all()?;
        if self.remote.as_ref().is_some_and(Weaviate::has_stumbled) {
            // A server that was killed has lost some of what this run gave it before.
            let cards: Vec<ManualCard> = locked(&self.cards).values().cloned().collect();
            self.on_remote(|remote| remote.mend(&cards))?;
        }
        Ok(std::mem::take(&mut *locked(&self.settled)))
    }
}

impl Outbox {
    fn send_all(&self) -> Result<(), Error> {
        let Some(file) = self.waiting() else {
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
}

impl Lookup for Outbox {
    fn visual(&self, query: &MultiVector, scope: &Scope, want: Want) -> Result<Vec<Hit>, Error> {
        self.front()?.visual(query, scope, want)
    }

    fn text(&self, words: &str, scope: &Scope, want: Want) -> Result<Vec<Hit>, Error> {
        self.front()?.text(words, scope, want)
    }
}

impl Catalogue for Outbox {
    fn cards(&self) -> Result<Vec<ManualCard>, Error> {
        self.front()?.cards()
    }

    fn manuals(&self) -> Result<Vec<Shelved>, Error> {
        self.front()?.manuals()
    }

    fn known(&self, manual: &ManualId) -> Result<Vec<Fingerprint>, Error> {
        self.front()?.known(manual)
    }

    fn scan(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        self.front()?.scan(scope)
    }
}
