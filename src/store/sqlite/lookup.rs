//! Finds pages: MaxSim on all cores, of every page or of the best by their pooled rows, and BM25.

use rayon::prelude::*;
use rusqlite::{Connection, OptionalExtension, Result as Sql};

use super::schema::Source;
use super::{Named, Sqlite};
use crate::page::{ManualId, PageId};
use crate::store::maxsim::PreparedQuery;
use crate::store::{
    Error, Hit, Lookup, Precision, Scope, TextField, TopK, query_terms, same_width,
};
use crate::vectors::MultiVector;

/// Pages a thread takes at once, with a connection of its own.
const SHARE: usize = 32;

/// A first stage hands on so many pages for each one that is wanted …
const DEEPER: usize = 10;
/// … and at least so many.
const SHORTEST: usize = 100;

/// `INDEX` is the name of an index of words.
const BEST: &str = "
SELECT page.id, -bm25(INDEX), name, number
FROM INDEX JOIN page ON page.id = INDEX.rowid JOIN manual ON manual.id = page.manual
WHERE INDEX MATCH ?1 AND collection = ?2 AND (?3 IS NULL OR name = ?3)
ORDER BY 2 DESC, name, number";

impl Lookup for Sqlite {
    fn visual(&self, query: &MultiVector, scope: &Scope, top_k: TopK) -> Result<Vec<Hit>, Error> {
        let collection = self.prepared()?;
        same_width(collection.profile.dim, query)?;
        let mut pages = self.within_scope(&collection, scope)?;
        let sweep = |table| Sweep {
            source: &self.source,
            at: &self.at,
            question: PreparedQuery::new(query),
            kept: collection.precision,
            table,
        };
        if collection.first_stage > 1 && !top_k.exact {
            let best = sweep("first_stage").best(&pages, deeper(top_k))?;
            let mut best: Vec<usize> = best.into_iter().map(|(page, _)| page).collect();
            best.sort_unstable();
            pages = best.into_iter().map(|page| pages[page].clone()).collect();
        }
        let best = sweep("vectors").best(&pages, top_k)?;
        let found = |(page, score): (usize, f32)| (pages[page].0, score, pages[page].1.clone());
        self.hits(best.into_iter().map(found))
    }

    fn text(
        &self,
        of: TextField,
        question: &str,
        scope: &Scope,
        top_k: TopK,
    ) -> Result<Vec<Hit>, Error> {
        let collection = self.prepared()?;
        let Some(query) = query(question) else {
            return Ok(Vec::new());
        };
        let index = match of {
            TextField::TextLayer => "words",
            TextField::Description => "descriptions",
        };
        let read = || {
            let connection = self.connection();
            let mut statement = connection.prepare_cached(&BEST.replace("INDEX", index))?;
            let manual = scope.manual.as_ref().map(ManualId::as_str);
            let mut rows = statement.query((query, collection.id, manual))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let number = row.get(3)?;
                if scope.pages.contains(number) {
                    let id = PageId::new(&ManualId::new(row.get_ref(2)?.as_str()?), number);
                    found.push((row.get(0)?, row.get::<_, f64>(1)? as f32, id));
                }
            }
            Ok(found)
        };
        let best = top_k.select(Sql::at(read(), &self.at)?, |(_, _, id)| id.manual.clone());
        self.hits(best.into_iter())
    }
}

/// The query of a question in the language of FTS5: its terms, OR-ed. Each is quoted, so nothing in it is syntax, and
/// `"e-104"` is the phrase of the `e` and `104` that the tokenizer makes of it.
fn query(question: &str) -> Option<String> {
    let quoted = |term: String| format!("\"{}\"", term.replace('"', "\"\""));
    let terms: Vec<String> = query_terms::terms(question)
        .into_iter()
        .map(quoted)
        .collect();
    (!terms.is_empty()).then(|| terms.join(" OR "))
}

/// What a first stage looks for.
fn deeper(top_k: TopK) -> TopK {
    TopK {
        k: (top_k.k * DEEPER).max(SHORTEST),
        per_manual: top_k.per_manual.map(|most| most * DEEPER),
        ..top_k
    }
}

/// A pass over pages, on all cores.
struct Sweep<'a> {
    source: &'a Source,
    at: &'a str,
    question: PreparedQuery,
    kept: Precision,
    /// Where their rows lie.
    table: &'static str,
}

impl Sweep<'_> {
    /// The best of some pages, which come in order of manual and number: positions and scores, best first.
    fn best(&self, pages: &[(i64, PageId)], top_k: TopK) -> Result<Vec<(usize, f32)>, Error> {
        let mut ranked: Vec<(usize, f32)> = self
            .scores(pages)?
            .into_iter()
            .enumerate()
            .filter_map(|(page, score)| score.map(|score| (page, score)))
            .collect();
        // Equal scores rank by manual and number.
        ranked.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Ok(top_k.select(ranked, |&(page, _)| pages[page].1.manual.clone()))
    }

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
            .prepare_cached(&format!("SELECT rows FROM {} WHERE page = ?1", self.table))
            .at(self.at)?;
        let score = |(row, id): &(i64, PageId)| {
            statement
                .query_row([row], |row| {
                    Ok(self.question.score(row.get_ref(0)?.as_blob()?, self.kept))
                })
                .optional()
                .at(self.at)?
                .transpose()
                .map_err(|cause| Error::failed(self.at, &format!("{id} is damaged: {cause}")))
        };
        pages.iter().map(score).collect()
    }
}

/// What the hits of a search are made of: row id, score, page.
type Found = (i64, f32, PageId);

impl Sqlite {
    fn hits(&self, found: impl Iterator<Item = Found>) -> Result<Vec<Hit>, Error> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT label, section, text, description FROM page WHERE id = ?1")
            .at(&self.at)?;
        let hit = |(row, score, id): Found| {
            statement
                .query_row([row], |row| {
                    Ok(Hit {
                        id,
                        score,
                        label: row.get(0)?,
                        section: row.get(1)?,
                        text: row.get(2)?,
                        description: row.get(3)?,
                    })
                })
                .optional()
        };
        let hits: Sql<Vec<_>> = found.map(hit).collect();
        Ok(hits.at(&self.at)?.into_iter().flatten().collect())
    }
}
