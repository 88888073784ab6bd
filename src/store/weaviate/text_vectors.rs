//! Weaviate search by text vectors. The rows of the query are scaled by their weights: MaxSim on the server is a sum of dot
//! products, so the score is the weighted one.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::properties::{TEXT_DIGEST, TEXT_PROFILE, TEXT_VECTORS};
use super::proto::{
    Filters, MetadataRequest, NearVector, SearchReply, SearchRequest, SearchResult, Targets,
};
use super::query::{candidates, ranked, scored, top};
use super::schema::TEXT_VECTOR;
use super::text_object::parse_text_vectors;
use super::values::{Fields, encode_rows};
use super::{Weaviate, filter};
use crate::page::{ManualId, PageId};
use crate::store::{
    Catalogue, Error, Hit, Scope, StoredPage, TextUpdate, TopK, VectorUpdate, has_text_profile,
    is_made_from,
};
use crate::vectors::{TextQuery, TextVectors};

/// Pages with text vectors per request: some MB.
const PAGES_PER_FETCH: usize = 16;
/// Pages whose digests are read by one request.
const DIGESTS_PER_FETCH: usize = 256;

impl Weaviate {
    /// Whether the collection takes text vectors.
    pub(super) fn takes_text_vectors(&self) -> bool {
        self.collection()
            .is_some_and(|found| found.has_text_vectors)
    }

