//! Clean-up of PDFium's text layer: line ends, hyphenation, control characters.

/// PDFium's mark for a hyphen at the end of a line.
const SOFT_HYPHEN: char = '\u{2}';

/// Normalises line ends to `\n`, joins words hyphenated at a line end, and removes control characters.
pub(super) fn clean(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            SOFT_HYPHEN | '\u{fffe}' => {
                while chars.next_if(|c| matches!(c, '\r' | '\n')).is_some() {}
            }
            '\r' => {
                chars.next_if_eq(&'\n');
                out.push('\n');
            }
            '\n' | '\t' => out.push(c),
            c if c.is_control() || c == '\u{ffff}' || c == '\u{feff}' => {}
            c => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// The text of a page with what was filled in and written onto it, each on lines of its own; what the page says anyway is
/// not repeated.
pub(super) fn with_additions(mut text: String, additions: &[String]) -> String {
    let mut known = format!(" {} ", line(&text));
    for addition in additions {
        let addition = clean(addition);
        let words = format!(" {} ", line(&addition));
        if words.trim().is_empty() || known.contains(&words) {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(addition.trim());
        known.push_str(&words);
    }
    text
}

/// The text as one line, with whitespace collapsed.
pub(super) fn line(raw: &str) -> String {
    let words: Vec<&str> = raw
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_normalised_and_hyphenated_words_joined() {
        assert_eq!(
            clean("heat ex\u{2}\r\nchanger\r\nvalve\0\r\n"),
            "heat exchanger\nvalve"
        );
    }

    #[test]
    fn additions_are_lines_that_are_not_repeated() {
        let additions = ["KX-77431", "bolts  to\r40 Nm", " ", "KX-77431", "KX"].map(str::to_owned);
        let text = with_additions("Tighten the\nbolts to 40 Nm".to_owned(), &additions);
        assert_eq!(text, "Tighten the\nbolts to 40 Nm\nKX-77431\nKX");
        assert_eq!(with_additions(String::new(), &additions[..1]), "KX-77431");
    }

    #[test]
    fn a_title_is_one_line() {
        assert_eq!(line(" 1\r\n\tSafety\u{0} notes "), "1 Safety notes");
    }
}
