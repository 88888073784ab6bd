//! From a question to the words that are looked for.

use std::collections::HashSet;

/// English words that say nothing about the page; dropped from a question unless nothing else remains.
const STOP_WORDS: &str = "
a about an and any are as at be been but by can could did do does for from get had has have how i if in into is it its \
me my no not of on or our should so that the their them then there these they this to was we were what when where \
which who why will with would you your";

/// More words than any question has; pasted chapters are cut here.
const MOST_WORDS: usize = 256;

/// The terms of a question, lower case: its words and their parts, without stop words; none when it has no word.
///
/// A store splits `E-104` into `e` and `104`, in pages as in questions; the part `104` is asked for as well, and finds
/// a page that spells the code otherwise.
pub(super) fn terms(question: &str) -> Vec<String> {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let question: String = question.chars().map(clean).collect();
    let words: Vec<&str> = question
        .split_whitespace()
        .filter(|w| has_letter(w))
        .collect();
    let telling: Vec<&str> = words.iter().copied().filter(|w| !is_stop_word(w)).collect();
    let words = if telling.is_empty() { words } else { telling };
    let mut seen = HashSet::new();
    words
        .into_iter()
        .flat_map(|word| std::iter::once(word).chain(parts(word)))
        .map(|term| trimmed(term).to_lowercase())
        .filter(|term| seen.insert(term.clone()))
        .take(MOST_WORDS)
        .collect()
}

fn has_letter(word: &str) -> bool {
    word.chars().any(char::is_alphanumeric)
}

fn trimmed(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

fn is_stop_word(word: &str) -> bool {
    let word = trimmed(word).to_lowercase();
    STOP_WORDS.split_ascii_whitespace().any(|stop| stop == word)
}

/// The pieces of a compound of at least two letters each; stop words are none.
fn parts(word: &str) -> impl Iterator<Item = &str> {
    word.split(|c: char| !c.is_alphanumeric())
        .filter(|part| part.chars().count() > 1 && !is_stop_word(part))
}

#[cfg(test)]
mod tests {
    use super::terms;

    #[test]
    fn words_come_with_their_parts() {
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
        for (question, expected) in cases {
            assert_eq!(terms(question), expected, "{question:?}");
        }
    }
}
