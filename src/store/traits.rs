//! Store traits: writer, lookup and catalogue, with an optional outbox and a server index to repair.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    BatchPolicy, Error, Fingerprint, Hit, LastRun, ManualCard, ManualSummary, Scope, StoredPage,
    TextField, TopK, WriteOutcome,
};
use crate::page::{ManualId, Page, PageId, PageSet};
use crate::units::ByteSize;
use crate::vectors::{MultiVector, Profile, TextQuery};

/// Writes pages.
pub trait Writer {
    /// Prepares for pages of a model; creates the collection if it does not exist.
    ///
    /// # Errors
    /// If an existing collection does not match: [`Error::WidthMismatch`], [`Error::SettingMismatch`].
    fn prepare(&self, profile: &Profile) -> Result<(), Error>;

    /// Inserts or replaces the record of a manual, which keeps its [`LastRun`]. Must precede its pages.
    ///
    /// # Errors
    /// If the store fails.
    fn upsert_manual(&self, card: &ManualCard) -> Result<(), Error>;

    /// Keeps what a run did with a stored manual, instead of what the one before did. Nothing is kept of a manual that is
    /// not stored, and nothing while a server is unavailable.
    ///
    /// # Errors
    /// If the store fails.
    fn record_run(&self, manual: &ManualId, run: &LastRun) -> Result<(), Error>;

    /// How the store wants writes batched.
    fn batch_policy(&self) -> BatchPolicy;

    /// Inserts or replaces pages. Each page has its own outcome: an invalid one is an `Err` item, the others are stored.
    ///
    /// # Errors
    /// If the store as a whole fails. A file then contains nothing of this call; a server may have stored some pages, and
    /// storing them again is safe.
    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<WriteOutcome>>, Error>;

    /// Deletes pages of a manual, and its record and last run if `pages` is all. Returns the number of deleted pages.
    ///
    /// # Errors
    /// If the store fails.
    fn remove(&self, manual: &ManualId, pages: &PageSet) -> Result<u64, Error>;

    /// Gives the space of removed pages back; returns the bytes that the store keeps for later pages.
    ///
    /// # Errors
    /// If the store fails.
    fn release_space(&self) -> Result<ByteSize, Error> {
        Ok(ByteSize(0))
    }

    /// The outbox of a server; `None` for a store that writes directly.
    fn outbox(&self) -> Option<&dyn Outbox> {
        None
    }

    /// The vector index of a server; `None` for a file and in [`super::Mode::Offline`].
    fn index(&self) -> Option<&dyn ServerIndex> {
        None
    }
}

/// Durable queue of writes for an unavailable server.
pub trait Outbox {
    /// Number of queued pages, including those of other models in the same outbox.
    ///
    /// # Errors
    /// If the store fails.
    fn pending(&self) -> Result<usize, Error>;

    /// Sends the queue now. Returns the outcomes of all queued pages that were sent or rejected since the last call.
    ///
    /// # Errors
    /// If the store fails; an unavailable server is not an error, its pages stay queued.
    fn flush(&self) -> Result<Vec<Page<WriteOutcome>>, Error>;

    /// Why the server did not take the queue; `None` if it did, or was not asked.
    fn outage(&self) -> Option<Arc<str>>;
}

/// The vector index of a server, which can lose entries.
pub trait ServerIndex {
    /// Indexes again the pages of some manuals that are stored but missing from the index; returns their number.
    ///
    /// # Errors
    /// If the store fails.
    fn repair(&self, manuals: &[ManualCard]) -> Result<u64, Error>;
}

/// Searches pages.
pub trait Lookup {
    /// The best pages by MaxSim, best first, equal ones in order of manual and page.
    ///
    /// # Errors
    /// If the store fails or the query has another width ([`Error::WidthMismatch`]).
    fn visual(&self, query: &MultiVector, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error>;

    /// The best pages by BM25 over a text field, best first. The terms of the query are OR-ed; it has no operators.
    ///
    /// # Errors
    /// If the store fails.
    fn text(
        &self,
        field: TextField,
        query: &str,
        scope: &Scope,
        top_k: TopK,
    ) -> Result<Vec<Hit>, Error>;

    /// Whether any page of a scope has text vectors of the profile.
    ///
    /// # Errors
    /// If the store fails.
    fn has_text_vectors(&self, profile: &str, scope: &Scope) -> Result<bool, Error>;

    /// The best pages by MaxSim of their text vectors, best first, equal ones in order of manual and page. Pages without
    /// text vectors of the query's profile are left out.
    ///
    /// Each query row weighs the inverse document frequency of its token among the pages of the scope, times its share in
    /// its word; the score is the weighted mean of the rows' best cosines, from -1 to 1.
    ///
    /// # Errors
    /// If the store fails.
    fn meaning(&self, query: &TextQuery, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error>;

    /// For each page the tokens of the rows that are nearest to those of the query, with their cosines; empty for a page
    /// without text vectors of the query's profile.
    ///
    /// # Errors
    /// If the store fails.
    fn nearest_tokens(
        &self,
        query: &TextQuery,
        pages: &[PageId],
    ) -> Result<Vec<Vec<(u32, f32)>>, Error>;

    /// At most `count` words of the text layers that are spelled like `word`, the nearest first. None if the word itself is
    /// on a page or begins one there, and none from a server, which does not list its words.
    ///
    /// # Errors
    /// If the store fails.
    fn similar_words(&self, word: &str, count: usize) -> Result<Vec<String>, Error>;
}

/// Lists the contents.
pub trait Catalogue {
    /// Whether the store keeps text vectors; one that does not ignores them.
    fn keeps_text_vectors(&self) -> bool;

    /// The records of all manuals, by name, including those without pages.
    ///
    /// # Errors
    /// If the store fails.
    fn cards(&self) -> Result<Vec<ManualCard>, Error>;

    /// All manuals that have pages, by name, with their page counts and last runs.
    ///
    /// # Errors
    /// If the store fails.
    fn manuals(&self) -> Result<Vec<ManualSummary>, Error>;

    /// The stored page with an id ([`PageId::uuid`]); `None` if there is none.
    ///
    /// # Errors
    /// If the store fails.
    fn page_with_uuid(&self, uuid: Uuid) -> Result<Option<PageId>, Error>;

    /// The fingerprints of a manual's pages, by number.
    ///
    /// # Errors
    /// If the store fails.
    fn fingerprints(&self, manual: &ManualId) -> Result<Vec<Fingerprint>, Error>;

    /// Complete pages, in order of manual and number.
    ///
    /// # Errors
    /// If the store fails; a damaged page is an `Err` item.
    fn scan(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error>;

    /// The same pages without reading their vectors: each has [`super::VectorUpdate::Keep`] and can be stored again.
    ///
    /// # Errors
    /// If the store fails; a damaged page is an `Err` item.
    fn records(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error>;
}

/// A store: [`Writer`], [`Lookup`] and [`Catalogue`].
pub trait Store: Writer + Lookup + Catalogue + Send + Sync {}
impl<T: Writer + Lookup + Catalogue + Send + Sync> Store for T {}
