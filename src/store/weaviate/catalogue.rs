//! Tells what is in. Pages come a few at a time, so that a library of any size passes through a small memory.

use super::object::{Fields, record, stored};
use super::proto::{
    AggregateReply, AggregateRequest, Aggregation, Filters, IntAggregation, MetadataRequest,
    SearchReply, SearchRequest, SearchResult, SortBy,
};
use super::query::AT_ONCE;
use super::schema::{self, DESCRIPTION, TEXT, VECTOR};
use super::{Weaviate, filter};
use crate::page::{ManualId, PageId};
use crate::store::{Catalogue, Error, Fingerprint, ManualCard, ManualSummary, Scope, StoredPage};

/// Pages with vectors that are fetched at once: some MB.
const SHARE: usize = 16;
/// What was stored of a page, but for what belongs to its vectors.
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
/// What belongs to the vectors of a page.
const GRID: [&str; 3] = ["grid_columns", "grid_rows", "places"];

/// Reads certain pages of a manual, in order; a broken page is an `Err` item.
type Read = fn(&Weaviate, &ManualId, &[u32]) -> Result<Vec<Result<StoredPage, Error>>, Error>;

impl Catalogue for Weaviate {
    fn cards(&self) -> Result<Vec<ManualCard>, Error> {
        if self.collection().is_none() {
            return Ok(Vec::new());
        }
        let properties = ["name", "path", "file", "render", "pages"];
        let mut cards: Vec<ManualCard> = Vec::new();
        loop {
            let request = SearchRequest {
                collection: schema::manuals(&self.config),
                filters: cards.last().map(|last| filter::named_after(&last.id)),
                sort_by: vec![ascending("name")],
                ..self.search(&properties, AT_ONCE)
            };
            let reply: SearchReply = self.call("Search", &request)?;
            let found = reply
                .results
                .iter()
                .filter_map(|result| Fields::of(result).card());
            cards.extend(found);
            if reply.results.len() < AT_ONCE {
                break;
            }
        }
        cards.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(cards)
    }

    fn manuals(&self) -> Result<Vec<ManualSummary>, Error> {
        let mut shelf = Vec::new();
        for card in self.cards()? {
            let pages = filter::manual(&card.id);
            let (stored, rows) = self.sizes(pages.clone())?;
            if stored > 0 {
                let blank = self.count(filter::and(pages, filter::blank()))?;
                shelf.push(ManualSummary {
                    card,
                    stored,
                    blank: blank as u32,
                    bytes: rows * u64::from(self.prepared()?.profile.dim) * 2,
                });
            }
        }
        Ok(shelf)
    }

    fn fingerprints(&self, manual: &ManualId) -> Result<Vec<Fingerprint>, Error> {
        if self.collection().is_none() {
            return Ok(Vec::new());
        }
        let properties = ["page_number", "origin", "content"];
        let fingerprint = |result: &SearchResult| {
            let fields = Fields::of(result);
            Some(Fingerprint {
                number: fields.int("page_number")?,
                origin: fields.text("origin").unwrap_or_default(),
                content: fields.text("content").unwrap_or_default(),
            })
        };
        let found = self.listed(&filter::manual(manual), &properties)?;
        Ok(found.iter().filter_map(fingerprint).collect())
    }

    fn scan(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        Ok(Box::new(self.pages(scope, Self::share)?))
    }

    fn records(
        &self,
        scope: &Scope,
    ) -> Result<Box<dyn Iterator<Item = Result<StoredPage, Error>> + '_>, Error> {
        Ok(Box::new(self.pages(scope, Self::share_of_records)?))
    }
}

