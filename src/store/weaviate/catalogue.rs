//! Weaviate catalogue. Scans fetch a few pages at a time, so memory does not grow with the library.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::object::{parse_page, parse_record};
use super::properties::{DESCRIPTION, TEXT, TEXT_BYTES, TEXT_DIGEST, TEXT_VECTORS};
use super::proto::{
    AggregateReply, AggregateRequest, Aggregation, Filters, IntAggregation, MetadataRequest,
    PropertiesRequest, SearchReply, SearchRequest, SearchResult, SortBy,
};
use super::query::MAX_RESULTS;
use super::schema::{self, TEXT_VECTOR, VECTOR};
use super::values::Fields;
use super::{Weaviate, filter};
use crate::page::{ManualId, PageId};
use crate::store::{
    Catalogue, Error, Fingerprint, LastRun, ManualCard, ManualSummary, Scope, StoredPage,
};

/// Pages with vectors per request: some MB.
const PAGES_PER_FETCH: usize = 16;
/// Properties of a page, except those of its vectors.
const RECORD: [&str; 10] = [
    "manual",
    "page_number",
    "label",
    "section",
    TEXT,
    DESCRIPTION,
    "blank",
    "origin",
    "content",
    "thumbnail",
];
/// Properties of a page's vectors.
const GRID: [&str; 3] = ["grid_columns", "grid_rows", "places"];

/// Fetches pages of a manual by number, in order; a damaged page is an `Err` item.
type FetchPages = fn(&Weaviate, &ManualId, &[u32]) -> Result<Vec<Result<StoredPage, Error>>, Error>;

impl Catalogue for Weaviate {
    fn keeps_text_vectors(&self) -> bool {
        self.takes_text_vectors()
    }

    fn cards(&self) -> Result<Vec<ManualCard>, Error> {
        if self.collection().is_none() {
            return Ok(Vec::new());
        }
        let properties = ["name", "path", "file", "render", "pages"].map(str::to_owned);
        let manuals = self.manual_objects(PropertiesRequest {
            non_ref_properties: properties.to_vec(),
            ..PropertiesRequest::default()
        })?;
        Ok(manuals.into_iter().map(|(card, _)| card).collect())
    }

    fn manuals(&self) -> Result<Vec<ManualSummary>, Error> {
        let mut manuals = Vec::new();
        if self.collection().is_none() {
            return Ok(manuals);
        }
        // A collection of an earlier version has no property of last runs, and must not be asked for it.
        let stored = self.manual_objects(PropertiesRequest {
            return_all_nonref_properties: true,
            ..PropertiesRequest::default()
        })?;
        for (card, last_run) in stored {
            let pages = filter::manual(&card.id);
            let (stored, bytes) = self.count_pages_and_bytes(pages.clone())?;
            if stored > 0 {
                let blank = self.count(filter::and(pages, filter::blank()))?;
                manuals.push(ManualSummary {
                    card,
                    stored,
                    blank: blank as u32,
                    bytes,
                    described: None,
                    last_run,
                });
            }
        }
        Ok(manuals)
    }

    fn page_with_uuid(&self, uuid: Uuid) -> Result<Option<PageId>, Error> {
        if self.collection().is_none() {
            return Ok(None);
        }
        let request = SearchRequest {
            filters: Some(filter::id(uuid)),
            ..self.search_request(&["manual", "page_number"], 1)
        };
        let found = self.search_sorted(&request)?.into_iter().next();
        Ok(found.map(|(id, _)| id))
    }

    fn fingerprints(&self, manual: &ManualId) -> Result<Vec<Fingerprint>, Error> {
        if self.collection().is_none() {
            return Ok(Vec::new());
        }
        let mut properties = vec!["page_number", "origin", "content"];
        if self.takes_text_vectors() {
            properties.push(TEXT_DIGEST);
        }
        let fingerprint = |result: &SearchResult| {
            let fields = Fields::new(result);
            Some(Fingerprint {
                text: fields.text(TEXT_DIGEST).unwrap_or_default(),
                number: fields.int("page_number")?,
                origin: fields.text("origin").unwrap_or_default(),
                content: fields.text("content").unwrap_or_default(),
            })
        };
        let found = self.list_pages(&filter::manual(manual), &properties)?;
        Ok(found.iter().filter_map(fingerprint).collect())
    }

    fn scan(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        Ok(Box::new(self.pages(scope, Self::fetch_pages)?))
    }

    fn records(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        Ok(Box::new(self.pages(scope, Self::fetch_records)?))
    }
}

impl Weaviate {
    /// Some properties of all manuals, by name.
    fn manual_objects(
        &self,
        properties: PropertiesRequest,
    ) -> Result<Vec<(ManualCard, Option<LastRun>)>, Error> {
        let mut found: Vec<(ManualCard, Option<LastRun>)> = Vec::new();
        loop {
            let request = SearchRequest {
                collection: schema::manuals(&self.config),
                properties: Some(properties.clone()),
                filters: found.last().map(|last| filter::manuals_after(&last.0.id)),
                sort_by: vec![ascending("name")],
                ..self.search_request(&[], MAX_RESULTS)
            };
            let reply: SearchReply = self.call("Search", &request)?;
            let parse = |result: &SearchResult| {
                let fields = Fields::new(result);
                Some((fields.card()?, fields.last_run()))
            };
            found.extend(reply.results.iter().filter_map(parse));
            if reply.results.len() < MAX_RESULTS {
                break;
            }
        }
        found.sort_by(|a, b| a.0.id.cmp(&b.0.id));
        Ok(found)
    }

