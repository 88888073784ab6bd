//! Where pages are kept and looked up.

mod kernel;
pub mod maxsim;
mod sqlite;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::page::{ManualId, Page, PageId, PageSet};
use crate::units::ByteSize;
use crate::vectors::{MultiVector, PageVectors, Profile};

/// Which store, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Path of a SQLite file; empty means the platform's data folder.
    pub url: String,
    /// The largest size the file may grow to; beyond it the store is full. None: as large as the disk allows.
    #[serde(default)]
    pub limit: Option<ByteSize>,
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To find and list pages; any number of readers, also beside a writer.
    Read,
    /// To change it; one run at a time, the file is made when it is not there.
    Write,
}

/// Which collection of a store: each holds the pages of one model.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// The one that was used last.
    Last,
    /// That of a model, by its name or the id of its profile; of several the one used last.
    Model(&'a str),
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
}

/// Opens the store that the configuration names.
///
/// # Errors
/// When it cannot be opened, another run writes to it, or (for reading) it holds no such collection.
pub fn open(config: &Config, which: Which<'_>, mode: Mode) -> Result<Opened, Error> {
    let store = sqlite::Sqlite::open(&place(config)?, config.limit, which, mode)?;
    Ok(Opened {
        profile: store.profile(),
        at: store.at().to_owned(),
        store: Box::new(store),
    })
}

/// The models whose pages a store holds, the one used last first.
///
/// # Errors
/// When the store cannot be read, or nothing was ever stored ([`Error::Empty`]).
pub fn collections(config: &Config) -> Result<Vec<Profile>, Error> {
    sqlite::Sqlite::open(&place(config)?, None, Which::Last, Mode::Read)?.collections()
}

/// The file that the configuration names.
///
/// # Errors
/// When it names a server, or the platform tells no data folder.
pub fn place(config: &Config) -> Result<PathBuf, Error> {
    let at = config.url.trim();
    if at.starts_with("http://") || at.starts_with("https://") {
        return Err(Error::Scheme { at: at.to_owned() });
    }
    if !at.is_empty() {
        return Ok(at.into());
    }
    let folders = etcetera::base_strategy::choose_native_strategy()
        .map_err(|cause| Error::open("", &cause.to_string()))?;
    Ok(etcetera::BaseStrategy::data_dir(&folders).join("ingest/library.db"))
}

/// The record of a manual: everything that is not about one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManualCard {
    /// Its name.
    pub id: ManualId,
    /// Where it was last seen.
    pub path: PathBuf,
    /// SHA-256 of the file, hex.
    pub file: String,
    /// How its pages were rendered ([`crate::render::Config::profile`]'s text).
    pub render: String,
    /// Pages in the file.
    pub pages: u32,
}

/// A manual and how much of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shelved {
    /// The manual.
    #[serde(flatten)]
    pub card: ManualCard,
    /// Pages stored.
    pub stored: u32,
    /// Of these, blank ones.
    pub blank: u32,
    /// Bytes of their vectors.
    pub bytes: u64,
}

/// What a store knows of a page without its vectors: enough to tell whether it must be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The page's number.
    pub number: u32,
    /// The file and render profile it was made from: [`StoredPage::origin`].
    pub origin: String,
    /// Digest of its pixels and text.
    pub content: String,
}

/// A page to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPage {
    /// Its id.
    pub id: PageId,
    /// Digest of file and render profile; a manual whose pages all carry the present one is unchanged.
    pub origin: String,
    /// Digest of pixels and text; a page with an equal one keeps its vectors.
    pub content: String,
    /// The printed label.
    pub label: Option<String>,
    /// The section it lies in.
    pub section: Option<String>,
    /// The text layer.
    pub text: String,
    /// Whether it shows nothing.
    pub blank: bool,
    /// A small JPEG, at most 40 KB.
    pub thumbnail: Vec<u8>,
    /// Its vectors.
    pub vectors: Vectors,
}

/// The vectors of a page to be stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Vectors {
    /// These; already rounded to f16.
    New(PageVectors),
    /// Those stored under the same id: pixels and text are as they were.
    Kept,
}

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the store.
    Stored,
    /// It waits in the outbox of a store that cannot be reached.
    Waiting,
}

/// Where to look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this manual.
    pub manual: Option<ManualId>,
    /// Only these pages.
    pub pages: PageSet,
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
}

