//! How much of a query a text has.

use std::collections::HashSet;

use rust_stemmers::{Algorithm, Stemmer};

use super::bigrams::is_unsegmented;
use super::{line_words, query};

/// The share of the words, codes and bigrams of a query that a text has, from 0 to 1; words are compared by their stems
/// (Porter 2001), as BM25 does. 0 for a query without any.
pub fn coverage(text: &str, query_text: &str) -> f32 {
    let query = query(query_text);
    let is_bigram = |term: &&String| term.chars().all(is_unsegmented);
    let is_word = |term: &&String| !term.chars().any(is_unsegmented);
    let words = query.terms.iter().filter(is_word).chain(&query.codes);
    let wanted: HashSet<String> = words
        .chain(query.variants.iter().filter(is_bigram))
        .map(|term| stem(term))
        .collect();
    let found: HashSet<String> = line_words(text).iter().map(|word| stem(word)).collect();
    let covered = wanted.iter().filter(|term| found.contains(*term)).count();
    covered as f32 / wanted.len().max(1) as f32
}

fn stem(word: &str) -> String {
    Stemmer::create(Algorithm::English)
        .stem(&word.to_lowercase())
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_codes_and_bigrams_are_covered() {
        let text = "Replacing the filters: see E-409. 安全弁の交換";
        for (query, expected) in [
            ("how do I replace a filter?", 1.0),
            ("replace the pump", 0.5),
            ("E409", 1.0),
            ("安全弁", 1.0),
            ("排水弁", 0.0),
            ("what is this", 0.0),
            ("?", 0.0),
        ] {
            let share = coverage(text, query);
            assert!((share - expected).abs() < 1e-6, "{query}: {share}");
        }
    }
}
