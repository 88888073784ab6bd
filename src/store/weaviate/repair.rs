//! Puts back what a server's index has lost.
//!
//! A server that is killed keeps every page it acknowledged, but not every entry of its vector index: of 40 pages in two
//! calls, 1.39.3 found 20 by MUVERA and 39 by a raw index after `kill -9`, also when the kill came a minute later. It
//! does not repair this, and the same page sent again changes nothing, since equal vectors are not indexed anew. So a
//! missing page goes in with one row doubled, which moves no score, and then as it was.

use std::collections::HashSet;

use super::object::{Fields, wire_vectors};
use super::proto::{NearVector, SearchReply, SearchRequest, SearchResult, Targets};
use super::schema::VECTOR;
use super::{Weaviate, filter};
use crate::page::ManualId;
use crate::store::{Error, Index, ManualCard, ServerIndex, StoredPage, VectorUpdate, Writer};
use crate::vectors::{MultiVector, PageVectors};

/// Pages that are looked at, and sent again, at once.
const SHARE: usize = 16;
/// Pages whose encodings are looked at in one search: the server compares all of them with the query.
const AMONG: usize = 256;
/// A page is not missing when it is among so many nearest ones of its own last row.
const NEAR: usize = 50;

impl ServerIndex for Weaviate {
    fn repair(&self, manuals: &[ManualCard]) -> Result<u64, Error> {
        let Some(collection) = self.collection() else {
            return Ok(0);
        };
        let mut repaired = 0;
        for card in manuals {
            let found = self.listed(&filter::manual(&card.id), &["page_number"])?;
            let number = |result: &SearchResult| Fields::of(result).int("page_number");
            let numbers: Vec<u32> = found.iter().filter_map(number).collect();
            for numbers in numbers.chunks(AMONG) {
                let missing = match collection.index {
                    Index::Muvera => self.missing_at_once(&card.id, numbers)?,
                    Index::Raw => self.missing_one_by_one(&card.id, numbers)?,
                };
                for share in missing.chunks(SHARE) {
                    self.put_back(&card.id, share)?;
                }
                repaired += missing.len() as u64;
            }
        }
        Ok(repaired)
    }
}

impl Weaviate {
    /// A search among certain pages goes through the encodings of all of them: what is not found has none.
    fn missing_at_once(&self, manual: &ManualId, numbers: &[u32]) -> Result<Vec<u32>, Error> {
        let Some(first) = numbers.first() else {
            return Ok(Vec::new());
        };
        let Some(VectorUpdate::Replace(any)) =
            self.read(manual, &[*first])?.pop().map(|page| page.vectors)
        else {
            return Ok(Vec::new());
        };
        let last = numbers.last().copied().unwrap_or(*first);
        let range = filter::between(*first, last);
        let request = SearchRequest {
            filters: Some(filter::and(filter::manual(manual), range)),
            ..self.near(&any.vectors.last_rows(1), numbers.len())
        };
        let reply: SearchReply = self.call("Search", &request)?;
        let number = |result: &SearchResult| Fields::of(result).int("page_number");
        let found: HashSet<u32> = reply.results.iter().filter_map(number).collect();
        Ok(numbers
            .iter()
            .copied()
            .filter(|n| !found.contains(n))
            .collect())
    }

    /// With a filter a raw index compares the pages themselves. Without one, its graph finds a page by its own last row,
    /// which goes in last; pages with many doubles may be taken for missing, which does no harm.
    fn missing_one_by_one(&self, manual: &ManualId, numbers: &[u32]) -> Result<Vec<u32>, Error> {
        let mut missing = Vec::new();
        for share in numbers.chunks(SHARE) {
            for page in self.read(manual, share)? {
                let VectorUpdate::Replace(seen) = &page.vectors else {
                    continue;
                };
                let request = self.near(&seen.vectors.last_rows(1), NEAR);
                let reply: SearchReply = self.call("Search", &request)?;
                let is_it =
                    |result: &SearchResult| Fields::of(result).id().as_ref() == Some(&page.id);
                if !reply.results.iter().any(is_it) {
                    missing.push(page.id.number);
                }
            }
        }
        Ok(missing)
    }

    fn near(&self, query: &MultiVector, limit: usize) -> SearchRequest {
        SearchRequest {
            near_vector: Some(NearVector {
                targets: Some(Targets {
                    target_vectors: vec![VECTOR.to_owned()],
                }),
                vectors: vec![wire_vectors(query)],
            }),
            ..self.search(&["manual", "page_number"], limit)
        }
    }

    fn put_back(&self, manual: &ManualId, numbers: &[u32]) -> Result<(), Error> {
        let pages = self.read(manual, numbers)?;
        let detours: Vec<StoredPage> = pages.iter().cloned().map(detour).collect();
        for pages in [detours, pages] {
            for (id, verdict) in self.upsert(&pages)? {
                verdict.map_err(|why| Error::failed(&self.at, &format!("{id}: {why}")))?;
            }
        }
        Ok(())
    }

    fn read(&self, manual: &ManualId, numbers: &[u32]) -> Result<Vec<StoredPage>, Error> {
        self.share(manual, numbers)?.into_iter().collect()
    }
}

/// The same page with its last row twice. Should the way end here, its origin tells that it must be made again.
fn detour(page: StoredPage) -> StoredPage {
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
