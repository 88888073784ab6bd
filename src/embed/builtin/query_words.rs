//! Tokenization of queries into words, by the rule that labelled the training pages (`train/words.py`).

/// Stop words.
const STOP_WORDS: &str = " a about after all also an and any are as at be been but by can could did do does for from had has have \
how i if in into is it its may me more most my no not of on one only or other our should so some such than that the their \
them then there these they this to used using was we were what when where which while who why will with would you your ";

/// Characters that may connect two letters or digits within a word.
const CONNECTORS: &[char] = &['-', '.', '/', '_', '\''];

/// Letters of a word; longer words are truncated.
const MAX_LETTERS: usize = 24;

/// Lower case without accents, character by character.
fn fold(c: char) -> char {
    match c.to_lowercase().next().unwrap_or(c) {
        'à' | 'á' | 'â' | 'ä' | 'å' | 'æ' => 'a',
        'ç' => 'c',
        'è'..='ë' => 'e',
        'í' | 'î' | 'ï' => 'i',
        'ñ' => 'n',
        'ó' | 'ô' | 'ö' | 'ø' | 'œ' => 'o',
        'ß' => 's',
        'ù' | 'ú' | 'û' | 'ü' => 'u',
        other => other,
    }
}

/// All words of a text in order: letters and digits, and connectors between two of them.
fn tokenize(text: &str) -> Vec<String> {
    let folded: Vec<char> = text.chars().map(fold).collect();
    let is_alphanumeric = |i: usize| folded.get(i).is_some_and(char::is_ascii_alphanumeric);
    let mut words: Vec<String> = Vec::new();
    let mut was_in_word = false;
    for (i, &c) in folded.iter().enumerate() {
        let in_word = is_alphanumeric(i)
            || (was_in_word && CONNECTORS.contains(&c) && is_alphanumeric(i + 1));
        match words.last_mut() {
            Some(word) if in_word && was_in_word => word.push(c),
            _ if in_word => words.push(c.to_string()),
            _ => {}
        }
        was_in_word = in_word;
    }
    words
}

/// Parts of a compound word that get a vector of their own.
fn compound_parts(word: &str) -> impl Iterator<Item = &str> {
    word.split(CONNECTORS).filter(move |p| {
        p.len() < word.len()
            && (p.len() >= 3 || (p.len() == 2 && p.bytes().all(|b| b.is_ascii_alphabetic())))
    })
}

/// Whether a word gets a vector: no stop word and no single letter.
fn is_content_word(word: &str) -> bool {
    !STOP_WORDS.contains(&format!(" {word} "))
        && (word.len() > 1 || word.bytes().all(|b| b.is_ascii_digit()))
}

/// Words of a query, each once: no stop words, compound words followed by their parts.
/// A query of stop words only keeps them; a query without words is the empty word.
pub(super) fn query_words(text: &str) -> Vec<String> {
    let all = tokenize(text);
    let mut selected: Vec<String> = Vec::new();
    let mut select = |word: &str| {
        let word = &word[..word.len().min(MAX_LETTERS)];
        if !selected.iter().any(|k| k == word) {
            selected.push(word.to_owned());
        }
    };
    for word in all.iter().filter(|w| is_content_word(w)) {
        select(word);
        compound_parts(word)
            .filter(|p| is_content_word(p))
            .for_each(&mut select);
    }
    if selected.is_empty() {
        selected = if all.is_empty() {
            vec![String::new()]
        } else {
            all
        };
    }
    selected
}

/// Whether most letters of a text are Latin ones, which the model was trained on, or it has no letters at all.
pub(in crate::embed) fn can_read(text: &str) -> bool {
    let folded = text.chars().map(fold);
    let (known, unknown): (Vec<char>, Vec<char>) = folded
        .filter(|c| c.is_alphabetic() || c.is_ascii_digit())
        .partition(char::is_ascii);
    unknown.is_empty() || known.len() > unknown.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_tokenized_as_on_the_training_pages() {
        assert_eq!(
            tokenize("(Überdruck-Ventil), -dNOPAUSE key_value 12.5A"),
            ["uberdruck-ventil", "dnopause", "key_value", "12.5a"]
        );
        assert_eq!(
            tokenize("foo(bar) a--b 5°C don't."),
            ["foo", "bar", "a", "b", "5", "c", "don't"]
        );
    }

    #[test]
    fn identifiers_are_kept_whole_and_in_parts() {
        assert_eq!(
            query_words("What does the error E-104 mean?"),
            ["error", "e-104", "104", "mean"]
        );
        assert_eq!(
            query_words("anti-aliasing of M8x1.25"),
            ["anti-aliasing", "anti", "aliasing", "m8x1.25", "m8x1"]
        );
    }

    #[test]
    fn letters_of_other_scripts_cannot_be_read() {
        for readable in [
            "pump",
            "Größe",
            "naïve",
            "12 kΩ",
            "E-108エラー",
            "čerpadlo",
            "???",
            "-20 °C",
            "104",
        ] {
            assert!(can_read(readable), "{readable}");
        }
        for unreadable in [
            "説明書",
            "насос",
            "αντλία",
            "펌프",
            "คู่มือ",
            "مضخة",
            "משאבה",
            "説明書 3",
            "насос P1",
        ] {
            assert!(!can_read(unreadable), "{unreadable}");
        }
    }

    #[test]
    fn query_words_are_never_empty() {
        assert_eq!(query_words("what is this"), ["what", "is", "this"]);
        assert_eq!(query_words("???"), [""]);
    }
}
