//! Weaviate search: approximate MaxSim and BM25. More candidates than `k` are requested, since the index misses some.

use super::properties::{
    DESCRIPTION, DESCRIPTION_TEXT, DESCRIPTION_VARIANTS, TEXT, TEXT_DIGEST, VARIANTS, WORDS_READ,
};
use super::proto::{
    AggregateReply, AggregateRequest, Bm25, Filters, MetadataRequest, NearVector,
    PropertiesRequest, SearchReply, SearchRequest, SearchResult, Targets,
};
use super::schema::VECTOR;
use super::values::{Fields, encode_vectors};
use super::{Weaviate, filter};
use crate::analysis;
use crate::page::PageId;
use crate::store::{
    Catalogue, Error, Hit, Lookup, Scope, StoredPage, TextField, TextUpdate, TopK, VectorUpdate,
    check_width, text_profile,
};
use crate::vectors::{MultiVector, TextQuery, max_sim};

/// Minimum number of candidates: many vectors of one page crowd others out of a short list. Without a filter the server
/// itself oversamples ten times.
const MIN_CANDIDATES: usize = 50;
/// Maximum number of candidates with a filter, where half of the matching pages are requested. MUVERA with a filter over
/// 200 pages has recall@10 0.36 with 10 candidates and 1 with 200, and it rescores twice as many as requested.
const MAX_CANDIDATES: usize = 400;
/// Maximum results of one request (`QUERY_MAXIMUM_RESULTS`).
pub(super) const MAX_RESULTS: usize = 10_000;

