//! Text vectors of pages, and their search: MaxSim with rows weighted by inverse document frequency.

use std::num::NonZeroUsize;

use rusqlite::{Connection, OptionalExtension, Result as Sql, Row};

use super::{Collection, Sqlite, WithLocation, names};
use crate::page::PageId;
use crate::store::{Error, Precision, Scope, StoredPage, TextUpdate, read_mark};
use crate::vectors::{MultiVector, TextQuery, TextVectors};

/// The vectors of a page's text: `digest` of what they were made from, `tokens` of the rows ([`token_bytes`]), and the rows
/// in the `text_precision` of the collection; both are empty for a text without words. `words_read` is what was read from
/// the image of a page without a text layer. All go with the text that they were made from.
pub(super) const TABLE: &str = "
CREATE TABLE text_vectors (
    page INTEGER PRIMARY KEY REFERENCES page (id) ON DELETE CASCADE, digest TEXT NOT NULL, tokens BLOB NOT NULL,
    rows BLOB NOT NULL, words_read TEXT NOT NULL DEFAULT ''
) STRICT;";

/// Removes the vectors of a text that has changed.
pub(super) const TRIGGER: &str = "
CREATE TRIGGER text_vectors_go AFTER UPDATE OF text ON page WHEN old.text <> new.text BEGIN
    DELETE FROM text_vectors WHERE page = new.id;
END;";

/// Migration of a file without text vectors, before [`TABLE`].
pub(super) const MIGRATION: &str =
    "ALTER TABLE collection ADD COLUMN text_precision TEXT NOT NULL DEFAULT '1-bit';";

/// Migration of a file with text vectors, where no page was read.
pub(super) const READ_MIGRATION: &str =
    "ALTER TABLE text_vectors ADD COLUMN words_read TEXT NOT NULL DEFAULT '';";

/// Stands for the table where a file without it cannot be migrated.
pub(super) const NO_TABLE: &str = "CREATE TEMP TABLE text_vectors (
    page INTEGER PRIMARY KEY, digest TEXT, tokens BLOB, rows BLOB, words_read TEXT);";

/// Stands for the table where a file whose pages were not read cannot be migrated.
pub(super) const NO_WORDS_READ: &str = "CREATE TEMP VIEW text_vectors AS
    SELECT page, digest, tokens, rows, '' AS words_read FROM main.text_vectors;";

/// Writes the text vectors of a page.
pub(super) fn upsert(
    connection: &Connection,
    collection: &Collection,
    page: i64,
    update: &TextUpdate,
) -> Sql<()> {
    let TextUpdate::Replace {
        digest,
        vectors,
        words_read,
    } = update
    else {
        return Ok(());
    };
    let (tokens, rows) = match vectors {
        Some(new) => (
            token_bytes(&new.tokens),
            collection.text_precision.encode(&new.vectors),
        ),
        None => (Vec::new(), Vec::new()),
    };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO text_vectors (page, digest, tokens, rows, words_read) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((page, digest, tokens, rows, words_read))
        .map(drop)
}

/// Removes the words that were read from a picture that has changed, before the page is written with [`TextUpdate::Keep`].
pub(super) fn remove_outdated(connection: &Connection, manual: i64, page: &StoredPage) -> Sql<()> {
    if page.text_vectors != TextUpdate::Keep {
        return Ok(());
    }
    connection
        .prepare_cached(
            "DELETE FROM text_vectors WHERE instr(digest, ?4) > 0
             AND page = (SELECT id FROM page WHERE manual = ?1 AND number = ?2 AND content <> ?3)",
        )?
        .execute((manual, page.id.number, &page.content, read_mark()))
        .map(drop)
}

/// Marks the high half of a token that has two.
const HIGH_HALF: u32 = 0x8000;

/// Tokens of rows, as stored: a little-endian u16 for each below [`HIGH_HALF`], which those of the English model are; two for
/// another one, its high half first.
fn token_bytes(tokens: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 * tokens.len());
    let mut push = |half: u32| bytes.extend((half as u16).to_le_bytes());
    for &token in tokens {
        if token >= HIGH_HALF {
            push(HIGH_HALF | (token >> 16));
        }
        push(token);
    }
    bytes
}

/// Reads what [`token_bytes`] wrote.
fn tokens(bytes: &[u8]) -> Vec<u32> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let mut halves = pairs
        .iter()
        .map(|pair| u32::from(u16::from_le_bytes(*pair)));
    let mut tokens = Vec::with_capacity(pairs.len());
    while let Some(half) = halves.next() {
        tokens.push(match half >= HIGH_HALF {
            true => (half & !HIGH_HALF) << 16 | halves.next().unwrap_or_default(),
            false => half,
        });
    }
    tokens
}

/// Decodes the text vectors of a page from its digest, tokens, rows and the words read; `Keep` if it never had any.
pub(super) fn decode(
    digest: Option<String>,
    token_bytes: &[u8],
    rows: &[u8],
    words_read: Option<String>,
    precision: Precision,
) -> Result<TextUpdate, String> {
    let Some(digest) = digest else {
        return Ok(TextUpdate::Keep);
    };
    let tokens = tokens(token_bytes);
    let vectors = match (tokens.len(), rows.len()) {
        (0, 0) => None,
        (0, _) => return Err("its text vectors have no tokens".to_owned()),
        (count, bytes) => {
            let dim = width(bytes / count, precision).ok_or("its text vectors are incomplete")?;
            let vectors = MultiVector::new(precision.decode(rows, dim.get()), dim)
                .map_err(|why| why.to_string())?;
            match vectors.len() == count {
                true => Some(TextVectors { vectors, tokens }),
                false => return Err(format!("it has {count} tokens of {} rows", vectors.len())),
            }
        }
    };
    Ok(TextUpdate::Replace {
        digest,
        vectors,
        words_read: words_read.unwrap_or_default(),
    })
}

