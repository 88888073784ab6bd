//! Words of the text layers that are spelled like one that is on no page.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Result as Sql};

use super::{Collection, Sqlite};

/// The terms of the text index, for this connection only: stems without diacritics, in lower case.
const TERMS: &str =
    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.terms USING fts5vocab('main', 'words', 'row')";

const PAGE_WITH: &str = "
SELECT text FROM (SELECT rowid AS row FROM words WHERE words MATCH ?1) JOIN page ON page.id = row
JOIN manual ON manual.id = page.manual WHERE collection = ?2 LIMIT 1";

/// Terms whose pages are looked at for words, per word wanted.
const TERMS_PER_WORD: usize = 4;

impl Sqlite {
    /// At most `count` words of pages, the nearest first; none if the word itself is on a page, or begins one there: it is
    /// being typed.
    ///
    /// Compares the terms with the same first letter, about a twentieth of the index.
    pub(super) fn words_like(
        &self,
        collection: &Collection,
        word: &str,
        count: usize,
    ) -> Sql<Vec<String>> {
        let word = word.to_lowercase();
        let connection = self.connection();
        let page_with = |term: &str| page_with(&connection, collection, term);
        let is_read = || match self.source.has_variants() {
            true => is_variant(&connection, &word),
            false => Ok(false),
        };
        connection.execute_batch(TERMS)?;
        if page_with(&word)?.is_some() || is_read()? || is_beginning(&connection, &word)? {
            return Ok(Vec::new());
        }
        let mut found = BTreeSet::new();
        for term in near_terms(&connection, &word, count * TERMS_PER_WORD)? {
            let text = page_with(&term)?.unwrap_or_default().to_lowercase();
            let words = text.split(|c: char| !c.is_alphanumeric());
            found.extend(words.filter_map(|near| Some((errors(&word, near)?, near.to_owned()))));
        }
        Ok(found
            .into_iter()
            .map(|(_, near)| near)
            .take(count)
            .collect())
    }
}

/// The typing errors between a word and another; `None` if they are too many, a third of its letters or more than three.
fn errors(word: &str, other: &str) -> Option<usize> {
    let length = word.chars().count();
    let limit = (length / 3).min(3);
    if other.chars().count().abs_diff(length) > limit {
        return None;
    }
    let errors = strsim::damerau_levenshtein(word, other);
    (errors <= limit).then_some(errors)
}

/// The terms nearest to a word or to its beginning, since they are stems.
fn near_terms(connection: &Connection, word: &str, count: usize) -> Sql<Vec<String>> {
    // The index has no diacritics: then every term is compared.
    let first = word.chars().next().filter(char::is_ascii);
    let (from, to) = match first {
        Some(first) => (first.to_string(), format!("{first}{}", char::MAX)),
        None => (String::new(), char::MAX.to_string()),
    };
    let mut statement =
        connection.prepare_cached("SELECT term FROM temp.terms WHERE term >= ?1 AND term < ?2")?;
    let mut rows = statement.query((from, to))?;
    let mut near: Vec<(usize, String)> = Vec::new();
    while let Some(row) = rows.next()? {
        let term = row.get_ref(0)?.as_str()?;
        let length = term.chars().count();
        let beginning: String = word.chars().take(length).collect();
        let found = [errors(word, term), errors(&beginning, term)];
        if let Some(errors) = found.into_iter().flatten().min() {
            near.push((errors, term.to_owned()));
        }
    }
    near.sort();
    Ok(near.into_iter().map(|(_, term)| term).take(count).collect())
}

/// The text of a page of the collection that has the term.
fn page_with(connection: &Connection, collection: &Collection, term: &str) -> Sql<Option<String>> {
    connection
        .prepare_cached(PAGE_WITH)?
        .query_row((quoted(term), collection.id), |row| row.get(0))
        .optional()
}

/// Whether the word is one that was read from a picture, or another spelling of one on a page.
fn is_variant(connection: &Connection, word: &str) -> Sql<bool> {
    connection
        .prepare_cached("SELECT 1 FROM variants WHERE variants MATCH ?1 LIMIT 1")?
        .exists([format!("text : {}", quoted(word))])
}

/// Whether a term begins with the word.
fn is_beginning(connection: &Connection, word: &str) -> Sql<bool> {
    connection
        .prepare_cached("SELECT 1 FROM temp.terms WHERE term >= ?1 AND term < ?2 LIMIT 1")?
        .exists([word, &format!("{word}{}", char::MAX)])
}

fn quoted(term: &str) -> String {
    format!("\"{}\"", term.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::errors;

    #[test]
    fn a_third_of_the_letters_may_be_wrong() {
        for (word, other, expected) in [
            ("nitrogn", "nitrogen", Some(1)),
            ("presure", "pressure", Some(1)),
            ("vlave", "valve", Some(1)),
            ("oil", "oil", Some(0)),
            ("oil", "oils", Some(1)),
            ("ab", "ac", None),
            ("alarm", "filter", None),
        ] {
            assert_eq!(errors(word, other), expected, "{word} {other}");
        }
    }
}
