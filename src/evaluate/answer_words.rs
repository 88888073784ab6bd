//! Comparison of an answer in sentences with the strings of a right one.

use std::collections::BTreeMap;

use super::vqa::NUMBER_WORDS;

/// Whether a text contains all strings of a right answer, with its citations or without them: keys of a panel are printed like
/// citations, such as `[1]`.
pub(super) fn is_right(text: &str, answers: &[String]) -> bool {
    let texts = [words(text), words(&without_citations(text))];
    let contains = |answer: &String| {
        let wanted = words(answer);
        let is_in = |text: &Vec<String>| text.windows(wanted.len()).any(|part| part == wanted);
        !wanted.is_empty() && texts.iter().any(is_in)
    };
    !answers.is_empty() && answers.iter().all(contains)
}

/// F1 of the words of two texts, as in SQuAD (Rajpurkar et al. 2016).
pub(super) fn token_f1(text: &str, answer: &str) -> f64 {
    let (found, wanted) = (words(text), words(answer));
    let mut left: BTreeMap<&String, usize> = BTreeMap::new();
    for word in &wanted {
        *left.entry(word).or_default() += 1;
    }
    let mut shared = 0;
    for word in &found {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    match found.len() + wanted.len() {
        0 => 0.0,
        all => 2.0 * f64::from(shared) / all as f64,
    }
}

/// A text without its citations, such as `[1]`.
pub(super) fn without_citations(text: &str) -> String {
    let mut parts = text.split('[');
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(']') {
            Some((n, after)) if !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()) => {
                rest.truncate(rest.trim_end().len());
                rest.push_str(after);
            }
            _ => {
                rest.push('[');
                rest.push_str(part);
            }
        }
    }
    rest
}

/// The words of a text for comparison, in lower case: runs of letters, numbers with their sign and decimals, and signs such as `%`.
/// Articles and punctuation are left out, number words become digits, `1,348` becomes `1348`.
fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace(['·', '⋅', '•'], "");
    let letters: Vec<char> = text.chars().collect();
    let (mut words, mut at) = (Vec::new(), 0);
    while at < letters.len() {
        let end = word_end(&letters, at);
        let word: String = letters[at..end].iter().collect();
        at = end;
        let number = NUMBER_WORDS.iter().position(|name| *name == word);
        match word.as_str() {
            "a" | "an" | "the" => {}
            _ if number.is_some() => words.extend(number.map(|n| n.to_string())),
            word if word.chars().any(|c| !is_separator(c)) => {
                words.push(without_thousands(&word.replace('−', "-")));
            }
            _ => {}
        }
    }
    words
}

/// The end of the word that begins at `start`: a run of letters, a number, or one other character.
fn word_end(letters: &[char], start: usize) -> usize {
    let is_digit = |at: usize| letters.get(at).is_some_and(char::is_ascii_digit);
    let is_after_word = start > 0 && letters[start - 1].is_alphanumeric();
    let is_sign = matches!(letters[start], '-' | '−') && is_digit(start + 1) && !is_after_word;
    let mut end = start + 1;
    if is_digit(start) || is_sign {
        while is_digit(end) || (matches!(letters.get(end), Some('.' | ',')) && is_digit(end + 1)) {
            end += 1;
        }
    } else if letters[start].is_alphabetic() {
        while letters.get(end).is_some_and(|c| c.is_alphabetic()) {
            end += 1;
        }
    }
    end
}

/// Whether a character only separates words.
fn is_separator(c: char) -> bool {
    let is_bracket = matches!(c, '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>');
    let is_quote = matches!(
        c,
        '"' | '\'' | '“' | '”' | '„' | '’' | '‘' | '`' | '*' | '_'
    );
    let is_dash = matches!(c, '-' | '−' | '–' | '—' | '\u{2011}' | '/' | '\\' | '|');
    let is_stop = matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '…');
    c.is_whitespace() || is_bracket || is_quote || is_dash || is_stop
}

/// A number without the commas between its thousands.
fn without_thousands(word: &str) -> String {
    let (whole, decimals) = word.split_once('.').unwrap_or((word, ""));
    let mut groups = whole.split(',').skip(1);
    let is_grouped = whole.contains(',') && groups.all(|group| group.len() == 3);
    match (is_grouped, decimals) {
        (false, _) => word.to_owned(),
        (true, "") => whole.replace(',', ""),
        (true, decimals) => format!("{}.{decimals}", whole.replace(',', "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_right_if_it_contains_all_strings() {
        let right = |text: &str, answers: &[&str]| {
            let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
            is_right(text, &answers)
        };
        for (text, answer) in [
            ("Wait at least 10 minutes [1].", "10 minutes"),
            ("Wait ten minutes.", "10 minutes"),
            ("Tighten to 42Nm.", "42 Nm"),
            ("Tighten to 18 N·m.", "18 Nm"),
            ("Type B [1], 30 mA [2]", "Type B, 30 mA"),
            ("Press [1] and [3].", "[1] and [3]"),
            ("It weighs 1,348 kg", "1348 kg"),
            ("The E-134, E134", "E-134"),
            ("below −108 dBm", "Below -108 dBm"),
            ("a fall of 3% or more", "3 %"),
            (
                "**Four-way valve** not shifted",
                "Four-way valve not shifted",
            ),
            ("R = 46\u{2126}", "46 Ω"),
        ] {
            assert!(right(text, &[answer]), "{text}: {answer}");
        }
        for (text, answer) in [
            ("Wait at least 10 min.", "10 minutes"),
            ("142 Nm", "42 Nm"),
            ("42 Nmm", "42 Nm"),
            ("33 V", "3.3 V"),
            ("3.30 bar", "3.3 bar"),
            ("108 dBm", "-108 dBm"),
            ("1.348 kg", "1,348 kg"),
            ("anything", ""),
        ] {
            assert!(!right(text, &[answer]), "{text}: {answer}");
        }
        assert!(right("F3, a T 4 A fuse", &["T 4 A", "F3"]));
        assert!(!right("the fuse F3", &["T 4 A", "F3"]));
        assert!(!right("the fuse F3", &[]));
    }

    #[test]
    fn f1_counts_each_word_once() {
        // 2 of 3 words are right, and 2 of 2 are found: 2 · 2 / (3 + 2).
        assert!((token_f1("valve valve closed", "closed valve") - 0.8).abs() < 1e-12);
        assert_eq!(
            (
                token_f1("", "valve"),
                token_f1("", ""),
                token_f1("oil", "valve")
            ),
            (0.0, 0.0, 0.0)
        );
    }
}