impl Lookup for Weaviate {
    fn visual(&self, query: &MultiVector, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error> {
        let collection = self.require_collection()?;
        check_width(collection.profile.dim, query)?;
        if top_k.exact {
            return self.exact(query, scope, top_k);
        }
        // An empty MUVERA collection must not be searched: its encoder would be fixed to the width of the query.
        let pages = self.count_in_scope(scope)?;
        if pages == 0 {
            return Ok(Vec::new());
        }
        let is_filtered = filter::scope(scope).is_some() || top_k.per_manual.is_some();
        let request = SearchRequest {
            near_vector: Some(NearVector {
                targets: Some(Targets {
                    target_vectors: vec![VECTOR.to_owned()],
                }),
                vectors: vec![encode_vectors(VECTOR, query)],
            }),
            ..self.hits_request(scope, candidates(pages, is_filtered, top_k))
        };
        let reply: SearchReply = self.call("Search", &request)?;
        // The distance is the sum of the best dot products, negated.
        Ok(ranked(&reply.results, top_k, |m| -m.distance))
    }

    fn text(
        &self,
        field: TextField,
        query: &str,
        scope: &Scope,
        top_k: TopK,
    ) -> Result<Vec<Hit>, Error> {
        let collection = self.require_collection()?;
        let query = analysis::query(query);
        let (property, variants) = match field {
            TextField::TextLayer => (TEXT, VARIANTS),
            TextField::Description if collection.has_description_text => {
                (DESCRIPTION_TEXT, DESCRIPTION_VARIANTS)
            }
            TextField::Description => return Ok(Vec::new()),
        };
        let mut properties = vec![property.to_owned()];
        if collection.has_variants {
            properties.push(variants.to_owned());
        }
        if field == TextField::TextLayer && self.takes_text_vectors() {
            properties.push(WORDS_READ.to_owned());
        }
        if query.is_empty() || scope.pages.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = (top_k.k + MIN_CANDIDATES)
            .max(top_k.per_manual.map_or(0, |_| MAX_CANDIDATES))
            .min(MAX_RESULTS);
        let request = SearchRequest {
            bm25: Some(Bm25 {
                query: query.in_text().collect::<Vec<_>>().join(" "),
                properties,
            }),
            ..self.hits_request(scope, candidates)
        };
        let reply: SearchReply = self.call("Search", &request)?;
        Ok(ranked(&reply.results, top_k, |m| m.score))
    }

    fn has_text_vectors(&self, profile: &str, scope: &Scope) -> Result<bool, Error> {
        self.any_text_vectors(profile, scope)
    }

    fn meaning(&self, query: &TextQuery, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error> {
        self.require_collection()?;
        self.nearest_texts(query, scope, top_k)
    }

    fn nearest_tokens(
        &self,
        query: &TextQuery,
        pages: &[PageId],
    ) -> Result<Vec<Vec<(u32, f32)>>, Error> {
        self.nearest_tokens_of(query, pages)
    }

    fn similar_words(&self, _word: &str, _count: usize) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

impl Weaviate {
    /// Number of pages that match a filter.
    pub(super) fn count(&self, filters: Filters) -> Result<usize, Error> {
        let request = AggregateRequest {
            collection: self.config.collection.clone(),
            tenant: self.config.tenant.clone(),
            objects_count: true,
            aggregations: Vec::new(),
            filters: Some(filters),
        };
        let reply: AggregateReply = self.call("Aggregate", &request)?;
        let count = reply.single_result.and_then(|single| single.objects_count);
        Ok(count.unwrap_or(0).try_into().unwrap_or(0))
    }

    fn count_in_scope(&self, scope: &Scope) -> Result<usize, Error> {
        if scope.pages.is_empty() {
            return Ok(0);
        }
        self.count(filter::scope(scope).unwrap_or_else(filter::all_pages))
    }

    /// A search request for the properties of a [`Hit`].
    pub(super) fn hits_request(&self, scope: &Scope, limit: usize) -> SearchRequest {
        let mut properties = vec![
            "manual",
            "page_number",
            "label",
            "section",
            TEXT,
            DESCRIPTION,
        ];
        if self.takes_text_vectors() {
            properties.extend([WORDS_READ, TEXT_DIGEST]);
        }
        SearchRequest {
            metadata: Some(MetadataRequest {
                distance: true,
                score: true,
                vectors: Vec::new(),
            }),
            filters: filter::scope(scope),
            ..self.search_request(&properties, limit)
        }
    }

    /// A search request for some properties of pages.
    pub(super) fn search_request(&self, properties: &[&str], limit: usize) -> SearchRequest {
        SearchRequest {
            collection: self.config.collection.clone(),
            tenant: self.config.tenant.clone(),
            properties: Some(PropertiesRequest {
                non_ref_properties: properties.iter().map(ToString::to_string).collect(),
                ..PropertiesRequest::default()
            }),
            limit: limit as u32,
            uses_127_api: true,
            ..SearchRequest::default()
        }
    }

    /// Exact search: fetches every page and scores its stored vectors locally; the ground truth for the recall of an index.
    fn exact(&self, query: &MultiVector, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error> {
        let mut hits = Vec::new();
        for page in self.scan(scope)? {
            let page = page?;
            if let VectorUpdate::Replace(stored) = &page.vectors {
                let score = max_sim(query, &stored.vectors);
                hits.push(scored(page, score));
            }
        }
        Ok(top(hits, top_k))
    }
}

/// The number of pages to request from a search of so many pages.
pub(super) fn candidates(pages: usize, is_filtered: bool, top_k: TopK) -> usize {
    let candidates = match is_filtered {
        true => pages.div_ceil(2).clamp(MIN_CANDIDATES, MAX_CANDIDATES),
        false => MIN_CANDIDATES,
    };
    candidates.max(top_k.k).min(MAX_RESULTS)
}

/// The hits of a reply, best first, equal ones in order of manual and page.
pub(super) fn ranked(
    results: &[SearchResult],
    top_k: TopK,
    score: impl Fn(&super::proto::MetadataResult) -> f32,
) -> Vec<Hit> {
    let hit = |result: &SearchResult| {
        let fields = Fields::new(result);
        Some(Hit {
            id: fields.id()?,
            score: result.metadata.as_ref().map(&score)?,
            label: fields.text("label"),
            section: fields.text("section"),
            text: fields.text(TEXT).unwrap_or_default(),
            description: fields.text(DESCRIPTION),
            words_read: fields.text(WORDS_READ).unwrap_or_default(),
            text_profile: fields
                .text(TEXT_DIGEST)
                .as_deref()
                .and_then(text_profile)
                .map(str::to_owned),
        })
    };
    top(results.iter().filter_map(hit).collect(), top_k)
}

/// A page with its score.
pub(super) fn scored(page: StoredPage, score: f32) -> Hit {
    let (words_read, text_profile) = match page.text_vectors {
        TextUpdate::Replace {
            digest, words_read, ..
        } => (words_read, text_profile(&digest).map(str::to_owned)),
        TextUpdate::Keep => (String::new(), None),
    };
    Hit {
        words_read,
        text_profile,
        id: page.id,
        score,
        label: page.label,
        section: page.section,
        text: page.text,
        description: page.description,
    }
}

/// The best hits, best first.
pub(super) fn top(mut hits: Vec<Hit>, top_k: TopK) -> Vec<Hit> {
    // A damaged page without a score must not come first.
    hits.retain(|hit| hit.score.is_finite());
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    top_k.select(hits, |hit| hit.id.manual.clone())
}
