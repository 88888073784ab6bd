//! What a store does: pages go in, are found, and are listed; some stores have an outbox, or an index to repair.

use super::{
    BatchPolicy, Error, Fingerprint, Hit, ManualCard, ManualSummary, Scope, StoredPage, TextField,
    TopK, WriteOutcome,
};
use crate::page::{ManualId, Page, PageSet};
use crate::vectors::{MultiVector, Profile};

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
    fn upsert_manual(&self, card: &ManualCard) -> Result<(), Error>;

    /// How it likes to be fed.
    fn batch_policy(&self) -> BatchPolicy;

    /// Inserts or replaces pages; a bad page is named in its verdict, the others are stored.
    ///
    /// # Errors
    /// When the store as a whole fails. A file then holds nothing of this call; of a server's pages some may be
    /// stored, and storing them again does no harm.
    fn upsert(&self, pages: &[StoredPage]) -> Result<Vec<Page<WriteOutcome>>, Error>;

    /// Deletes pages of a manual; with all of them asked for, the manual goes too. Returns how many were there.
    ///
    /// # Errors
    /// When the store fails.
    fn remove(&self, manual: &ManualId, pages: &PageSet) -> Result<u64, Error>;

    /// The outbox before a server; `None` for a store that takes everything at once.
    fn outbox(&self) -> Option<&dyn Outbox> {
        None
    }

    /// The vector index of a server; `None` for a store that compares the vectors themselves, or is not asked.
    fn index(&self) -> Option<&dyn ServerIndex> {
        None
    }
}

/// Keeps pages that a server could not take.
pub trait Outbox {
    /// How many pages wait for a server, those of other models in the same outbox included.
    ///
    /// # Errors
    /// When the store fails.
    fn waiting(&self) -> Result<usize, Error>;

    /// Sends what waits for a server, now; returns the pages that waited and got their verdict since this was last asked.
    ///
    /// # Errors
    /// When the store fails; a server that is still away is no failure, its pages go on waiting.
    fn flush(&self) -> Result<Vec<Page<WriteOutcome>>, Error>;
}

/// A vector index that a server keeps beside the pages, and that can lose entries.
pub trait ServerIndex {
    /// Looks for pages of some manuals that are stored but not found any more, and puts them back; returns how many.
    ///
    /// # Errors
    /// When the store fails.
    fn repair(&self, manuals: &[ManualCard]) -> Result<u64, Error>;
}

/// Finds pages.
pub trait Lookup {
    /// The best pages by MaxSim, best first, equal ones in order of manual and page.
    ///
    /// # Errors
    /// When the store fails or the query has another width.
    fn visual(&self, query: &MultiVector, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error>;

    /// The best pages by BM25 over some of their words, best first; a question's words are OR-ed and nothing in them is
    /// syntax.
    ///
    /// # Errors
    /// When the store fails.
    fn text(
        &self,
        of: TextField,
        question: &str,
        scope: &Scope,
        top_k: TopK,
    ) -> Result<Vec<Hit>, Error>;
}

/// Tells what is in.
pub trait Catalogue {
    /// The records of all manuals, by name, also of those without pages.
    ///
    /// # Errors
    /// When the store fails.
    fn cards(&self) -> Result<Vec<ManualCard>, Error>;

    /// All manuals that have pages, by name, and how much of them is there.
    ///
    /// # Errors
    /// When the store fails.
    fn manuals(&self) -> Result<Vec<ManualSummary>, Error>;

    /// What is stored of a manual, by page.
    ///
    /// # Errors
    /// When the store fails.
    fn fingerprints(&self, manual: &ManualId) -> Result<Vec<Fingerprint>, Error>;

    /// Pages with everything that was stored of them, in order of manual and page.
    ///
    /// # Errors
    /// When the store fails; a broken page is an `Err` item.
    fn scan(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error>;

    /// The same pages without their vectors, which are not read: each says [`super::VectorUpdate::Keep`], and can be stored again.
    ///
    /// # Errors
    /// When the store fails; a broken page is an `Err` item.
    fn records(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error>;
}

/// A store: all three.
pub trait Store: Writer + Lookup + Catalogue + Send + Sync {}
impl<T: Writer + Lookup + Catalogue + Send + Sync> Store for T {}
