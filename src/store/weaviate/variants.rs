//! Adds the variants of words and codes ([`crate::analysis`]) to the pages that an earlier version stored.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use reqwest::Method;
use serde_json::{Value, json};

use super::object;
use super::properties::{DESCRIPTION, DESCRIPTION_TEXT, DESCRIPTION_VARIANTS, TEXT, VARIANTS};
use super::proto::{SearchRequest, SearchResult};
use super::schema::CollectionInfo;
use super::transport::Failure;
use super::values::Fields;
use super::{Weaviate, filter};
use crate::analysis;
use crate::page::{ManualId, PageId};
use crate::store::{Catalogue, Error};

/// Pages whose texts are read by one request: some MB.
const PAGES_PER_FETCH: usize = 256;
/// Concurrent requests that write. The server has none for several pages that would keep their vectors, and reading and
/// writing those moves a hundred times as much data.
const CONCURRENCY: usize = 8;

/// A page and a PATCH with its properties that are missing or out of date.
type Patch = (PageId, Value);

impl Weaviate {
    /// What [`Weaviate::add_variants`] will do, for the user; `None` if the pages are up to date.
    pub(in crate::store) fn upgrade_note(&self) -> Option<String> {
        let is_old = self.collection().is_some_and(|c| !c.variants_are_current);
        let note = "an earlier version stored these pages: other spellings of their words are added, once; it may take minutes, \
                    and continues with the next command if it is interrupted";
        is_old.then(|| note.to_owned())
    }

    /// Writes the variants of all pages that lack them, and notes in the collection that they are current. An interrupted
    /// run goes on where it ended.
    pub(super) fn add_variants(&self) -> Result<(), Error> {
        for card in self.cards()? {
            let pages = self.list_pages(&filter::manual(&card.id), &["page_number"])?;
            let number = |page: &SearchResult| Fields::new(page).int("page_number");
            let numbers: Vec<u32> = pages.iter().filter_map(number).collect();
            for chunk in numbers.chunks(PAGES_PER_FETCH) {
                self.write_properties(&self.outdated(&card.id, chunk)?)?;
            }
        }
        self.mark_variants_current()
            .map_err(|failure| failure.into_error(&self.location))
    }

    /// The pages, of some of a manual, whose variants are not current.
    fn outdated(&self, manual: &ManualId, numbers: &[u32]) -> Result<Vec<Patch>, Error> {
        let properties = [
            "manual",
            "page_number",
            TEXT,
            DESCRIPTION,
            DESCRIPTION_TEXT,
            VARIANTS,
            DESCRIPTION_VARIANTS,
        ];
        let request = SearchRequest {
            filters: Some(filter::pages(manual, numbers)),
            ..self.search_request(&properties, numbers.len())
        };
        let patch = |(id, page): (PageId, SearchResult)| {
            let wanted = object::variant_properties(&object::parse_record(&page, id.clone()));
            let fields = Fields::new(&page);
            let is_missing =
                |(name, value): &(&str, String)| fields.text(name).unwrap_or_default() != *value;
            let missing: serde_json::Map<_, _> = wanted
                .into_iter()
                .filter(is_missing)
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            (!missing.is_empty()).then(|| (id, json!({"properties": missing})))
        };
        let found = self.search_sorted(&request)?;
        Ok(found.into_iter().filter_map(patch).collect())
    }

    /// Writes properties of pages, several at a time.
    fn write_properties(&self, patches: &[Patch]) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let write = || {
            while let Some((id, body)) = patches.get(next.fetch_add(1, Ordering::Relaxed)) {
                // A page that was removed since, or that the server refuses, must not stop the others.
                let _ = self.patch(id, body.clone())?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let writers = [(); CONCURRENCY].map(|()| scope.spawn(write));
            let result = |writer: thread::ScopedJoinHandle<'_, _>| {
                writer
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            writers.into_iter().map(result).fold(Ok(()), Result::and)
        })
    }

    fn mark_variants_current(&self) -> Result<(), Failure> {
        let path = format!("schema/{}", self.config.collection);
        let mut class = self.transport.rest(&Method::GET, &path, None)?;
        let text = class["description"].as_str().unwrap_or_default();
        if let Ok(mut info) = serde_json::from_str::<CollectionInfo>(text) {
            match self.config.tenant.as_str() {
                "" => info.variants = analysis::VERSION,
                tenant => drop(info.tenants.insert(tenant.to_owned())),
            }
            class["description"] = json!(info).to_string().into();
            self.transport.rest(&Method::PUT, &path, Some(&class))?;
        }
        Ok(())
    }
}
