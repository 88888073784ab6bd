//! Where pages are kept and looked up.

mod config;
mod error;
mod kernel;
pub mod maxsim;
mod outbox;
mod precision;
mod query_terms;
mod record;
mod sqlite;
mod traits;
mod weaviate;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use config::{Address, Config, Index, OPTIONAL, Quantiser};
pub use error::Error;
pub use precision::Precision;
pub use record::{FileError, Fingerprint, ManualCard, ManualSummary, StoredPage, VectorUpdate};
pub use traits::{Catalogue, Lookup, Outbox, ServerIndex, Store, Writer};

use record::flaw;

use crate::page::{ManualId, PageId, PageSet};
use crate::units::ByteSize;
use crate::vectors::{MultiVector, Profile};

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To find and list pages; any number of readers, also beside a writer.
    Read,
    /// To change it; one run at a time, the file is made when it is not there.
    Write,
    /// To change it later: what is put in waits for its server, which is not asked. A file is opened as for writing.
    Offline,
}

/// Which collection of a store: each holds the pages of one model.
#[derive(Clone, Copy, Debug)]
pub enum CollectionSelector<'a> {
    /// The one that was used last.
    Last,
    /// That of exactly this profile.
    Profile(&'a Profile),
}

/// A store, ready, and whose pages it shows.
pub struct Opened {
    /// The store.
    pub store: Box<dyn Store>,
    /// The model of its collection; none only when opened for writing and nothing is there yet.
    pub profile: Option<Profile>,
    /// Path or URL, for people.
    pub at: String,
    /// What a person should know about it before pages are stored.
    pub note: Option<String>,
}

/// Opens the store that the configuration names.
///
/// # Errors
/// When it cannot be opened or reached, another run writes to it, or (for reading) it holds no such collection.
pub fn open(config: &Config, which: CollectionSelector<'_>, mode: Mode) -> Result<Opened, Error> {
    match &config.url {
        Address::File(_) => {
            let store = sqlite::Sqlite::open(&place(config)?, config, which, mode)?;
            Ok(Opened {
                profile: store.profile(),
                at: store.at().to_owned(),
                note: None,
                store: Box::new(store),
            })
        }
        Address::Servers(_) if mode == Mode::Read => {
            let store = weaviate::Weaviate::open(config, which, mode)?;
            Ok(Opened {
                profile: store.profile(),
                at: store.at().to_owned(),
                note: None,
                store: Box::new(store),
            })
        }
        Address::Servers(_) => outbox::open(config, which, mode),
    }
}

/// The models whose pages a store holds, the one used last first.
///
/// # Errors
/// When the store cannot be read, or nothing was ever stored ([`Error::Empty`]).
pub fn collections(config: &Config) -> Result<Vec<Profile>, Error> {
    match &config.url {
        Address::File(_) => sqlite::Sqlite::open(
            &place(config)?,
            config,
            CollectionSelector::Last,
            Mode::Read,
        )?
        .collections(),
        Address::Servers(_) => {
            let store = weaviate::Weaviate::open(config, CollectionSelector::Last, Mode::Read)?;
            Ok(store.profile().into_iter().collect())
        }
    }
}

/// The file or server that the configuration names, for people.
///
/// # Errors
/// When the platform tells no data folder.
pub fn name(config: &Config) -> Result<String, Error> {
    match &config.url {
        Address::File(_) => place(config).map(|path| path.display().to_string()),
        Address::Servers(_) => Ok(format!("{} {}", config.url, config.collection)),
    }
}

/// Takes a store away with everything in it: the file, or the collections of a server.
///
/// # Errors
/// When it cannot be removed; one that is not there is no failure.
pub fn discard(config: &Config) -> Result<(), Error> {
    match &config.url {
        Address::File(_) => {
            let place = place(config)?;
            for ending in ["", "-wal", "-shm", ".lock"] {
                let mut name = place.clone().into_os_string();
                name.push(ending);
                match std::fs::remove_file(&name) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::failed(&place.display().to_string(), &e.to_string()));
                    }
                    _ => {}
                }
            }
            Ok(())
        }
        Address::Servers(_) => weaviate::discard(config),
    }
}

/// Bytes of pages that are on their way into a store at most; what a file takes at once is as good as nothing.
pub fn sending(config: &Config) -> ByteSize {
    match &config.url {
        Address::File(_) => ByteSize(0),
        Address::Servers(_) => weaviate::SENDING,
    }
}

fn place(config: &Config) -> Result<PathBuf, Error> {
    match &config.url {
        Address::File(path) if !path.as_os_str().is_empty() => Ok(path.clone()),
        _ => config::in_data_folder("library.db"),
    }
}

/// What became of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is in the store.
    Stored,
    /// It waits in the outbox of a server; why. Nothing, when that was asked for ([`Mode::Offline`]).
    Deferred(Arc<str>),
}

/// Where to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this manual.
    pub manual: Option<ManualId>,
    /// Only these pages.
    pub pages: PageSet,
}

impl Scope {
    /// Only this page.
    pub fn page(id: &PageId) -> Self {
        Self {
            manual: Some(id.manual.clone()),
            pages: PageSet::of([id.number]),
        }
    }
}

/// How many pages to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// So many, the best ones.
    pub k: usize,
    /// Of one manual at most so many.
    pub per_manual: Option<usize>,
    /// Compare every page, also where the store has an index that is faster and may miss some.
    pub exact: bool,
}

impl TopK {
    /// The best `k` pages.
    pub const fn new(k: usize) -> Self {
        Self {
            k,
            per_manual: None,
            exact: false,
        }
    }

    /// The first `k` of pages that come best first, at most `per_manual` of each manual.
    pub(crate) fn select<T>(
        self,
        ranked: impl IntoIterator<Item = T>,
        manual: impl Fn(&T) -> ManualId,
    ) -> Vec<T> {
        let mut of_manual: HashMap<ManualId, usize> = HashMap::new();
        let most = self.per_manual.unwrap_or(usize::MAX);
        let mut fits = |page: &T| {
            let seen = of_manual.entry(manual(page)).or_default();
            *seen += 1;
            *seen <= most
        };
        ranked
            .into_iter()
            .filter(|page| fits(page))
            .take(self.k)
            .collect()
    }
}

/// How a store likes to be fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// Bytes that one call should carry ([`StoredPage::bytes`]).
    pub target_bytes: usize,
    /// How long a page may be held back until so many bytes have come.
    pub linger: Duration,
    /// Calls at once.
    pub concurrency: usize,
}

impl BatchPolicy {
    /// That of a file: what has come goes in at once. Pages that keep their vectors are tiny and share a transaction.
    pub(crate) fn of_a_file() -> Self {
        Self {
            target_bytes: 1 << 20,
            linger: Duration::ZERO,
            concurrency: 1,
        }
    }
}

/// Which words of a page are looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// Its text layer.
    TextLayer,
    /// What a describing run said of it ([`crate::page::Annotation::words`]).
    Description,
}

/// A page found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The page.
    pub id: PageId,
    /// MaxSim, or BM25 turned so that larger is better.
    pub score: f32,
    /// The printed label.
    pub label: Option<String>,
    /// The section it lies in.
    pub section: Option<String>,
    /// The text layer.
    pub text: String,
    /// What a describing run left at it, as JSON.
    pub description: Option<String>,
}

/// A query must have the width of the collection.
fn same_width(dim: u32, query: &MultiVector) -> Result<(), Error> {
    match query.dim() as u32 {
        made if made == dim => Ok(()),
        made => Err(Error::Width { found: dim, made }),
    }
}

/// A panic elsewhere leaves what a store keeps behind a lock sound.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
