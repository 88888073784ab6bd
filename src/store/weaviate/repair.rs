//! Index repair: indexes pages again that the server's vector index has lost.
//!
//! A server that is killed keeps every page it acknowledged, but not every entry of its vector index: of 40 pages in two
//! calls, 1.39.3 found 20 by MUVERA and 39 by a raw index after `kill -9`, also when the kill came a minute later. It
//! does not repair this, and sending the same page again changes nothing, since equal vectors are not indexed again. So a
//! missing page is written with one row doubled, which changes no score, and then in its original form.

use std::collections::{BTreeSet, HashSet};

use super::properties::TEXT_TOKENS;
use super::proto::{NearVector, SearchReply, SearchRequest, SearchResult, Targets};
use super::schema::{TEXT_VECTOR, VECTOR};
use super::values::{Fields, encode_vectors};
use super::{Weaviate, filter};
use crate::page::{ManualId, PageId};
use crate::store::{
    Error, Index, ManualCard, ServerIndex, StoredPage, TextUpdate, VectorUpdate, Writer,
};
use crate::vectors::{MultiVector, PageVectors, TextVectors};

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
        let mut missing = BTreeSet::new();
        for (name, index) in [(VECTOR, index), (TEXT_VECTOR, Index::Muvera)] {
            for numbers in self.pages_with(name, manual)?.chunks(PAGES_PER_SEARCH) {
                missing.extend(match index {
                    Index::Muvera => self.missing_from_muvera(name, manual, numbers)?,
                    Index::Raw => self.missing_from_raw(name, manual, numbers)?,
                });
            }
        }
        let missing: Vec<u32> = missing.into_iter().collect();
        for chunk in missing.chunks(PAGES_PER_FETCH) {
            self.reindex(manual, chunk)?;
        }
        Ok(missing
            .into_iter()
            .map(|number| PageId::new(manual, number))
            .collect())
    }

    /// The pages of a manual that have a named vector.
    fn pages_with(&self, name: &str, manual: &ManualId) -> Result<Vec<u32>, Error> {
        let is_text = name == TEXT_VECTOR;
        if is_text && !self.takes_text_vectors() {
            return Ok(Vec::new());
        }
        let mut properties = vec!["page_number"];
        properties.extend(is_text.then_some(TEXT_TOKENS));
        let number = |result: &SearchResult| {
            let fields = Fields::new(result);
            let has_vector = !is_text || fields.text(TEXT_TOKENS).is_some();
            fields.int("page_number").filter(|_| has_vector)
        };
        let found = self.list_pages(&filter::manual(manual), &properties)?;
        Ok(found.iter().filter_map(number).collect())
    }

    /// Finds pages missing from a MUVERA index: a filtered search scans the encodings of all its pages, so a page that is not
    /// found has none.
    fn missing_from_muvera(
        &self,
        name: &str,
        manual: &ManualId,
        numbers: &[u32],
    ) -> Result<Vec<u32>, Error> {
        let Some(first) = numbers.first() else {
            return Ok(Vec::new());
        };
        let page = self.read_pages(manual, &[*first])?.pop();
        let Some(any) = page.as_ref().and_then(|page| stored(page, name)) else {
            return Ok(Vec::new());
        };
        let request = SearchRequest {
            filters: Some(filter::pages(manual, numbers)),
            ..self.nearest_request(name, &any.last_rows(1), numbers.len())
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
    fn missing_from_raw(
        &self,
        name: &str,
        manual: &ManualId,
        numbers: &[u32],
    ) -> Result<Vec<u32>, Error> {
        let mut missing = Vec::new();
        for chunk in numbers.chunks(PAGES_PER_FETCH) {
            for page in self.read_pages(manual, chunk)? {
                let Some(stored) = stored(&page, name) else {
                    continue;
                };
                let request = self.nearest_request(name, &stored.last_rows(1), NEIGHBOURS);
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

    fn nearest_request(&self, name: &str, query: &MultiVector, limit: usize) -> SearchRequest {
        SearchRequest {
            near_vector: Some(NearVector {
                targets: Some(Targets {
                    target_vectors: vec![name.to_owned()],
                }),
                vectors: vec![encode_vectors(name, query)],
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

/// A named vector of a page.
fn stored<'a>(page: &'a StoredPage, name: &str) -> Option<&'a MultiVector> {
    match (name, &page.vectors, &page.text_vectors) {
        (VECTOR, VectorUpdate::Replace(stored), _) => Some(&stored.vectors),
        (TEXT_VECTOR, _, TextUpdate::Replace { vectors, .. }) => {
            vectors.as_ref().map(|stored| &stored.vectors)
        }
        _ => None,
    }
}

/// The page with its last rows doubled. If the repair is interrupted here, its empty origin and digests make the next run
/// embed it again.
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
        text_vectors: with_doubled_text_row(&page.text_vectors),
        ..page
    }
}

fn with_doubled_text_row(update: &TextUpdate) -> TextUpdate {
    match update {
        TextUpdate::Replace {
            vectors: Some(TextVectors { vectors, tokens }),
            words_read,
            ..
        } => TextUpdate::Replace {
            digest: String::new(),
            vectors: Some(TextVectors {
                vectors: vectors.concat(&vectors.last_rows(1)),
                tokens: tokens.iter().chain(tokens.last()).copied().collect(),
            }),
            words_read: words_read.clone(),
        },
        unchanged => unchanged.clone(),
    }
}
