//! Finds pages: exact MaxSim on all cores, and BM25.

use rayon::prelude::*;
use rusqlite::{Connection, OptionalExtension, Result as Sql};

use super::schema::Source;
use super::{Named, Sqlite, words};
use crate::page::{ManualId, PageId};
use crate::store::maxsim::Question;
use crate::store::{Error, Hit, Lookup, Scope};
use crate::vectors::MultiVector;

/// Pages a thread takes at once, with a connection of its own.
const SHARE: usize = 32;

const BEST: &str = "
SELECT page.id, -bm25(words), name, number
FROM words JOIN page ON page.id = words.rowid JOIN manual ON manual.id = page.manual
WHERE words MATCH ?1 AND collection = ?2 AND (?3 IS NULL OR name = ?3)
ORDER BY 2 DESC, name, number";

impl Lookup for Sqlite {
    fn visual(&self, query: &MultiVector, scope: &Scope, k: usize) -> Result<Vec<Hit>, Error> {
        let collection = self.prepared()?;
        if query.dim() != collection.profile.dim as usize {
            return Err(Error::Width {
                found: collection.profile.dim,
                made: query.dim() as u32,
            });
        }
        let pages = self.within_scope(&collection, scope)?;
        let sweep = Sweep {
            source: &self.source,
            at: &self.at,
            question: Question::new(query),
        };
        let scores = sweep.scores(&pages)?;
        let mut ranked: Vec<(usize, f32)> = scores
            .into_iter()
            .enumerate()
            .filter_map(|(page, score)| score.map(|score| (page, score)))
            .collect();
        // `pages` is in order of manual and number: equal scores rank by it.
        ranked.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let best = ranked.into_iter().take(k);
        self.hits(best.map(|(page, score)| (pages[page].0, score, pages[page].1.clone())))
    }

    fn text(&self, words: &str, scope: &Scope, k: usize) -> Result<Vec<Hit>, Error> {
        let collection = self.prepared()?;
        let Some(query) = words::query(words) else {
            return Ok(Vec::new());
        };
        let read = || {
            let connection = self.connection();
            let mut statement = connection.prepare_cached(BEST)?;
            let manual = scope.manual.as_ref().map(ManualId::as_str);
            let mut rows = statement.query((query, collection.id, manual))?;
            let mut best = Vec::new();
            while let Some(row) = rows.next()?.filter(|_| best.len() < k) {
                let number = row.get(3)?;
                if scope.pages.contains(number) {
                    let id = PageId::new(&ManualId::new(row.get_ref(2)?.as_str()?), number);
                    best.push((row.get(0)?, row.get::<_, f64>(1)? as f32, id));
                }
            }
            Ok(best)
        };
        self.hits(Sql::at(read(), &self.at)?.into_iter())
    }
}

/// A pass over pages, on all cores.
struct Sweep<'a> {
    source: &'a Source,
    at: &'a str,
    question: Question,
}

impl Sweep<'_> {
    /// MaxSim of each page; none for a page that was removed meanwhile.
    fn scores(&self, pages: &[(i64, PageId)]) -> Result<Vec<Option<f32>>, Error> {
        let shares: Vec<Vec<Option<f32>>> = pages
            .par_chunks(SHARE)
            .map_init(
                || self.source.reader(),
                |reader, share| match reader {
                    Ok(reader) => self.share(reader, share),
                    Err(cause) => Err(Error::failed(self.at, &cause.to_string())),
                },
            )
            .collect::<Result<_, _>>()?;
        Ok(shares.into_iter().flatten().collect())
    }

    fn share(
        &self,
        reader: &Connection,
        pages: &[(i64, PageId)],
    ) -> Result<Vec<Option<f32>>, Error> {
        let mut statement = reader
            .prepare_cached("SELECT f16 FROM vectors WHERE page = ?1")
            .at(self.at)?;
        let mut score = |(row, id): &(i64, PageId)| {
            statement
                .query_row([row], |row| {
                    Ok(self.question.score(row.get_ref(0)?.as_blob()?))
                })
                .optional()
                .at(self.at)?
                .transpose()
                .map_err(|cause| Error::failed(self.at, &format!("{id} is damaged: {cause}")))
        };
        pages.iter().map(|page| score(page)).collect()
    }
}

/// What the hits of a search are made of: row id, score, page.
type Found = (i64, f32, PageId);

impl Sqlite {
    fn hits(&self, found: impl Iterator<Item = Found>) -> Result<Vec<Hit>, Error> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT label, section, text FROM page WHERE id = ?1")
            .at(&self.at)?;
        let mut hit = |(row, score, id): Found| {
            statement
                .query_row([row], |row| {
                    Ok(Hit {
                        id,
                        score,
                        label: row.get(0)?,
                        section: row.get(1)?,
                        text: row.get(2)?,
                    })
                })
                .optional()
        };
        let hits: Sql<Vec<_>> = found.map(|f| hit(f)).collect();
        Ok(hits.at(&self.at)?.into_iter().flatten().collect())
    }
}
