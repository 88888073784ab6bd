//! Tidying what PDFium says a page's text is.

/// PDFium's mark for a hyphen at the end of a line.
const SOFT_HYPHEN: char = '\u{2}';

/// One text with plain line ends; words broken at a line end are joined; what cannot be printed is left out.
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

/// The text as one line, spaces squeezed.
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
    fn lines_are_plain_and_broken_words_whole() {
        assert_eq!(
            clean("heat ex\u{2}\r\nchanger\r\nvalve\0\r\n"),
            "heat exchanger\nvalve"
        );
    }

    #[test]
    fn a_title_is_one_line() {
        assert_eq!(line(" 1\r\n\tSafety\u{0} notes "), "1 Safety notes");
    }
}
