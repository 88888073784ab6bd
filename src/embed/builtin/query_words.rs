//! A question as words. The rule is the one the training pages were labelled with (`train/words.py`): what is printed and
//! what is asked must be cut alike.

/// Words that say nothing about a page.
const STOP: &str = " a about after all also an and any are as at be been but by can could did do does for from had has have \
how i if in into is it its may me more most my no not of on one only or other our should so some such than that the their \
them then there these they this to used using was we were what when where which while who why will with would you your ";

/// Letters that may stand inside a word, between two others.
const JOINTS: &[char] = &['-', '.', '/', '_', '\''];

/// Longest word in letters; what is behind is cut off.
const LONGEST: usize = 24;

/// Lower case without accents, letter for letter.
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

/// Every word of a text, in order: letters and digits, and joints between two of them.
fn words(text: &str) -> Vec<String> {
    let folded: Vec<char> = text.chars().map(fold).collect();
    let solid = |i: usize| folded.get(i).is_some_and(char::is_ascii_alphanumeric);
    let mut found: Vec<String> = Vec::new();
    let mut open = false;
    for (i, &c) in folded.iter().enumerate() {
        let inside = solid(i) || (open && JOINTS.contains(&c) && solid(i + 1));
        match found.last_mut() {
            Some(word) if inside && open => word.push(c),
            _ if inside => found.push(c.to_string()),
            _ => {}
        }
        open = inside;
    }
    found
}

/// The parts of a jointed word that are worth a vector of their own.
fn parts(word: &str) -> impl Iterator<Item = &str> {
    word.split(JOINTS).filter(move |p| {
        p.len() < word.len()
            && (p.len() >= 3 || (p.len() == 2 && p.bytes().all(|b| b.is_ascii_alphabetic())))
    })
}

fn wanted(word: &str) -> bool {
    !STOP.contains(&format!(" {word} "))
        && (word.len() > 1 || word.bytes().all(|b| b.is_ascii_digit()))
}

/// What a question looks for: its words without stop words, jointed ones whole and then in parts, each once.
/// A question of nothing but stop words keeps them, and one of no word at all is the empty word.
pub(super) fn of_question(text: &str) -> Vec<String> {
    let all = words(text);
    let mut kept: Vec<String> = Vec::new();
    let mut keep = |word: &str| {
        let word = &word[..word.len().min(LONGEST)];
        if !kept.iter().any(|k| k == word) {
            kept.push(word.to_owned());
        }
    };
    for word in all.iter().filter(|w| wanted(w)) {
        keep(word);
        parts(word).filter(|p| wanted(p)).for_each(&mut keep);
    }
    if kept.is_empty() {
        kept = if all.is_empty() {
            vec![String::new()]
        } else {
            all
        };
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_as_on_the_training_pages() {
        assert_eq!(
            words("(Überdruck-Ventil), -dNOPAUSE key_value 12.5A"),
            ["uberdruck-ventil", "dnopause", "key_value", "12.5a"]
        );
        assert_eq!(
            words("foo(bar) a--b 5°C don't."),
            ["foo", "bar", "a", "b", "5", "c", "don't"]
        );
    }

    #[test]
    fn identifiers_count_whole_and_in_parts() {
        assert_eq!(
            of_question("What does the error E-104 mean?"),
            ["error", "e-104", "104", "mean"]
        );
        assert_eq!(
            of_question("anti-aliasing of M8x1.25"),
            ["anti-aliasing", "anti", "aliasing", "m8x1.25", "m8x1"]
        );
    }

    #[test]
    fn no_question_is_empty() {
        assert_eq!(of_question("what is this"), ["what", "is", "this"]);
        assert_eq!(of_question("???"), [""]);
    }
}
