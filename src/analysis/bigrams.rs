//! Bigrams of scripts that put no spaces between words.
//!
//! A word of two characters or more is found by its bigrams, wherever it stands in a run. Chinese and Korean have words of
//! one character, so these are indexed alone as well.

/// Whether a character belongs to a script that puts no spaces between words, or (Hangul) between the parts of compounds.
pub(super) fn is_unsegmented(c: char) -> bool {
    is_word_character(c)
        || matches!(c,
            '\u{e01}'..='\u{e4e}' | '\u{e81}'..='\u{ece}' | '\u{edc}'..='\u{edf}' // Thai, Lao
            | '\u{1000}'..='\u{103f}' | '\u{1780}'..='\u{17d3}' // Burmese, Khmer
            | '\u{3005}'..='\u{3007}' | '\u{303b}' // iteration marks
            | '\u{3041}'..='\u{309f}' | '\u{30a1}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' // kana
            | '\u{3105}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}') // Bopomofo
}

/// Whether a character may be a word: Han and Hangul.
fn is_word_character(c: char) -> bool {
    is_hangul(c)
        || matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

fn is_hangul(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7af}')
}

/// The bigrams of a text for the index. Words go on across line ends and spaces, except in Korean, which has spaces.
pub(super) fn in_text(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut last: Option<char> = None;
    let mut spaced = false;
    for c in text.chars() {
        if is_unsegmented(c) {
            if is_word_character(c) {
                all.push(c.to_string());
            }
            if let Some(last) = last.filter(|&last| !spaced || !(is_hangul(last) || is_hangul(c))) {
                all.push(String::from_iter([last, c]));
            }
            (last, spaced) = (Some(c), false);
        } else if c.is_whitespace() {
            spaced = true;
        } else {
            last = None;
        }
    }
    all
}

/// The bigrams of a query; a character that stands alone is one itself.
pub(super) fn in_query(text: &str) -> Vec<String> {
    text.split(|c| !is_unsegmented(c))
        .flat_map(|run| {
            let chars: Vec<char> = run.chars().collect();
            match chars.len() {
                1 => vec![run.to_owned()],
                _ => chars.windows(2).map(String::from_iter).collect(),
            }
        })
        .collect()
}
