//! Query analysis for BM25: terms of a query without stop words.

use std::collections::HashSet;

/// English stop words; removed from a query unless nothing else remains.
const STOP_WORDS: &str = "
a about an and any are as at be been but by can could did do does for from get had has have how i if in into is it its \
me my no not of on or our should so that the their them then there these they this to was we were what when where \
which who why will with would you your";

/// Maximum number of terms; more than a real query has, so only pasted chapters are truncated.
pub(super) const MAX_TERMS: usize = 256;

/// The terms of a query, lower case: its words and their parts, without stop words; empty if it has no word.
///
/// A store splits `E-104` into `e` and `104`, in pages as in queries; the part `104` is a term of its own, which finds
/// pages that spell the code differently.
pub(super) fn terms(query: &str) -> Vec<String> {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let query: String = query.chars().map(clean).collect();
    let words: Vec<&str> = query.split_whitespace().filter(|w| has_letter(w)).collect();
    let content_words: Vec<&str> = words.iter().copied().filter(|w| !is_stop_word(w)).collect();
    let words = if content_words.is_empty() {
        words
    } else {
        content_words
    };
    let mut seen = HashSet::new();
    words
        .into_iter()
        .flat_map(|word| std::iter::once(word).chain(parts(word)))
        .map(|term| trim_punctuation(term).to_lowercase())
        .filter(|term| seen.insert(term.clone()))
        .take(MAX_TERMS)
        .collect()
}

/// Whether a text has a word that is not a stop word.
pub(super) fn has_content_word(text: &str) -> bool {
    text.split_whitespace()
        .any(|word| has_letter(word) && !is_stop_word(word))
}

fn has_letter(word: &str) -> bool {
    word.chars().any(char::is_alphanumeric)
}

fn trim_punctuation(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// Whether a word is an English stop word, whatever its case.
pub fn is_stop_word(word: &str) -> bool {
    let word = trim_punctuation(word).to_lowercase();
    STOP_WORDS.split_ascii_whitespace().any(|stop| stop == word)
}

/// The parts of a compound that have at least two letters and are not stop words.
fn parts(word: &str) -> impl Iterator<Item = &str> {
    word.split(|c: char| !c.is_alphanumeric())
        .filter(|part| part.chars().count() > 1 && !is_stop_word(part))
}

#[cfg(test)]
mod tests {
    use super::terms;

    #[test]
    fn terms_include_the_parts_of_compounds() {
        let cases = [
            ("What does E-104 mean?", vec!["e-104", "104", "mean"]),
            ("reset  the RESET", vec!["reset"]),
            ("to be or not to be", vec!["to", "be", "or", "not"]),
            ("NEAR(", vec!["near"]),
            (r#"say "no""#, vec!["say"]),
            (r#"a"b"#, vec![r#"a"b"#]),
            ("heat-pump*", vec!["heat-pump", "heat", "pump"]),
            ("? * \" ( )", vec![]),
            ("\0\n", vec![]),
            ("", vec![]),
        ];
        for (query, expected) in cases {
            assert_eq!(terms(query), expected, "{query:?}");
        }
    }
}
