//! Weaviate search by text vectors. The rows of the query are scaled by their weights: MaxSim on the server is a sum of dot
//! products, so the score is the weighted one.

use std::collections::HashMap;

use rayon::prelude::*;

use super::object::{Fields, encode_rows, parse_text_vectors};
use super::properties::{TEXT_DIGEST, TEXT_PROFILE, TEXT_TOKENS};
use super::proto::{Filters, MetadataRequest, NearVector, SearchReply, SearchRequest, Targets};
use super::query::{candidates, ranked, scored, top};
use super::schema::TEXT_VECTOR;
use super::{Weaviate, filter};
use crate::page::{ManualId, PageId};
use crate::store::{
    Catalogue, Error, Hit, Scope, StoredPage, TextUpdate, TopK, VectorUpdate, has_text_profile,
};
use crate::vectors::{TextQuery, TextVectors};

/// Properties of a page's text vectors.
pub(super) const TEXT_VECTOR_PROPERTIES: [&str; 3] = [TEXT_DIGEST, TEXT_PROFILE, TEXT_TOKENS];
/// Pages with text vectors per request: some MB.
const PAGES_PER_FETCH: usize = 16;

impl Weaviate {
    /// Whether the collection takes text vectors.
    pub(super) fn takes_text_vectors(&self) -> bool {
        self.collection()
            .is_some_and(|found| found.has_text_vectors)
    }

    /// Whether a page has text vectors of a profile.
    pub(super) fn any_text_vectors(&self, profile: &str) -> Result<bool, Error> {
        match self.takes_text_vectors() {
            true => Ok(self.count(filter::text_profile(profile))? > 0),
            false => Ok(false),
        }
    }

    /// The best pages by the text vectors of the index, or of all pages if `top_k` is exact.
    pub(super) fn nearest_texts(
        &self,
        query: &TextQuery,
        scope: &Scope,
        top_k: TopK,
    ) -> Result<Vec<Hit>, Error> {
        if !self.takes_text_vectors() || scope.pages.is_empty() {
            return Ok(Vec::new());
        }
        let in_scope = match filter::scope(scope) {
            None => filter::text_profile(query.profile),
            Some(scope) => filter::and(scope, filter::text_profile(query.profile)),
        };
        // As in `visual`, an empty MUVERA collection must not be searched.
        let pages = self.count(in_scope.clone())?;
        if pages == 0 {
            return Ok(Vec::new());
        }
        let weights = query.weights(pages as u64, &self.pages_with_tokens(query, &in_scope)?);
        if top_k.exact {
            return self.exact_texts(query, &weights, scope, top_k);
        }
        let search = |filters: Option<Filters>| -> Result<Vec<Hit>, Error> {
            let is_filtered = filters.is_some() || top_k.per_manual.is_some();
            let mut request = SearchRequest {
                near_vector: Some(weighted(query, &weights)),
                filters,
                ..self.hits_request(scope, candidates(pages, is_filtered, top_k))
            };
            if let Some(properties) = &mut request.properties {
                properties.non_ref_properties.push(TEXT_PROFILE.to_owned());
            }
            let mut reply: SearchReply = self.call("Search", &request)?;
            reply.results.retain(|result| {
                Fields::new(result).text(TEXT_PROFILE).as_deref() == Some(query.profile)
            });
            Ok(ranked(&reply.results, top_k, |m| -m.distance))
        };
        // With a filter the server compares all pages, up to 40,000; without one it uses the index, which may have found
        // pages of another text model only.
        if filter::scope(scope).is_none() {
            let hits = search(None)?;
            if hits.len() >= top_k.k.min(pages) || top_k.per_manual.is_some() {
                return Ok(hits);
            }
        }
        search(Some(in_scope))
    }

    /// For each row of the query the number of pages with its token.
    fn pages_with_tokens(&self, query: &TextQuery, pages: &Filters) -> Result<Vec<u64>, Error> {
        let mut tokens = query.tokens.clone();
        tokens.sort_unstable();
        tokens.dedup();
        let count = |token: u16| -> Result<(u16, u64), Error> {
            let filters = filter::and(pages.clone(), filter::text_token(token));
            Ok((token, self.count(filters)? as u64))
        };
        let counts: HashMap<u16, u64> = tokens
            .into_par_iter()
            .map(count)
            .collect::<Result<_, _>>()?;
        let of_row = |token| counts.get(token).copied().unwrap_or_default();
        Ok(query.tokens.iter().map(of_row).collect())
    }

