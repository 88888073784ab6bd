//! Index repair: indexes pages again that the server's vector index has lost.
//!
//! A server that is killed keeps every page it acknowledged, but not every entry of its vector index: of 40 pages in two
//! calls, 1.39.3 found 20 by MUVERA and 39 by a raw index after `kill -9`, also when the kill came a minute later. It
//! does not repair this, and sending the same page again changes nothing, since equal vectors are not indexed again. So a
//! missing page is written with one row doubled, which changes no score, and then in its original form.

use std::collections::HashSet;

use super::object::{Fields, encode_vectors};
use super::proto::{NearVector, SearchReply, SearchRequest, SearchResult, Targets};
use super::schema::VECTOR;
use super::{Weaviate, filter};
use crate::page::{ManualId, PageId};
use crate::store::{Error, Index, ManualCard, ServerIndex, StoredPage, VectorUpdate, Writer};
use crate::vectors::{MultiVector, PageVectors};

/// Pages that are checked, and written again, per call.
const PAGES_PER_FETCH: usize = 16;
/// Pages whose MUVERA encodings are checked by one search: the server compares all of them with the query.
const PAGES_PER_SEARCH: usize = 256;
/// Maximum number of times that all pages are checked. After a kill, writing a page again can put others out of reach in the
/// graph of a raw index: in 2 of 100 runs some of 40 pages, in one of them 37.
const MAX_ROUNDS: usize = 5;
/// A page is indexed if it is among this many nearest neighbours of its own last row.
const NEIGHBOURS: usize = 50;

impl ServerIndex for Weaviate {
    fn repair(&self, manuals: &[ManualCard]) -> Result<u64, Error> {
        let Some(collection) = self.collection() else {
            return Ok(0);
        };
        let mut repaired = HashSet::new();
        let mut last: Vec<PageId> = Vec::new();
        for _ in 0..MAX_ROUNDS {
            let mut written = Vec::new();
            for card in manuals {
                written.extend(self.repair_manual(collection.index, &card.id)?);
            }
            if written.is_empty() || written == last {
                break;
            }
            repaired.extend(written.iter().cloned());
            last = written;
        }
        Ok(repaired.len() as u64)
    }
}

impl Weaviate {
    /// Indexes the missing pages of a manual again and returns them.
    fn repair_manual(&self, index: Index, manual: &ManualId) -> Result<Vec<PageId>, Error> {
        let found = self.list_pages(&filter::manual(manual), &["page_number"])?;
        let number = |result: &SearchResult| Fields::new(result).int("page_number");
        let numbers: Vec<u32> = found.iter().filter_map(number).collect();
        let mut repaired = Vec::new();
        for numbers in numbers.chunks(PAGES_PER_SEARCH) {
            let missing = match index {
                Index::Muvera => self.missing_from_muvera(manual, numbers)?,
                Index::Raw => self.missing_from_raw(manual, numbers)?,
            };
            for chunk in missing.chunks(PAGES_PER_FETCH) {
                self.reindex(manual, chunk)?;
            }
            repaired.extend(missing.iter().map(|&number| PageId::new(manual, number)));
        }
        Ok(repaired)
    }

    /// Finds pages missing from a MUVERA index: a filtered search scans the encodings of all its pages, so a page that is not
    /// found has none.
    fn missing_from_muvera(&self, manual: &ManualId, numbers: &[u32]) -> Result<Vec<u32>, Error> {
        let Some(first) = numbers.first() else {
            return Ok(Vec::new());
        };
        let Some(VectorUpdate::Replace(any)) = self
            .read_pages(manual, &[*first])?
            .pop()
            .map(|page| page.vectors)
        else {
            return Ok(Vec::new());
        };
        let last = numbers.last().copied().unwrap_or(*first);
        let range = filter::between(*first, last);
        let request = SearchRequest {
            filters: Some(filter::and(filter::manual(manual), range)),
            ..self.nearest_request(&any.vectors.last_rows(1), numbers.len())
        };
        let reply: SearchReply = self.call("Search", &request)?;
        let number = |result: &SearchResult| Fields::new(result).int("page_number");
        let found: HashSet<u32> = reply.results.iter().filter_map(number).collect();
        Ok(numbers
            .iter()
            .copied()
            .filter(|n| !found.contains(n))
            .collect())
    }

    /// Finds pages missing from a raw index. A filtered search would compare the stored pages; an unfiltered one uses the
    /// graph, which finds a page by its own last row, the last one inserted. Pages with many duplicates may be reported as
    /// missing, which is harmless.
    fn missing_from_raw(&self, manual: &ManualId, numbers: &[u32]) -> Result<Vec<u32>, Error> {
        let mut missing = Vec::new();
        for chunk in numbers.chunks(PAGES_PER_FETCH) {
            for page in self.read_pages(manual, chunk)? {
                let VectorUpdate::Replace(stored) = &page.vectors else {
                    continue;
                };
                let request = self.nearest_request(&stored.vectors.last_rows(1), NEIGHBOURS);
                let reply: SearchReply = self.call("Search", &request)?;
                let is_page =
                    |result: &SearchResult| Fields::new(result).id().as_ref() == Some(&page.id);
                if !reply.results.iter().any(is_page) {
                    missing.push(page.id.number);
                }
            }
        }
        Ok(missing)
    }

    fn nearest_request(&self, query: &MultiVector, limit: usize) -> SearchRequest {
        SearchRequest {
            near_vector: Some(NearVector {
                targets: Some(Targets {
                    target_vectors: vec![VECTOR.to_owned()],
                }),
                vectors: vec![encode_vectors(query)],
            }),
            ..self.search_request(&["manual", "page_number"], limit)
        }
    }

    fn reindex(&self, manual: &ManualId, numbers: &[u32]) -> Result<(), Error> {
        let pages = self.read_pages(manual, numbers)?;
        let doubled: Vec<StoredPage> = pages.iter().cloned().map(with_doubled_row).collect();
        for pages in [doubled, pages] {
            for (id, outcome) in self.upsert(&pages)? {
                outcome.map_err(|why| Error::failed(&self.location, &format!("{id}: {why}")))?;
            }
        }
        Ok(())
    }

    fn read_pages(&self, manual: &ManualId, numbers: &[u32]) -> Result<Vec<StoredPage>, Error> {
        self.fetch_pages(manual, numbers)?.into_iter().collect()
    }
}

/// The page with its last row doubled. If the repair is interrupted here, its empty origin makes the next run embed it again.
fn with_doubled_row(page: StoredPage) -> StoredPage {
    let VectorUpdate::Replace(PageVectors { vectors, patches }) = &page.vectors else {
        return page;
    };
    let doubled = PageVectors {
        vectors: vectors.concat(&vectors.last_rows(1)),
        patches: patches.extended(),
    };
    StoredPage {
        origin: String::new(),
        content: String::new(),
        vectors: VectorUpdate::Replace(doubled),
        ..page
    }
}