    /// Pages of a scope, in order of manual and number.
    ///
    /// The page numbers are listed once; a page that is removed before it is fetched is skipped.
    fn pages(
        &self,
        scope: &Scope,
        read: FetchPages,
    ) -> Result<impl Iterator<Item = Result<StoredPage, Error>> + use<'_>, Error> {
        let mut groups: Vec<(ManualId, Vec<u32>)> = Vec::new();
        for manual in self.manuals_of(scope)? {
            let found = self.list_pages(&filter::manual(&manual), &["page_number"])?;
            let numbers: Vec<u32> = found
                .iter()
                .filter_map(|result| Fields::new(result).int("page_number"))
                .filter(|&n| scope.pages.contains(n))
                .collect();
            groups.extend(
                numbers
                    .chunks(PAGES_PER_FETCH)
                    .map(|chunk| (manual.clone(), chunk.to_vec())),
            );
        }
        Ok(groups.into_iter().flat_map(move |(manual, numbers)| {
            match read(self, &manual, &numbers) {
                Ok(pages) => pages,
                Err(cause) => vec![Err(cause)],
            }
        }))
    }

    /// The manuals of a scope, in order. Those that it names are not looked for: there may be many others.
    fn manuals_of(&self, scope: &Scope) -> Result<BTreeSet<ManualId>, Error> {
        Ok(match &scope.manuals[..] {
            _ if self.collection().is_none() => BTreeSet::new(),
            [] => self.cards()?.into_iter().map(|card| card.id).collect(),
            named => named.iter().cloned().collect(),
        })
    }

    /// Fetches complete pages of a manual by number, in order.
    pub(super) fn fetch_pages(
        &self,
        manual: &ManualId,
        numbers: &[u32],
    ) -> Result<Vec<Result<StoredPage, Error>>, Error> {
        let mut properties = [&RECORD[..], &GRID].concat();
        let mut vectors = vec![VECTOR.to_owned()];
        if self.takes_text_vectors() {
            properties.extend(TEXT_VECTORS);
            vectors.push(TEXT_VECTOR.to_owned());
        }
        let request = SearchRequest {
            metadata: Some(MetadataRequest {
                vectors,
                ..MetadataRequest::default()
            }),
            filters: Some(filter::pages(manual, numbers)),
            ..self.search_request(&properties, numbers.len())
        };
        let page = |(id, result): (PageId, SearchResult)| {
            parse_page(&result, id.clone()).map_err(|why| Error::damaged(&self.location, &id, why))
        };
        Ok(self
            .search_sorted(&request)?
            .into_iter()
            .map(page)
            .collect())
    }

    /// Fetches pages of a manual without their vectors, in order.
    fn fetch_records(
        &self,
        manual: &ManualId,
        numbers: &[u32],
    ) -> Result<Vec<Result<StoredPage, Error>>, Error> {
        let request = SearchRequest {
            filters: Some(filter::pages(manual, numbers)),
            ..self.search_request(&RECORD, numbers.len())
        };
        let page = |(id, result): (PageId, SearchResult)| Ok(parse_record(&result, id));
        Ok(self
            .search_sorted(&request)?
            .into_iter()
            .map(page)
            .collect())
    }

    /// Runs a search and sorts the pages by manual and number.
    pub(super) fn search_sorted(
        &self,
        request: &SearchRequest,
    ) -> Result<Vec<(PageId, SearchResult)>, Error> {
        let reply: SearchReply = self.call("Search", request)?;
        let mut pages: Vec<(PageId, SearchResult)> = reply
            .results
            .into_iter()
            .filter_map(|result| Some((Fields::new(&result).id()?, result)))
            .collect();
        pages.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(pages)
    }

    /// Some properties of all pages that match a filter, in order of number.
    pub(super) fn list_pages(
        &self,
        filters: &Filters,
        properties: &[&str],
    ) -> Result<Vec<SearchResult>, Error> {
        let mut found: Vec<SearchResult> = Vec::new();
        loop {
            let last = found
                .last()
                .and_then(|result| Fields::new(result).int("page_number"));
            let filters = match last {
                None => filters.clone(),
                Some(last) => filter::and(filters.clone(), filter::after(last)),
            };
            let request = SearchRequest {
                filters: Some(filters),
                sort_by: vec![ascending("page_number")],
                ..self.search_request(properties, MAX_RESULTS)
            };
            let reply: SearchReply = self.call("Search", &request)?;
            let is_last = reply.results.len() < MAX_RESULTS;
            found.extend(reply.results);
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Number of pages that match a filter, and the size of their vectors.
    fn count_pages_and_bytes(&self, filters: Filters) -> Result<(u32, u64), Error> {
        let sum = |property: &str| Aggregation {
            property: property.to_owned(),
            int: Some(IntAggregation { sum: true }),
        };
        let mut aggregations = vec![sum("rows")];
        aggregations.extend(self.takes_text_vectors().then(|| sum(TEXT_BYTES)));
        let request = AggregateRequest {
            collection: self.config.collection.clone(),
            tenant: self.config.tenant.clone(),
            objects_count: true,
            aggregations,
            filters: Some(filters),
        };
        let reply: AggregateReply = self.call("Aggregate", &request)?;
        let Some(single) = reply.single_result else {
            return Ok((0, 0));
        };
        let sums = single.aggregations.unwrap_or_default().aggregations;
        let sum = |property: &str| {
            let found = sums.iter().find(|found| found.property == property);
            let sum = found.and_then(|found| found.int.as_ref()?.sum);
            sum.unwrap_or(0) as u64
        };
        let row_bytes = u64::from(self.require_collection()?.profile.dim) * 2;
        let count = single.objects_count.unwrap_or(0);
        Ok((count as u32, sum("rows") * row_bytes + sum(TEXT_BYTES)))
    }
}

fn ascending(property: &str) -> SortBy {
    SortBy {
        ascending: true,
        path: vec![property.to_owned()],
    }
}
