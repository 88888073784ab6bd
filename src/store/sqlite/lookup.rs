//! SQLite search: parallel MaxSim over all pages or over first-stage candidates, and BM25 (FTS5).

use std::collections::HashMap;

use rayon::prelude::*;
use rusqlite::{Connection, OptionalExtension, Result as Sql};

use super::source::Source;
use super::text_vectors::TextCandidates;
use super::{Collection, Sqlite, WithLocation, names};
use crate::analysis;
use crate::page::{ManualId, PageId};
use crate::store::maxsim::{PreparedQuery, RowError};
use crate::store::{
    Error, Hit, Lookup, Precision, Scope, TextField, TopK, check_width, text_profile,
};
use crate::vectors::{MultiVector, TextQuery};

/// Pages of one parallel task.
const PAGES_PER_TASK: usize = 32;

/// Oversampling of estimates: candidates per requested page.
const OVERSAMPLING: usize = 10;
/// Minimum number of candidates.
const MIN_CANDIDATES: usize = 100;

/// `INDEX` is a placeholder for the name of an FTS5 table.
const BM25_QUERY: &str = "
SELECT page.id, -bm25(INDEX), name, number
FROM INDEX JOIN page ON page.id = INDEX.rowid JOIN manual ON manual.id = page.manual
WHERE INDEX MATCH ?1 AND collection = ?2 AND (?3 IS NULL OR name IN (SELECT value FROM json_each(?3)))
ORDER BY 2 DESC, name, number";

impl Lookup for Sqlite {
    fn visual(&self, query: &MultiVector, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error> {
        let collection = self.require_collection()?;
        check_width(collection.profile.dim, query)?;
        let mut pages = self.page_ids(&collection, scope)?;
        let query = PreparedQuery::new(query);
        let scorer = |table, score| PageScorer {
            source: &self.source,
            location: &self.location,
            query: &query,
            score,
            precision: collection.precision,
            table,
        };
        // Estimates select the pages that are scored.
        let estimated = match query.has_estimate(collection.precision) {
            _ if collection.first_stage > 1 => Some("first_stage"),
            true => Some("vectors"),
            false => None,
        };
        let candidates = oversampled(top_k);
        if let Some(table) = estimated
            && !top_k.exact
            && pages.len() > candidates.k
        {
            let best = scorer(table, PreparedQuery::estimate).top(&pages, candidates)?;
            let mut best: Vec<usize> = best.into_iter().map(|(page, _)| page).collect();
            best.sort_unstable();
            pages = best.into_iter().map(|page| pages[page].clone()).collect();
        }
        let best = scorer("vectors", PreparedQuery::score).top(&pages, top_k)?;
        self.hits(scored(&pages, best))
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
        if query.is_empty() {
            return Ok(Vec::new());
        }
        let (index, column) = match field {
            TextField::TextLayer => ("words", "text"),
            TextField::Description => ("descriptions", "description"),
        };
        let words = any_of(query.in_text());
        let variants = any_of(query.in_variants());
        let read = || {
            let mut found = self.bm25(index, &words, &collection, scope)?;
            if self.source.has_variants() && !variants.is_empty() {
                let query = format!("{column} : ({variants})");
                found = summed(found, self.bm25("variants", &query, &collection, scope)?);
            }
            Ok(found)
        };
        let best = top_k.select(Sql::with_location(read(), &self.location)?, |(_, _, id)| {
            id.manual.clone()
        });
        self.hits(best.into_iter())
    }

    fn has_text_vectors(&self, profile: &str, scope: &Scope) -> Result<bool, Error> {
        self.any_text_vectors(profile, scope)
    }

    fn meaning(&self, query: &TextQuery, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error> {
        let collection = self.require_collection()?;
        let TextCandidates { pages, weights } = self.pages_with_text(&collection, query, scope)?;
        let scorer = PageScorer {
            source: &self.source,
            location: &self.location,
            query: &PreparedQuery::weighted(query, &weights),
            score: PreparedQuery::score,
            precision: collection.text_precision,
            table: "text_vectors",
        };
        let best = scorer.top(&pages, top_k)?;
        self.hits(scored(&pages, best))
    }

    fn nearest_tokens(
        &self,
        query: &TextQuery,
        pages: &[PageId],
    ) -> Result<Vec<Vec<(u32, f32)>>, Error> {
        let collection = self.require_collection()?;
        pages
            .iter()
            .map(|page| self.nearest(&collection, query, page))
            .collect()
    }

    fn similar_words(&self, word: &str, count: usize) -> Result<Vec<String>, Error> {
        let collection = self.require_collection()?;
        self.words_like(&collection, word, count)
            .with_location(&self.location)
    }
}

/// Terms in FTS5 syntax, OR-ed. Each is quoted, so it contains no operators, and `"e-104"` is the phrase of the tokens `e`
/// and `104`.
fn any_of<'a>(terms: impl Iterator<Item = &'a str>) -> String {
    let quoted = |term: &str| format!("\"{}\"", term.replace('"', "\"\""));
    terms.map(quoted).collect::<Vec<_>>().join(" OR ")
}

/// Adds the scores of two lists of pages; best first, equal ones in order of manual and page.
fn summed(first: Vec<ScoredRow>, second: Vec<ScoredRow>) -> Vec<ScoredRow> {
    if second.is_empty() {
        return first;
    }
    let mut pages: HashMap<i64, ScoredRow> = HashMap::new();
    for (row, score, id) in first.into_iter().chain(second) {
        pages.entry(row).or_insert((row, 0.0, id)).1 += score;
    }
    let mut pages: Vec<ScoredRow> = pages.into_values().collect();
    pages.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.2.cmp(&b.2)));
    pages
}

