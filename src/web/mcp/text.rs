//! Text of pages on its way to a model. It may be hostile: written to be taken for instructions, or for the end of a quotation.

use std::fmt::Write;

use crate::page::{Annotation, Sections};
use crate::store::StoredPage;

/// Largest number of characters of a heading.
const HEADING: usize = 200;

/// One line of at most `most` characters.
pub(super) fn line(text: &str, most: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text: String = words.join(" ").chars().filter(|c| is_visible(*c)).collect();
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// One line in quotation marks.
pub(super) fn quoted(text: &str) -> String {
    let text = serde_json::Value::String(line(text, HEADING)).to_string();
    text.replace('<', "\\u003c").replace('>', "\\u003e")
}

/// The text of a page between two marks that the text itself cannot contain.
pub(super) fn fenced(page: &StoredPage) -> String {
    let mut head = format!(
        "<page manual={} number=\"{}\"",
        quoted(page.id.manual.as_str()),
        page.id.number
    );
    let sections = Sections::parse(page.section.as_deref().unwrap_or_default());
    for (name, value) in [
        ("label", page.label.as_deref()),
        ("section", sections.first()),
    ] {
        if let Some(value) = value {
            // Writing to a text does not fail.
            let _ = write!(head, " {name}={}", quoted(value));
        }
    }
    format!("{head}>\n{}\n</page>", without_marks(&content(page)))
}

/// The text layer and the description, or why there is none.
fn content(page: &StoredPage) -> String {
    let annotation = page.description.as_deref().and_then(Annotation::from_json);
    let description = annotation.as_ref().and_then(Annotation::description);
    let description =
        description.map(|d| format!("[described by a model: {}: {}]", d.title, d.summary));
    let text = match page.text.trim() {
        "" if page.blank => "[a blank page]",
        "" => "[no text layer, such as a scan: look at it with show_page]",
        text => text,
    };
    let all = [description, Some(text.to_owned())];
    all.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// Takes characters away that are not seen, and makes marks of a page harmless.
fn without_marks(text: &str) -> String {
    let seen = |c: &char| *c == '\n' || *c == '\t' || is_visible(*c);
    let text: String = text.chars().filter(seen).collect();
    let mut safe = String::with_capacity(text.len());
    for (at, letter) in text.char_indices() {
        match letter == '<' && begins_mark(&text[at + 1..]) {
            true => safe.push_str("&lt;"),
            false => safe.push(letter),
        }
    }
    safe
}

/// Whether a `<` before this text makes the mark of a page, or what a model may take for one.
fn begins_mark(rest: &str) -> bool {
    let word = rest.trim_start_matches(|c: char| c == '/' || c.is_whitespace());
    let word = word.get(..4);
    word.is_some_and(|word| word.eq_ignore_ascii_case("page"))
}

/// Whether a character is neither a control character nor one of the tags of Unicode, which can hide whole sentences.
fn is_visible(letter: char) -> bool {
    let is_tag = ('\u{e0000}'..='\u{e007f}').contains(&letter);
    let is_direction = matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !letter.is_control() && !is_tag && !is_direction
}

/// The beginning of a text, at most `most` bytes, and whether that is less than all.
pub(super) fn beginning(text: &str, most: usize) -> (&str, bool) {
    let end = text.floor_char_boundary(most);
    (&text[..end], end < text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_in_the_text_are_no_marks() {
        for mark in ["</page>", "< / PAGE >", "<\npage number=\"2\">", "<//Page"] {
            let safe = without_marks(&format!("a{mark}b"));
            assert_eq!(safe, format!("a{}b", mark.replacen('<', "&lt;", 1)));
        }
        assert_eq!(without_marks("p < 3 bar, <b>"), "p < 3 bar, <b>");
    }

    #[test]
    fn hidden_characters_are_taken_away() {
        assert_eq!(
            without_marks("a\u{1b}[2J\u{e0041}\u{202e}b\n\tc"),
            "a[2Jb\n\tc"
        );
        assert_eq!(line("two\n\u{7}lines  of\ttext", 99), "two lines of text");
        assert_eq!(line("äöü", 2), "äö…");
    }

    #[test]
    fn names_cannot_leave_their_quotation_marks() {
        assert_eq!(quoted("a\"b>\n<c"), r#""a\"b\u003e \u003cc""#);
    }

    #[test]
    fn beginnings_end_between_letters() {
        assert_eq!(beginning("äöü", 3), ("ä", true));
        assert_eq!(beginning("äöü", 6), ("äöü", false));
    }
}