impl Weaviate {
    /// Pages of a scope, in order of manual and number.
    ///
    /// Which pages there are is asked once; what is removed before its turn is no page any more.
    fn pages(
        &self,
        scope: &Scope,
        read: Read,
    ) -> Result<impl Iterator<Item = Result<StoredPage, Error>> + use<'_>, Error> {
        let mut shares: Vec<(ManualId, Vec<u32>)> = Vec::new();
        for card in self.cards()? {
            if scope.manual.as_ref().is_some_and(|only| *only != card.id) {
                continue;
            }
            let found = self.listed(&filter::manual(&card.id), &["page_number"])?;
            let numbers: Vec<u32> = found
                .iter()
                .filter_map(|result| Fields::of(result).int("page_number"))
                .filter(|&n| scope.pages.contains(n))
                .collect();
            shares.extend(
                numbers
                    .chunks(SHARE)
                    .map(|share| (card.id.clone(), share.to_vec())),
            );
        }
        Ok(shares.into_iter().flat_map(move |(manual, numbers)| {
            match read(self, &manual, &numbers) {
                Ok(pages) => pages,
                Err(cause) => vec![Err(cause)],
            }
        }))
    }

    /// Certain pages of a manual with everything, in order.
    pub(super) fn share(
        &self,
        manual: &ManualId,
        numbers: &[u32],
    ) -> Result<Vec<Result<StoredPage, Error>>, Error> {
        let request = SearchRequest {
            metadata: Some(MetadataRequest {
                vectors: vec![VECTOR.to_owned()],
                ..MetadataRequest::default()
            }),
            filters: Some(filter::pages(manual, numbers)),
            ..self.search(&[&RECORD[..], &GRID].concat(), numbers.len())
        };
        let page = |(id, result): (PageId, SearchResult)| {
            stored(&result, id.clone())
                .map_err(|why| Error::failed(&self.at, &format!("{id} is damaged: {why}")))
        };
        Ok(self.in_order(&request)?.into_iter().map(page).collect())
    }

    /// Certain pages of a manual without their vectors, in order.
    fn share_of_records(
        &self,
        manual: &ManualId,
        numbers: &[u32],
    ) -> Result<Vec<Result<StoredPage, Error>>, Error> {
        let request = SearchRequest {
            filters: Some(filter::pages(manual, numbers)),
            ..self.search(&RECORD, numbers.len())
        };
        let page = |(id, result): (PageId, SearchResult)| Ok(record(&result, id));
        Ok(self.in_order(&request)?.into_iter().map(page).collect())
    }

    /// The pages that a search finds, in order of manual and number.
    fn in_order(&self, request: &SearchRequest) -> Result<Vec<(PageId, SearchResult)>, Error> {
        let reply: SearchReply = self.call("Search", request)?;
        let mut pages: Vec<(PageId, SearchResult)> = reply
            .results
            .into_iter()
            .filter_map(|result| Some((Fields::of(&result).id()?, result)))
            .collect();
        pages.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(pages)
    }

    /// Some properties of all pages that a filter lets through, in order of their number.
    pub(super) fn listed(
        &self,
        filters: &Filters,
        properties: &[&str],
    ) -> Result<Vec<SearchResult>, Error> {
        let mut found: Vec<SearchResult> = Vec::new();
        loop {
            let last = found
                .last()
                .and_then(|result| Fields::of(result).int("page_number"));
            let filters = match last {
                None => filters.clone(),
                Some(last) => filter::and(filters.clone(), filter::after(last)),
            };
            let request = SearchRequest {
                filters: Some(filters),
                sort_by: vec![ascending("page_number")],
                ..self.search(properties, AT_ONCE)
            };
            let reply: SearchReply = self.call("Search", &request)?;
            let is_last = reply.results.len() < AT_ONCE;
            found.extend(reply.results);
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Pages that a filter lets through, and the vectors of all of them.
    fn sizes(&self, filters: Filters) -> Result<(u32, u64), Error> {
        let request = AggregateRequest {
            collection: self.config.collection.clone(),
            tenant: self.config.tenant.clone(),
            objects_count: true,
            aggregations: vec![Aggregation {
                property: "rows".to_owned(),
                int: Some(IntAggregation { sum: true }),
            }],
            filters: Some(filters),
        };
        let reply: AggregateReply = self.call("Aggregate", &request)?;
        let Some(single) = reply.single_result else {
            return Ok((0, 0));
        };
        let sums = single.aggregations.unwrap_or_default().aggregations;
        let rows = sums.iter().find_map(|a| a.int.as_ref()?.sum).unwrap_or(0);
        let count = single.objects_count.unwrap_or(0);
        Ok((count as u32, rows as u64))
    }
}

fn ascending(property: &str) -> SortBy {
    SortBy {
        ascending: true,
        path: vec![property.to_owned()],
    }
}