/// The width of rows of a size; those of 1-bit rows are multiples of 8.
fn width(row_bytes: usize, precision: Precision) -> Option<NonZeroUsize> {
    NonZeroUsize::new(match precision {
        Precision::F16 => row_bytes / 2,
        Precision::Int8 => row_bytes.checked_sub(2)?,
        Precision::OneBit => row_bytes * 8,
    })
}

/// The pages that a search by meaning compares.
pub(super) struct TextCandidates {
    /// Row ids and ids, in order of manual and number.
    pub(super) pages: Vec<(i64, PageId)>,
    /// The weight of each query row.
    pub(super) weights: Vec<f32>,
}

impl Sqlite {
    /// Whether a page of a scope has text vectors of a profile.
    pub(super) fn any_text_vectors(&self, profile: &str, scope: &Scope) -> Result<bool, Error> {
        let Some(collection) = self.collection() else {
            return Ok(false);
        };
        let read = || {
            let connection = self.connection();
            let mut statement = connection.prepare_cached(
                "SELECT number FROM text_vectors JOIN page ON page.id = text_vectors.page
                 JOIN manual ON manual.id = page.manual
                 WHERE collection = ?1 AND (?3 IS NULL OR name IN (SELECT value FROM json_each(?3)))
                 AND length(tokens) > 0 AND substr(digest, 1, length(?2) + 1) = ?2 || ':'",
            )?;
            let mut rows = statement.query((collection.id, profile, names(scope)))?;
            while let Some(row) = rows.next()? {
                if scope.pages.contains(row.get(0)?) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        Sql::with_location(read(), &self.location)
    }

    /// Pages of a scope that have text vectors of the query's profile.
    pub(super) fn pages_with_text(
        &self,
        collection: &Collection,
        query: &TextQuery,
        scope: &Scope,
    ) -> Result<TextCandidates, Error> {
        let all = self.page_ids(collection, scope)?;
        let mut with_token = vec![0; query.tokens.len()];
        let mut found = Vec::with_capacity(all.len());
        let read = || -> Sql<()> {
            let connection = self.connection();
            let mut statement = connection.prepare_cached(
                "SELECT tokens FROM text_vectors WHERE page = ?1 AND length(tokens) > 0
                 AND substr(digest, 1, length(?2) + 1) = ?2 || ':'",
            )?;
            for page in all {
                let mut rows = statement.query((page.0, query.profile))?;
                let Some(row) = rows.next()? else {
                    continue;
                };
                let tokens = tokens(row.get_ref(0)?.as_blob()?);
                for (count, token) in with_token.iter_mut().zip(&query.tokens) {
                    *count += u64::from(tokens.contains(token));
                }
                found.push(page);
            }
            Ok(())
        };
        read().with_location(&self.location)?;
        let weights = query.weights(found.len() as u64, &with_token);
        Ok(TextCandidates {
            pages: found,
            weights,
        })
    }

    /// The tokens of a page's rows that are nearest to those of a query, with their cosines.
    pub(super) fn nearest(
        &self,
        collection: &Collection,
        query: &TextQuery,
        page: &PageId,
    ) -> Result<Vec<(u32, f32)>, Error> {
        let read = || {
            self.connection()
                .prepare_cached(
                    "SELECT digest, tokens, text_vectors.rows, words_read FROM text_vectors
                     JOIN page ON page.id = text_vectors.page JOIN manual ON manual.id = page.manual
                     WHERE collection = ?1 AND name = ?2 AND number = ?3
                     AND substr(digest, 1, length(?4) + 1) = ?4 || ':'",
                )?
                .query_row(
                    (
                        collection.id,
                        page.manual.as_str(),
                        page.number,
                        query.profile,
                    ),
                    |row| read_update(row, 0, collection.text_precision),
                )
                .optional()
        };
        let update = Sql::with_location(read(), &self.location)?;
        let damaged = |why: String| Error::damaged(&self.location, page, why);
        Ok(match update.transpose().map_err(damaged)? {
            Some(TextUpdate::Replace {
                vectors: Some(vectors),
                ..
            }) => query.nearest_tokens(&vectors),
            _ => Vec::new(),
        })
    }
}

/// Decodes the text vectors in the columns from `first` on: digest, tokens, rows, words read.
pub(super) fn read_update(
    row: &Row<'_>,
    first: usize,
    precision: Precision,
) -> Sql<Result<TextUpdate, String>> {
    let blob =
        |column| -> Sql<&[u8]> { Ok(row.get_ref(column)?.as_blob_or_null()?.unwrap_or_default()) };
    Ok(decode(
        row.get(first)?,
        blob(first + 1)?,
        blob(first + 2)?,
        row.get(first + 3)?,
        precision,
    ))
}