    /// Exact search: fetches every page and scores its text vectors locally.
    fn exact_texts(
        &self,
        query: &TextQuery,
        weights: &[f32],
        scope: &Scope,
        top_k: TopK,
    ) -> Result<Vec<Hit>, Error> {
        let mut hits = Vec::new();
        for page in self.scan(scope)? {
            let page = page?;
            if let Some(stored) = of_profile(&page.text_vectors, query.profile) {
                let nearest = query.nearest_tokens(stored);
                let cosines = nearest.iter().zip(weights);
                let score = cosines.map(|((_, cosine), weight)| weight * cosine).sum();
                hits.push(scored(page, score));
            }
        }
        Ok(top(hits, top_k))
    }

    /// For each page the tokens of the rows that are nearest to those of the query.
    pub(super) fn nearest_tokens_of(
        &self,
        query: &TextQuery,
        pages: &[PageId],
    ) -> Result<Vec<Vec<(u16, f32)>>, Error> {
        let stored = self.fetch_text_vectors(pages.iter())?;
        let nearest = |page: &PageId| {
            let update = stored.get(page)?;
            Some(query.nearest_tokens(of_profile(update, query.profile)?))
        };
        Ok(pages
            .iter()
            .map(|page| nearest(page).unwrap_or_default())
            .collect())
    }

    /// The stored text vectors of pages that get new vectors and keep these: the server replaces a page as a whole.
    pub(super) fn kept_text_vectors(
        &self,
        pages: &[StoredPage],
    ) -> Result<HashMap<PageId, TextUpdate>, Error> {
        let keeps = |page: &&StoredPage| {
            page.vectors != VectorUpdate::Keep && page.text_vectors == TextUpdate::Keep
        };
        self.fetch_text_vectors(pages.iter().filter(keeps).map(|page| &page.id))
    }

    /// The text vectors of those pages that are stored.
    fn fetch_text_vectors<'a>(
        &self,
        pages: impl Iterator<Item = &'a PageId>,
    ) -> Result<HashMap<PageId, TextUpdate>, Error> {
        let mut found = HashMap::new();
        if !self.takes_text_vectors() {
            return Ok(found);
        }
        let mut manuals: HashMap<&ManualId, Vec<u32>> = HashMap::new();
        for page in pages {
            manuals.entry(&page.manual).or_default().push(page.number);
        }
        for (manual, numbers) in manuals {
            for numbers in numbers.chunks(PAGES_PER_FETCH) {
                let properties = [&["manual", "page_number"][..], &TEXT_VECTOR_PROPERTIES];
                let request = SearchRequest {
                    metadata: Some(MetadataRequest {
                        vectors: vec![TEXT_VECTOR.to_owned()],
                        ..MetadataRequest::default()
                    }),
                    filters: Some(filter::pages(manual, numbers)),
                    ..self.search_request(&properties.concat(), numbers.len())
                };
                for (id, result) in self.search_sorted(&request)? {
                    let update = parse_text_vectors(&result).map_err(|why| {
                        Error::failed(&self.location, &format!("{id} is damaged: {why}"))
                    })?;
                    found.insert(id, update);
                }
            }
        }
        Ok(found)
    }
}

/// The vectors of an update if they are of a profile.
fn of_profile<'a>(update: &'a TextUpdate, profile: &str) -> Option<&'a TextVectors> {
    match update {
        TextUpdate::Replace { digest, vectors } if has_text_profile(digest, profile) => {
            vectors.as_ref()
        }
        _ => None,
    }
}

/// A search for the rows of a query, scaled by their weights.
fn weighted(query: &TextQuery, weights: &[f32]) -> NearVector {
    let rows = query.vectors.rows().zip(weights);
    let scaled = rows.flat_map(|(row, weight)| row.iter().map(move |value| value * weight));
    let scaled: Vec<f32> = scaled.collect();
    NearVector {
        targets: Some(Targets {
            target_vectors: vec![TEXT_VECTOR.to_owned()],
        }),
        vectors: vec![encode_rows(TEXT_VECTOR, &scaled, query.vectors.dim())],
    }
}
