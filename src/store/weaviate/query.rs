//! Finds pages. The server ranks; we ask for more than is wanted and cut, since its index drops some on the way.

use super::object::{Fields, wire_vectors};
use super::proto::{
    AggregateReply, AggregateRequest, Bm25, Filters, MetadataRequest, NearVector,
    PropertiesRequest, SearchReply, SearchRequest, SearchResult, Targets,
};
use super::schema::{DESCRIPTION, SAID, TEXT, VECTOR};
use super::{Weaviate, filter};
use crate::store::{
    Catalogue, Error, Hit, Lookup, Scope, TextField, TopK, VectorUpdate, query_terms, same_width,
};
use crate::vectors::{MultiVector, max_sim};

/// At least so many candidates: many vectors of one page crowd the others out of a short list. Without a filter the
/// server looks at ten times as many anyway.
const FEWEST: usize = 50;
/// With a filter half of the matching pages are asked for, at most so many. MUVERA with a filter over 200 pages finds
/// 0.36 of the best ten with 10 candidates, all of them with 200, and it rescores twice as many as it is asked for.
const MOST: usize = 400;
/// The most that a server returns at once (`QUERY_MAXIMUM_RESULTS`).
pub(super) const AT_ONCE: usize = 10_000;

impl Lookup for Weaviate {
    fn visual(&self, query: &MultiVector, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error> {
        let collection = self.prepared()?;
        same_width(collection.profile.dim, query)?;
        if top_k.exact {
            return self.exact(query, scope, top_k);
        }
        // An empty MUVERA collection must not be asked: its encoder would take the width of the query for ever.
        let pages = self.within(scope)?;
        if pages == 0 {
            return Ok(Vec::new());
        }
        let narrow = filter::of(scope).is_some() || top_k.per_manual.is_some();
        let candidates = match narrow {
            true => pages.div_ceil(2).clamp(FEWEST, MOST),
            false => FEWEST,
        };
        let candidates = candidates.max(top_k.k).min(AT_ONCE);
        let request = SearchRequest {
            near_vector: Some(NearVector {
                targets: Some(Targets {
                    target_vectors: vec![VECTOR.to_owned()],
                }),
                vectors: vec![wire_vectors(query)],
            }),
            ..self.hits(scope, candidates)
        };
        let reply: SearchReply = self.call("Search", &request)?;
        // The distance is the sum of the best dot products, negated.
        Ok(ranked(&reply.results, top_k, |m| -m.distance))
    }

    fn text(
        &self,
        of: TextField,
        question: &str,
        scope: &Scope,
        top_k: TopK,
    ) -> Result<Vec<Hit>, Error> {
        let collection = self.prepared()?;
        let terms = query_terms::terms(question);
        let property = match of {
            TextField::TextLayer => TEXT,
            TextField::Description if collection.described => SAID,
            TextField::Description => return Ok(Vec::new()),
        };
        if terms.is_empty() || scope.pages.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = (top_k.k + FEWEST)
            .max(top_k.per_manual.map_or(0, |_| MOST))
            .min(AT_ONCE);
        let request = SearchRequest {
            bm25: Some(Bm25 {
                query: terms.join(" "),
                properties: vec![property.to_owned()],
            }),
            ..self.hits(scope, candidates)
        };
        let reply: SearchReply = self.call("Search", &request)?;
        Ok(ranked(&reply.results, top_k, |m| m.score))
    }
}

impl Weaviate {
    /// How many pages a filter lets through.
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

    fn within(&self, scope: &Scope) -> Result<usize, Error> {
        if scope.pages.is_empty() {
            return Ok(0);
        }
        self.count(filter::of(scope).unwrap_or_else(filter::everything))
    }

    /// A search for pages with all that a hit tells of them.
    fn hits(&self, scope: &Scope, limit: usize) -> SearchRequest {
        let properties = [
            "manual",
            "page_number",
            "label",
            "section",
            TEXT,
            DESCRIPTION,
        ];
        SearchRequest {
            metadata: Some(MetadataRequest {
                distance: true,
                score: true,
                vectors: Vec::new(),
            }),
            filters: filter::of(scope),
            ..self.search(&properties, limit)
        }
    }

    /// A search for some properties of pages.
    pub(super) fn search(&self, properties: &[&str], limit: usize) -> SearchRequest {
        SearchRequest {
            collection: self.config.collection.clone(),
            tenant: self.config.tenant.clone(),
            properties: Some(PropertiesRequest {
                non_ref_properties: properties.iter().map(ToString::to_string).collect(),
            }),
            limit: limit as u32,
            uses_127_api: true,
            ..SearchRequest::default()
        }
    }

    /// Compares every page here, with its vectors as the server keeps them: the truth that an index is measured by.
    fn exact(&self, query: &MultiVector, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error> {
        let mut hits = Vec::new();
        for page in self.scan(scope)? {
            let page = page?;
            if let VectorUpdate::Replace(seen) = &page.vectors {
                hits.push(Hit {
                    score: max_sim(query, &seen.vectors),
                    id: page.id,
                    label: page.label,
                    section: page.section,
                    text: page.text,
                    description: page.description,
                });
            }
        }
        Ok(best(hits, top_k))
    }
}

/// The hits of an answer, best first, equal ones in order of manual and page.
fn ranked(
    results: &[SearchResult],
    top_k: TopK,
    score: impl Fn(&super::proto::MetadataResult) -> f32,
) -> Vec<Hit> {
    let hit = |result: &SearchResult| {
        let fields = Fields::of(result);
        Some(Hit {
            id: fields.id()?,
            score: result.metadata.as_ref().map(&score)?,
            label: fields.text("label"),
            section: fields.text("section"),
            text: fields.text(TEXT).unwrap_or_default(),
            description: fields.text(DESCRIPTION),
        })
    };
    best(results.iter().filter_map(hit).collect(), top_k)
}

fn best(mut hits: Vec<Hit>, top_k: TopK) -> Vec<Hit> {
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    top_k.select(hits, |hit| hit.id.manual.clone())
}