    /// Whether a page of a scope has text vectors of a profile.
    pub(super) fn any_text_vectors(&self, profile: &str, scope: &Scope) -> Result<bool, Error> {
        match self.takes_text_vectors() && !scope.pages.is_empty() {
            true => Ok(self.count(comparable(profile, scope))? > 0),
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
        let is_scoped = filter::scope(scope).is_some();
        let comparable = comparable(query.profile, scope);
        // As in `visual`, an empty MUVERA collection must not be searched.
        let pages = self.count(comparable.clone())?;
        if pages == 0 {
            return Ok(Vec::new());
        }
        let weights = query.weights(pages as u64, &self.pages_with_tokens(query, &comparable)?);
        if top_k.exact {
            return self.exact_texts(query, &weights, scope, top_k);
        }
        let search = |filters: Option<Filters>| {
            let is_filtered = filters.is_some() || top_k.per_manual.is_some();
            let request = SearchRequest {
                near_vector: Some(weighted(query, &weights)),
                filters,
                ..self.hits_request(&Scope::default(), candidates(pages, is_filtered, top_k))
            };
            self.search_texts(request, query.profile, top_k)
        };
        // The index may find pages of another text model only.
        let hits = match is_scoped {
            true => Vec::new(),
            false => search(None)?,
        };
        match hits.len() < top_k.k.min(pages) {
            true => search(Some(comparable)),
            false => Ok(hits),
        }
    }

    /// Searches; drops the pages that have no text vectors of a profile.
    fn search_texts(
        &self,
        mut request: SearchRequest,
        profile: &str,
        top_k: TopK,
    ) -> Result<Vec<Hit>, Error> {
        if let Some(properties) = &mut request.properties {
            properties.non_ref_properties.push(TEXT_PROFILE.to_owned());
        }
        let mut reply: SearchReply = self.call("Search", &request)?;
        let is_of_profile = |result: &SearchResult| {
            Fields::new(result).text(TEXT_PROFILE).as_deref() == Some(profile)
        };
        reply.results.retain(is_of_profile);
        // The distance is the sum of the best dot products, negated.
        Ok(ranked(&reply.results, top_k, |m| -m.distance))
    }

    /// For each row of the query the number of pages with its token.
    fn pages_with_tokens(&self, query: &TextQuery, pages: &Filters) -> Result<Vec<u64>, Error> {
        let mut tokens = query.tokens.clone();
        tokens.sort_unstable();
        tokens.dedup();
        let count = |token: u32| -> Result<(u32, u64), Error> {
            let filters = filter::and(pages.clone(), filter::text_token(token));
            Ok((token, self.count(filters)? as u64))
        };
        let counts: HashMap<u32, u64> = tokens
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
    ) -> Result<Vec<Vec<(u32, f32)>>, Error> {
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

    /// The text vectors to store again with pages that get new vectors and keep these: the server replaces a page as a
    /// whole. Those of a text or picture that has changed are left out.
    pub(super) fn kept_text_vectors(
        &self,
        pages: &[StoredPage],
    ) -> Result<HashMap<PageId, TextUpdate>, Error> {
        let keeping = pages.iter().filter(|page| {
            page.vectors != VectorUpdate::Keep && page.text_vectors == TextUpdate::Keep
        });
        let keeping: HashMap<&PageId, &StoredPage> = keeping.map(|page| (&page.id, page)).collect();
        let properties = [&TEXT_VECTORS[..], &["content"]].concat();
        let ids = keeping.keys().copied();
        let mut found = self.fetch_properties(ids, &properties, &[TEXT_VECTOR], PAGES_PER_FETCH)?;
        found.retain(|(id, result)| {
            keeping
                .get(id)
                .is_some_and(|page| !is_outdated(result, page))
        });
        self.parsed(found)
    }

    /// The pages that keep all vectors, but whose stored text vectors were made from something else.
    pub(super) fn with_outdated_text_vectors(
        &self,
        pages: &[StoredPage],
    ) -> Result<HashSet<PageId>, Error> {
        let keeping = pages.iter().filter(|page| {
            page.vectors == VectorUpdate::Keep && page.text_vectors == TextUpdate::Keep
        });
        let keeping: HashMap<&PageId, &StoredPage> = keeping.map(|page| (&page.id, page)).collect();
        let ids = keeping.keys().copied();
        let properties = [TEXT_DIGEST, "content"];
        let stored = self.fetch_properties(ids, &properties, &[], DIGESTS_PER_FETCH)?;
        let outdated = |(id, result): (PageId, SearchResult)| {
            is_outdated(&result, keeping.get(&id)?).then_some(id)
        };
        Ok(stored.into_iter().filter_map(outdated).collect())
    }

    /// The text vectors of those pages that are stored.
    fn fetch_text_vectors<'a>(
        &self,
        pages: impl Iterator<Item = &'a PageId>,
    ) -> Result<HashMap<PageId, TextUpdate>, Error> {
        let found = self.fetch_properties(pages, &TEXT_VECTORS, &[TEXT_VECTOR], PAGES_PER_FETCH)?;
        self.parsed(found)
    }

    /// The text vectors of fetched pages.
    fn parsed(
        &self,
        found: Vec<(PageId, SearchResult)>,
    ) -> Result<HashMap<PageId, TextUpdate>, Error> {
        let parse = |(id, result): (PageId, SearchResult)| match parse_text_vectors(&result) {
            Ok(update) => Ok((id, update)),
            Err(why) => Err(Error::damaged(&self.location, &id, why)),
        };
        found.into_iter().map(parse).collect()
    }

    /// Some properties and named vectors of those pages that are stored; nothing if the collection takes no text vectors.
    fn fetch_properties<'a>(
        &self,
        pages: impl Iterator<Item = &'a PageId>,
        properties: &[&str],
        vectors: &[&str],
        per_request: usize,
    ) -> Result<Vec<(PageId, SearchResult)>, Error> {
        let mut manuals: HashMap<&ManualId, Vec<u32>> = HashMap::new();
        for page in pages.filter(|_| self.takes_text_vectors()) {
            manuals.entry(&page.manual).or_default().push(page.number);
        }
        let mut found = Vec::new();
        for (manual, numbers) in manuals {
            for numbers in numbers.chunks(per_request) {
                let properties = [&["manual", "page_number"][..], properties].concat();
                let request = SearchRequest {
                    metadata: Some(MetadataRequest {
                        vectors: vectors.iter().map(ToString::to_string).collect(),
                        ..MetadataRequest::default()
                    }),
                    filters: Some(filter::pages(manual, numbers)),
                    ..self.search_request(&properties, numbers.len())
                };
                found.extend(self.search_sorted(&request)?);
            }
        }
        Ok(found)
    }
}

/// The vectors of an update if they are of a profile.
fn of_profile<'a>(update: &'a TextUpdate, profile: &str) -> Option<&'a TextVectors> {
    match update {
        TextUpdate::Replace {
            digest, vectors, ..
        } if has_text_profile(digest, profile) => vectors.as_ref(),
        _ => None,
    }
}

/// Whether a page has stored text vectors that were made from another text or picture.
fn is_outdated(stored: &SearchResult, page: &StoredPage) -> bool {
    let fields = Fields::new(stored);
    let content = fields.text("content").unwrap_or_default();
    let digest = fields.text(TEXT_DIGEST);
    digest.is_some_and(|digest| !is_made_from(&digest, &content, page))
}

/// The pages of a scope that have text vectors of a profile.
fn comparable(profile: &str, scope: &Scope) -> Filters {
    let of_profile = filter::text_profile(profile);
    match filter::scope(scope) {
        None => of_profile,
        Some(scoped) => filter::and(scoped, of_profile),
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