/// The candidates that estimates select.
fn oversampled(top_k: TopK) -> TopK {
    TopK {
        k: top_k.k.saturating_mul(OVERSAMPLING).max(MIN_CANDIDATES),
        per_manual: top_k
            .per_manual
            .map(|limit| limit.saturating_mul(OVERSAMPLING)),
        ..top_k
    }
}

/// Scores pages in parallel, on all cores.
struct PageScorer<'a> {
    source: &'a Source,
    location: &'a str,
    query: &'a PreparedQuery,
    score: fn(&PreparedQuery, &[u8], Precision) -> Result<f32, RowError>,
    precision: Precision,
    /// The table of their rows: `vectors` or `first_stage`.
    table: &'static str,
}

impl PageScorer<'_> {
    /// The best of `pages`, which are sorted by manual and number: indices and scores, best first.
    fn top(&self, pages: &[(i64, PageId)], top_k: TopK) -> Result<Vec<(usize, f32)>, Error> {
        let mut ranked: Vec<(usize, f32)> = self
            .scores(pages)?
            .into_iter()
            .enumerate()
            // A damaged page without a score must not come first.
            .filter_map(|(page, score)| Some((page, score.filter(|score| score.is_finite())?)))
            .collect();
        // Equal scores rank by manual and number.
        ranked.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Ok(top_k.select(ranked, |&(page, _)| pages[page].1.manual.clone()))
    }

    /// MaxSim of each page; `None` for a page that was removed concurrently.
    fn scores(&self, pages: &[(i64, PageId)]) -> Result<Vec<Option<f32>>, Error> {
        let chunks: Vec<Vec<Option<f32>>> = pages
            .par_chunks(PAGES_PER_TASK)
            .map_init(
                || self.source.reader(),
                |reader, chunk| match reader {
                    Ok(reader) => self.score_chunk(reader, chunk),
                    Err(cause) => Err(Error::failed(self.location, &cause.to_string())),
                },
            )
            .collect::<Result<_, _>>()?;
        Ok(chunks.into_iter().flatten().collect())
    }

    fn score_chunk(
        &self,
        reader: &Connection,
        pages: &[(i64, PageId)],
    ) -> Result<Vec<Option<f32>>, Error> {
        let mut statement = reader
            .prepare_cached(&format!("SELECT rows FROM {} WHERE page = ?1", self.table))
            .with_location(self.location)?;
        let score = |(row, id): &(i64, PageId)| {
            statement
                .query_row([row], |row| {
                    let rows = row.get_ref(0)?.as_blob()?;
                    Ok((self.score)(self.query, rows, self.precision))
                })
                .optional()
                .with_location(self.location)?
                .transpose()
                .map_err(|cause| Error::damaged(self.location, id, cause))
        };
        pages.iter().map(score).collect()
    }
}

/// A scored page: row id, score, page id.
type ScoredRow = (i64, f32, PageId);

/// Scored pages from their indices and scores.
fn scored(
    pages: &[(i64, PageId)],
    best: Vec<(usize, f32)>,
) -> impl Iterator<Item = ScoredRow> + '_ {
    let found = |(page, score): (usize, f32)| (pages[page].0, score, pages[page].1.clone());
    best.into_iter().map(found)
}

impl Sqlite {
    /// Pages by BM25 over one index, best first.
    fn bm25(
        &self,
        index: &str,
        query: &str,
        collection: &Collection,
        scope: &Scope,
    ) -> Sql<Vec<ScoredRow>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&BM25_QUERY.replace("INDEX", index))?;
        let mut rows = statement.query((query, collection.id, names(scope)))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let number = row.get(3)?;
            if scope.pages.contains(number) {
                let id = PageId::new(&ManualId::new(row.get_ref(2)?.as_str()?), number);
                found.push((row.get(0)?, row.get::<_, f64>(1)? as f32, id));
            }
        }
        Ok(found)
    }

    fn hits(&self, found: impl Iterator<Item = ScoredRow>) -> Result<Vec<Hit>, Error> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT label, section, text, description, coalesce(words_read, ''), digest FROM page
                 LEFT JOIN text_vectors ON text_vectors.page = page.id WHERE id = ?1",
            )
            .with_location(&self.location)?;
        let hit = |(row, score, id): ScoredRow| {
            statement
                .query_row([row], |row| {
                    let digest: Option<String> = row.get(5)?;
                    Ok(Hit {
                        id,
                        score,
                        label: row.get(0)?,
                        section: row.get(1)?,
                        text: row.get(2)?,
                        description: row.get(3)?,
                        words_read: row.get(4)?,
                        text_profile: digest.as_deref().and_then(text_profile).map(str::to_owned),
                    })
                })
                .optional()
        };
        let hits: Sql<Vec<_>> = found.map(hit).collect();
        Ok(hits
            .with_location(&self.location)?
            .into_iter()
            .flatten()
            .collect())
    }
}
