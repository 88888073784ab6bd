//! Vector stores: multi-vectors and metadata of pages, searched by MaxSim and BM25.

mod address;
mod config;
mod error;
mod kernel;
pub mod maxsim;
mod outbox;
mod path_text;
mod precision;
mod record;
mod sqlite;
mod traits;
mod weaviate;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use config::{Address, Config, Index, OPTIONAL_KEYS, Quantiser};
pub use error::{Error, Outage};
pub use path_text::serialize_path;
pub use precision::Precision;
pub use record::{
    FailedPage, FileError, Fingerprint, LastRun, ManualCard, ManualSummary, StageSeconds,
    StoredPage, TextUpdate, VectorUpdate, digest, has_text_profile, is_read, read_digest,
    text_digest,
};
pub use traits::{Catalogue, Lookup, Outbox, ServerIndex, Store, Writer};

use record::{is_made_from, read_mark, text_profile, validate};

use crate::page::{ManualId, PageId, PageSet};
use crate::units::ByteSize;
use crate::vectors::{MultiVector, Profile};

/// Access mode of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Searches and lists pages; any number of readers, also during a write.
    Read,
    /// Changes the store; one run at a time. A missing file is created.
    Write,
    /// Queues changes for a server without contacting it. A file is opened as for [`Mode::Write`].
    Offline,
    /// Changes a server, as others do at the same time, without an outbox: what it does not take is an error. A file is opened
    /// as for [`Mode::Write`].
    Direct,
}

/// Selects a collection of a store; each holds the pages of one model.
#[derive(Clone, Copy, Debug)]
pub enum CollectionSelector<'a> {
    /// The collection used last.
    Last,
    /// The collection of exactly this profile.
    Profile(&'a Profile),
}

/// An opened store and the model of its collection.
pub struct Opened {
    /// The store.
    pub store: Box<dyn Store>,
    /// The model of its collection; `None` only if opened for writing and nothing is stored yet.
    pub profile: Option<Profile>,
    /// Path or URL, for messages.
    pub location: String,
    /// A note for the user before pages are stored.
    pub note: Option<String>,
    /// What [`Writer::prepare`] must do once with the pages of an earlier version, for the user; it may take minutes.
    pub upgrade: Option<String>,
}

/// Opens the configured store.
///
/// # Errors
/// [`Error::Open`] or [`Error::Unavailable`] if it cannot be opened or reached, [`Error::Locked`] if another run writes to
/// it, [`Error::Empty`] or [`Error::NoCollection`] if there is no such collection to read.
pub fn open(
    config: &Config,
    selector: CollectionSelector<'_>,
    mode: Mode,
) -> Result<Opened, Error> {
    match &config.url {
        Address::File(_) => {
            let store = sqlite::Sqlite::open(&path(config)?, config, selector, mode)?;
            Ok(Opened {
                profile: store.profile(),
                location: store.location().to_owned(),
                note: None,
                upgrade: None,
                store: Box::new(store),
            })
        }
        Address::Servers(_) if matches!(mode, Mode::Read | Mode::Direct) => {
            let store = weaviate::Weaviate::open(config, selector, mode)?;
            let is_written = mode == Mode::Direct;
            Ok(Opened {
                profile: store.profile(),
                location: store.location().to_owned(),
                note: is_written.then(|| store.describe_index()),
                upgrade: store.upgrade_note().filter(|_| is_written),
                store: Box::new(store),
            })
        }
        Address::Servers(_) => outbox::open(config, selector, mode),
    }
}

/// The models whose pages a store holds, the most recently used first.
///
/// # Errors
/// If the store cannot be read, or nothing was ever stored ([`Error::Empty`]).
pub fn collections(config: &Config) -> Result<Vec<Profile>, Error> {
    match &config.url {
        Address::File(_) => {
            sqlite::Sqlite::open(&path(config)?, config, CollectionSelector::Last, Mode::Read)?
                .collections()
        }
        Address::Servers(_) => {
            let store = weaviate::Weaviate::open(config, CollectionSelector::Last, Mode::Read)?;
            Ok(store.profile().into_iter().collect())
        }
    }
}

/// Whether a file can be created where nothing is stored yet; leaves nothing behind. A server is asked when pages are stored.
///
/// # Errors
/// [`Error::Open`] if it cannot be created.
pub fn try_creating(config: &Config) -> Result<(), Error> {
    if let Address::File(_) = &config.url {
        let last = CollectionSelector::Last;
        sqlite::Sqlite::open(&path(config)?, config, last, Mode::Write)?;
    }
    Ok(())
}

