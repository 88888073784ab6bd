//! Text for a terminal: control and invisible characters are escaped, long text is shortened to a width in columns.
//!
//! File names, PDF text, server errors and model answers may contain escape sequences and characters that hide or reorder
//! what a person reads.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Escapes text that must stay on one line, such as a name: also line ends and tabs.
pub fn line(text: &str) -> String {
    escape(text, "")
}

/// Escapes text of several lines, such as that of a page: line ends and tabs are kept.
pub fn text(text: &str) -> String {
    escape(text, "\n\t")
}

fn escape(text: &str, kept: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let in_script = [before, rest.peek().copied()]
            .into_iter()
            .flatten()
            .any(needs_format_characters);
        match c {
            c if kept.contains(c) => escaped.push(c),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            // Writing to a string cannot fail.
            c if c.is_control() => {
                let _ = write!(escaped, "\\x{:02x}", u32::from(c));
            }
            c if is_deceptive(c) || (is_format_of_scripts(c) && !in_script) => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
            }
            c => escaped.push(c),
        }
        before = Some(c);
    }
    escaped
}

/// Line separators, bidirectional embeddings, overrides and isolates, and characters that are never visible.
fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}' | '\u{2060}'..='\u{2064}'
        | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{180e}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{3164}'
        | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Joiners and directional marks: some scripts and emoji need them, elsewhere they only hide a difference.
fn is_format_of_scripts(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{61c}')
}

/// Whether a character is of a script after Latin, Greek, Cyrillic and Armenian, or an emoji.
fn needs_format_characters(c: char) -> bool {
    c >= '\u{590}' && c.is_alphanumeric()
        || c >= '\u{1f000}'
        || matches!(c, '\u{2190}'..='\u{2bff}' | '\u{fe0f}')
}

/// Width of a line in columns of a terminal: 2 for a wide character, 0 for a combining one.
pub fn width(line: &str) -> usize {
    line.width()
}

/// Shortens a line to at most `columns`, in the middle: a file name keeps its beginning and its extension.
pub fn shorten(line: &str, columns: usize) -> String {
    if width(line) <= columns {
        return line.to_owned();
    }
    let room = columns.saturating_sub(1);
    let mut head = prefix(line.chars(), room.div_ceil(2));
    let tail = prefix(line.chars().rev(), room / 2);
    let mark = if columns > 0 { "…" } else { "" };
    let tail: String = tail.chars().rev().collect();
    // Some characters are wider together than each for itself.
    loop {
        let shortened = format!("{head}{mark}{tail}");
        if width(&shortened) <= columns || head.pop().is_none() {
            return shortened;
        }
    }
}

/// JSON with the control characters escaped that JSON allows: DEL and C1. They occur in strings only.
pub fn json(text: &str) -> String {
    let is_control = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            match is_control(c) {
                true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                false => out.push(c),
            }
            out
        })
}

/// The first characters that fit into `columns`.
fn prefix(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    characters
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_names_are_escaped() {
        for (name, shown) in [
            ("red\x1b[31m\x07.pdf", r"red\x1b[31m\x07.pdf"),
            ("two\nlines\r.pdf", r"two\nlines\r.pdf"),
            ("c1 \u{9b}31m \u{7f}", r"c1 \x9b31m \x7f"),
            ("invoice\u{202e}fdp.exe", r"invoice\u{202e}fdp.exe"),
            (
                "a\u{2066}b\u{200b}c\u{feff}",
                r"a\u{2066}b\u{200b}c\u{feff}",
            ),
            ("pu\u{200d}mp", r"pu\u{200d}mp"),
            ("Wärmepumpe 热泵 – 20 °C.pdf", "Wärmepumpe 热泵 – 20 °C.pdf"),
        ] {
            assert_eq!(line(name), shown);
        }
    }

    #[test]
    fn json_has_no_control_characters_and_the_same_value() {
        let value = serde_json::json!({ "c1 \u{9b}31m \u{7f}": "ä" });
        let text = json(&value.to_string());
        assert!(
            text.contains(r"c1 \u009b31m \u007f") && text.contains('ä'),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }

    #[test]
    fn symbols_that_are_wider_together_fit() {
        let name = format!("{}.pdf", "\u{2764}\u{fe0f}".repeat(40));
        for columns in 8..60 {
            assert!(width(&shorten(&name, columns)) <= columns, "{columns}");
        }
    }

    #[test]
    fn joiners_are_kept_where_a_script_needs_them() {
        for word in ["می\u{200c}خواهم", "क्\u{200d}ष", "👩\u{200d}🔧"] {
            assert_eq!(line(word), word);
        }
    }

    #[test]
    fn text_of_a_page_keeps_its_lines() {
        assert_eq!(text("one\n\ttwo\r\x1b[2J"), "one\n\ttwo\\r\\x1b[2J");
    }

    #[test]
    fn long_lines_are_shortened_in_the_middle_by_columns() {
        assert_eq!(shorten("short.pdf", 9), "short.pdf");
        assert_eq!(
            shorten("heat-pump-manual.pdf", 11),
            "heat-…l.pdf".to_owned()
        );
        for columns in 0..12 {
            assert!(width(&shorten("热泵服务手册第二版.pdf", columns)) <= columns);
        }
    }
}
