//! Index of the variants of words and codes ([`crate::analysis`]).

use rusqlite::{Connection, Result as Sql};

use crate::analysis::variants;

/// The FTS5 index of the variants of both texts of a page, without a copy of them. They are separated by spaces; the
/// tokenizer takes every character beyond ASCII as part of a token.
pub(super) const TABLE: &str = "
CREATE VIRTUAL TABLE variants USING fts5 (
    text, description, content = '', contentless_delete = 1, tokenize = 'porter ascii'
);
CREATE TRIGGER variants_go AFTER DELETE ON page BEGIN
    DELETE FROM variants WHERE rowid = old.id;
END;
";

/// Indexes the variants of a stored page, and the words that were read from its image.
pub(super) fn index(connection: &Connection, page: i64) -> Sql<()> {
    let (text, said, words_read): (String, String, String) = connection
        .prepare_cached(
            "SELECT text, said, coalesce(words_read, '') FROM page
             LEFT JOIN text_vectors ON text_vectors.page = page.id WHERE id = ?1",
        )?
        .query_row([page], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let in_text = [variants(&text), words_read].join(" ");
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO variants (rowid, text, description) VALUES (?1, ?2, ?3)",
        )?
        .execute((page, in_text, variants(&said)))
        .map(drop)
}

/// Indexes the variants of all pages.
pub(super) fn index_all(connection: &Connection) -> Sql<()> {
    let mut pages = connection.prepare("SELECT id FROM page")?;
    let pages: Vec<i64> = pages.query_map([], |row| row.get(0))?.collect::<Sql<_>>()?;
    pages
        .into_iter()
        .try_for_each(|page| index(connection, page))
}