/// Why a store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be opened.
    #[error("the store {at} cannot be opened: {why}")]
    Open {
        /// Path or URL.
        at: String,
        /// What is wrong.
        why: String,
    },
    /// The address names a kind of store that this version does not have.
    #[error("{at} is the address of a server; this version keeps pages in SQLite files only")]
    Scheme {
        /// The address.
        at: String,
    },
    /// Nothing was ever stored, or the file is not there yet.
    #[error("nothing has been stored in {at} yet")]
    Empty {
        /// Path or URL.
        at: String,
    },
    /// Another run writes to it.
    #[error("the store {at} is in use by another run")]
    Locked {
        /// Path or URL.
        at: String,
    },
    /// Written by a newer version of this program.
    #[error("the store {at} has version {found}; this program knows up to {known}")]
    TooNew {
        /// Path or URL.
        at: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// No room left.
    #[error("the store {at} is full: {why}")]
    Full {
        /// Path or URL.
        at: String,
        /// What the store said.
        why: String,
    },
    /// Nothing was ever stored with this model.
    #[error("the store {at} holds no pages of the model `{model}`")]
    NoCollection {
        /// Path or URL.
        at: String,
        /// The model asked for.
        model: String,
    },
    /// Vectors of another width.
    #[error("the collection holds vectors of width {found}, this model makes {made}")]
    Width {
        /// Stored.
        found: u32,
        /// Made.
        made: u32,
    },
    /// The store failed.
    #[error("the store {at} failed: {why}")]
    Failed {
        /// Path or URL.
        at: String,
        /// What it said.
        why: String,
    },
}

impl Error {
    fn open(at: &str, why: &str) -> Self {
        Self::Open {
            at: at.to_owned(),
            why: why.to_owned(),
        }
    }

    fn failed(at: &str, why: &str) -> Self {
        Self::Failed {
            at: at.to_owned(),
            why: why.to_owned(),
        }
    }
}

/// Puts pages in.
pub trait Writer {
    /// Makes ready for pages of a model; creates what is not there.
    ///
    /// # Errors
    /// When the store holds something that does not fit.
    fn prepare(&self, profile: &Profile) -> Result<(), Error>;

    /// Enters a manual, or changes its record (a file that moved or changed). Its pages come after it.
    ///
    /// # Errors
    /// When the store fails.
    fn enter(&self, card: &ManualCard) -> Result<(), Error>;

    /// Inserts or replaces pages, all or none of a call's healthy ones; a bad page is named in its verdict.
    ///
    /// # Errors
    /// When the store as a whole fails; then nothing of this call is stored.
    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<Verdict>>, Error>;

    /// Deletes pages of a manual; with every page gone the manual goes too. Returns how many were there.
    ///
    /// # Errors
    /// When the store fails.
    fn remove(&self, manual: &ManualId, pages: &PageSet) -> Result<u64, Error>;
}

/// Finds pages.
pub trait Lookup {
    /// The best `k` pages by exact MaxSim, best first.
    ///
    /// # Errors
    /// When the store fails or the query has another width.
    fn visual(&self, query: &MultiVector, scope: &Scope, k: usize) -> Result<Vec<Hit>, Error>;

    /// The best `k` pages by BM25 over their text, best first; words are OR-ed and nothing in them is syntax.
    ///
    /// # Errors
    /// When the store fails.
    fn text(&self, words: &str, scope: &Scope, k: usize) -> Result<Vec<Hit>, Error>;
}

/// Tells what is in.
pub trait Catalogue {
    /// All manuals that have pages, by name.
    ///
    /// # Errors
    /// When the store fails.
    fn manuals(&self) -> Result<Vec<Shelved>, Error>;

    /// What is stored of a manual, by page.
    ///
    /// # Errors
    /// When the store fails.
    fn known(&self, manual: &ManualId) -> Result<Vec<Fingerprint>, Error>;

    /// Pages with everything that was stored of them, in order of manual and page.
    ///
    /// # Errors
    /// When the store fails; a broken page is an `Err` item.
    fn scan(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error>;
}

/// A store: all three.
pub trait Store: Writer + Lookup + Catalogue + Send + Sync {}
impl<T: Writer + Lookup + Catalogue + Send + Sync> Store for T {}
