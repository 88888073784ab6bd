//! What was probably meant by a query with words that are on no page.

use std::ops::Range;

use crate::analysis::is_stop_word;
use crate::store::{self, Lookup};

/// Maximum number of other queries.
const MAX_QUERIES: usize = 3;
/// Minimum length of a word that is looked at.
const MIN_LETTERS: usize = 4;
/// Number of words that are looked at.
const MAX_WORDS: usize = 8;

/// The query with words of the library instead of those that are on no page, the nearest spelling first; none if all its
/// words are on pages, or nothing is near those that are not. Codes are left as they are: a near code is another one.
///
/// # Errors
/// If the store fails.
pub fn did_you_mean(store: &dyn Lookup, query: &str) -> Result<Vec<String>, store::Error> {
    let mut unknown: Vec<(Range<usize>, Vec<String>)> = Vec::new();
    for range in words(query).take(MAX_WORDS) {
        let near = store.similar_words(&query[range.clone()], MAX_QUERIES)?;
        if !near.is_empty() {
            unknown.push((range, near));
        }
    }
    let count = unknown.iter().map(|(_, near)| near.len()).max();
    let queries = (0..count.unwrap_or(0)).map(|nth| {
        let mut meant = query.to_owned();
        for (range, near) in unknown.iter().rev() {
            meant.replace_range(range.clone(), &near[nth.min(near.len() - 1)]);
        }
        meant
    });
    Ok(queries.collect())
}

/// Where words stand that may be misspelt.
fn words(query: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let words = query.split_whitespace().map(|word| {
        let letters = word.trim_matches(|c: char| !c.is_alphanumeric());
        let start = letters.as_ptr().addr() - query.as_ptr().addr();
        start..start + letters.len()
    });
    words.filter(|range| {
        let word = &query[range.clone()];
        word.chars().count() >= MIN_LETTERS
            && word.chars().all(char::is_alphabetic)
            && !is_stop_word(word)
    })
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn codes_and_small_words_are_left_out() {
        let query = "How is the “presure” of E-108 relieved, by 40 psi?";
        let found: Vec<&str> = words(query).map(|range| &query[range]).collect();
        assert_eq!(found, ["presure", "relieved"]);
    }
}