/// The configured file or server, for messages.
///
/// # Errors
/// If the platform has no data folder.
pub fn name(config: &Config) -> Result<String, Error> {
    match &config.url {
        Address::File(_) => path(config).map(|path| path.display().to_string()),
        Address::Servers(_) => Ok(format!("{} {}", config.url, config.collection)),
    }
}

/// Deletes a store and its contents: the file, or the collections of a server. A missing store is not an error.
///
/// # Errors
/// If it cannot be deleted.
pub fn discard(config: &Config) -> Result<(), Error> {
    match &config.url {
        Address::File(_) => {
            let path = path(config)?;
            for name in sqlite::store_files(&path) {
                match std::fs::remove_file(&name) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::failed(&path.display().to_string(), &e.to_string()));
                    }
                    _ => {}
                }
            }
            Ok(())
        }
        Address::Servers(_) => weaviate::discard(config),
    }
}

/// Upper bound of the bytes of pages in flight to a store; negligible for a file, which takes them at once.
pub fn max_in_flight(config: &Config) -> ByteSize {
    match &config.url {
        Address::File(_) => ByteSize(0),
        Address::Servers(_) => weaviate::MAX_IN_FLIGHT,
    }
}

/// Path of the file; for a server, that of the default file, in the folder of local data.
///
/// # Errors
/// If the platform has no folder for data.
pub fn path(config: &Config) -> Result<PathBuf, Error> {
    match &config.url {
        Address::File(path) if !path.as_os_str().is_empty() => Ok(path.clone()),
        _ => config::in_data_folder("library.db"),
    }
}

/// Outcome of writing a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Stored.
    Stored,
    /// Queued in the outbox of a server, with the reason; empty in [`Mode::Offline`].
    Deferred(Arc<str>),
}

/// Restricts a search or scan to some manuals, pages, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these manuals; empty: all.
    pub manuals: Vec<ManualId>,
    /// Only these pages.
    pub pages: PageSet,
}

impl Scope {
    /// Only this page.
    pub fn page(id: &PageId) -> Self {
        Self {
            manuals: vec![id.manual.clone()],
            pages: PageSet::of([id.number]),
        }
    }
}

/// Size limits of a result list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// Number of pages, the best ones.
    pub k: usize,
    /// Maximum number of pages of one manual.
    pub per_manual: Option<usize>,
    /// Compares every page instead of using a faster, approximate index.
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

    /// The first `k` of `ranked` (best first), at most `per_manual` of each manual.
    pub(crate) fn select<T>(
        self,
        ranked: impl IntoIterator<Item = T>,
        manual: impl Fn(&T) -> ManualId,
    ) -> Vec<T> {
        let mut of_manual: HashMap<ManualId, usize> = HashMap::new();
        let limit = self.per_manual.unwrap_or(usize::MAX);
        let mut within_limit = |page: &T| {
            let count = of_manual.entry(manual(page)).or_default();
            *count += 1;
            *count <= limit
        };
        ranked
            .into_iter()
            .filter(|page| within_limit(page))
            .take(self.k)
            .collect()
    }
}

/// How a store wants writes batched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// Target size of one call ([`StoredPage::bytes`]).
    pub target_bytes: usize,
    /// Maximum time that a page waits for its batch to fill.
    pub linger: Duration,
    /// Number of concurrent calls.
    pub concurrency: usize,
}

impl BatchPolicy {
    /// The policy of a file: no linger. Pages that keep their vectors are tiny and share a transaction.
    pub(crate) fn for_file() -> Self {
        Self {
            target_bytes: 1 << 20,
            linger: Duration::ZERO,
            concurrency: 1,
        }
    }
}

/// Text field searched by BM25.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// The text layer.
    TextLayer,
    /// The text of its description ([`crate::page::Annotation::search_text`]).
    Description,
}

/// A search result.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The page.
    pub id: PageId,
    /// MaxSim or BM25 score; larger is better.
    pub score: f32,
    /// The printed label.
    pub label: Option<String>,
    /// The section that contains it.
    pub section: Option<String>,
    /// The text layer.
    pub text: String,
    /// The words that were read from its image: [`TextUpdate::Replace`].
    pub words_read: String,
    /// The profile of the text model that embedded its text, also if no word of it says anything; `None` if none did.
    pub text_profile: Option<String>,
    /// Its annotation, as JSON.
    pub description: Option<String>,
}

/// Checks that a query has the width of the collection.
fn check_width(dim: u32, query: &MultiVector) -> Result<(), Error> {
    match query.dim() as u32 {
        made if made == dim => Ok(()),
        made => Err(Error::WidthMismatch { found: dim, made }),
    }
}

/// Locks a mutex and ignores poisoning: a panic leaves no value of a store half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
