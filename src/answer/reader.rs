//! Reads an answer while it comes: its first line says whether the pages answer, the rest is text with citations.

use super::page_numbers::PageNumbers;
use crate::vlm::{REASONING_END, REASONING_START};

/// Longest first line: a longer one is no verdict.
const MAX_VERDICT: usize = 40;
/// Longest citation, with its brackets: a longer text in brackets is none.
const MAX_CITATION: usize = 24;

/// What is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Text.
    Text(String),
    /// A citation of the page with this number.
    Citation(usize),
}

/// Reads an answer in pieces of any length.
#[derive(Debug)]
pub(super) struct Reader {
    /// The pages that can be cited.
    numbers: PageNumbers,
    /// What the first line says; `None` before its end, or if it says neither.
    verdict: Option<bool>,
    /// Whether the first line was read.
    is_begun: bool,
    /// What is not decided yet: the first line, or white space and the beginning of a citation.
    held: String,
    /// Whether any text was passed on.
    has_text: bool,
    /// Citations of pages that were not sent; they are dropped.
    pub(super) foreign: u32,
}

impl Reader {
    pub(super) fn new(numbers: PageNumbers) -> Self {
        Self {
            numbers,
            verdict: None,
            is_begun: false,
            held: String::new(),
            has_text: false,
            foreign: 0,
        }
    }

    /// What the first line says: whether the pages answer the question; `None` if it says neither.
    pub(super) fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// Reads more of the answer.
    pub(super) fn push(&mut self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        if self.is_begun {
            self.push_text(text, &mut pieces);
        } else {
            self.held.push_str(text);
            self.begin(false, &mut pieces);
        }
        pieces
    }

    /// Reads what was held back at the end of the answer.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        if !self.is_begun {
            self.begin(true, &mut pieces);
        }
        let rest = std::mem::take(&mut self.held);
        self.emit(rest.trim_end(), &mut pieces);
        pieces
    }

    /// Reads the first line once it is complete.
    fn begin(&mut self, is_end: bool, pieces: &mut Vec<Piece>) {
        if !self.drop_reasoning(is_end) {
            return;
        }
        let start = self.held.len() - self.held.trim_start().len();
        let line_end = self.held[start..].find('\n').map(|end| start + end);
        if line_end.is_none() && self.held.trim_start().len() <= MAX_VERDICT && !is_end {
            return;
        }
        self.is_begun = true;
        let held = std::mem::take(&mut self.held);
        let end = line_end.unwrap_or(held.len());
        let (verdict, length) = verdict(&held[start..end]);
        self.verdict = verdict;
        self.push_text(&held[start + length..], pieces);
    }

    /// Drops the reasoning that some models write before their answer; returns whether the answer, or what may be its first
    /// line, has begun.
    fn drop_reasoning(&mut self, is_end: bool) -> bool {
        let text = self.held.trim_start();
        if let Some(reasoning) = text.strip_prefix(REASONING_START) {
            let Some((_, answer)) = reasoning.split_once(REASONING_END) else {
                // Reasoning without an end has no answer behind it.
                if is_end {
                    self.held.clear();
                }
                return is_end;
            };
            self.held = answer.to_owned();
            return true;
        }
        is_end || text.is_empty() || !REASONING_START.starts_with(text)
    }

    fn push_text(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        for c in text.chars() {
            let is_open = self.held.contains(['[', '【']);
            self.held.push(c);
            match c {
                '[' | '【' if is_open => {
                    let held = self.held.len() - c.len_utf8();
                    let before: String = self.held.drain(..held).collect();
                    self.emit(&before, pieces);
                }
                '[' | '【' => {}
                ']' | '】' if is_open => self.close(pieces),
                _ if is_open && self.held.trim_start().len() <= MAX_CITATION => {}
                c if c.is_whitespace() && !is_open => {}
                _ => {
                    let held = std::mem::take(&mut self.held);
                    self.emit(&held, pieces);
                }
            }
        }
    }

    /// Reads what was held from a bracket to its end.
    fn close(&mut self, pieces: &mut Vec<Piece>) {
        let held = std::mem::take(&mut self.held);
        let inside = held.trim_start().trim_matches(['[', ']', '【', '】', ' ']);
        let Some(numbers) = numbers(inside).filter(|n| !n.iter().all(|n| self.is_text(*n))) else {
            self.emit(&held, pieces);
            return;
        };
        for number in numbers {
            match self.numbers.position(number) {
                Some(_) => pieces.push(Piece::Citation(number)),
                None => self.foreign += 1,
            }
        }
    }

    /// Whether a number in brackets is no citation, but copied from a page.
    fn is_text(&self, number: usize) -> bool {
        self.numbers.position(number).is_none() && self.numbers.is_printed(number)
    }

    fn emit(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        let text = match self.has_text {
            true => text,
            false => text.trim_start(),
        };
        if text.is_empty() {
            return;
        }
        self.has_text = true;
        match pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => pieces.push(Piece::Text(text.to_owned())),
        }
    }
}

/// What a first line says, and the bytes of it that say so.
fn verdict(line: &str) -> (Option<bool>, usize) {
    let is_mark = |c: char| {
        matches!(
            c,
            '*' | '#' | '_' | '`' | ':' | '.' | '-' | ' ' | '\t' | '\r'
        )
    };
    let word = line.trim_start_matches(is_mark);
    let upper = word.to_ascii_uppercase();
    for (text, found) in [
        ("NOT FOUND", false),
        ("NOT_FOUND", false),
        ("NOTFOUND", false),
        ("FOUND", true),
    ] {
        let ends = upper
            .strip_prefix(text)
            .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
        if ends {
            let rest = word[text.len()..].trim_start_matches(is_mark);
            return (Some(found), line.len() - rest.len());
        }
    }
    (None, 0)
}

/// The numbers of a citation such as `1`, `1, 2` or `1-3`; `None` if the text is something else.
fn numbers(inside: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in inside.split([',', ';']) {
        let number = |text: &str| -> Option<usize> {
            let text = text.trim();
            let is_number =
                !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        };
        match part.split_once(['-', '–']) {
            None => all.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first || last - first > 9 {
                    return None;
                }
                all.extend(first..=last);
            }
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::tests::context_page;

    /// Reads an answer in pieces of `size` bytes; the text with citations as `<n>`, the verdict, and the foreign citations.
    fn read(answer: &str, size: usize) -> (String, Option<bool>, u32) {
        read_with(&["a", "b", "c"], answer, size)
    }

    /// As [`read`], from pages with these texts.
    fn read_with(texts: &[&str], answer: &str, size: usize) -> (String, Option<bool>, u32) {
        let pages: Vec<_> = texts.iter().map(|text| context_page(text)).collect();
        let mut reader = Reader::new(PageNumbers::of(&pages));
        let letters: Vec<char> = answer.chars().collect();
        let mut pieces: Vec<Piece> = Vec::new();
        for chunk in letters.chunks(size) {
            pieces.extend(reader.push(&chunk.iter().collect::<String>()));
        }
        pieces.extend(reader.finish());
        let shown = pieces.into_iter().map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Citation(n) => format!("<{n}>"),
        });
        (shown.collect(), reader.verdict(), reader.foreign)
    }

    #[test]
    fn answers_are_read_in_any_pieces() {
        for (answer, text, verdict, foreign) in [
            (
                "FOUND\nTighten to 18 Nm [1].",
                "Tighten to 18 Nm<1>.",
                Some(true),
                0,
            ),
            (
                "**FOUND**\n\nOpen [2, 3] it.\n",
                "Open<2><3> it.",
                Some(true),
                0,
            ),
            ("FOUND: 18 Nm [1]", "18 Nm<1>", Some(true), 0),
            ("NOT FOUND", "", Some(false), 0),
            (
                "Not found.\nThe pages are about pumps.",
                "The pages are about pumps.",
                Some(false),
                0,
            ),
            (
                "Set it to 5 [9]. Then [1-2] stop [4].",
                "Set it to 5. Then<1><2> stop.",
                None,
                2,
            ),
            (
                "FOUND\nPress [Enter] or a[i] [1",
                "Press [Enter] or a[i] [1",
                Some(true),
                0,
            ),
            ("FOUND\n[[1]] is 【2】", "[<1>] is<2>", Some(true), 0),
            ("Founded in 1900 [1]", "Founded in 1900<1>", None, 0),
            ("", "", None, 0),
            (
                "FOUND\n[a very long text in brackets, which is none] x",
                "[a very long text in brackets, which is none] x",
                Some(true),
                0,
            ),
        ] {
            for size in [1, 2, 3, 7, 100] {
                let expected = (text.to_owned(), verdict, foreign);
                assert_eq!(read(answer, size), expected, "{answer} by {size}");
            }
        }
    }

    #[test]
    fn reasoning_is_no_part_of_an_answer() {
        for (answer, text, verdict) in [
            ("<think>maybe [2]</think>NOT FOUND", "", Some(false)),
            (
                "\n<think>\n[2]\n</think>\n\nFOUND\nA [1].",
                "A<1>.",
                Some(true),
            ),
            ("<think>without an end [1]", "", None),
            ("<thin", "<thin", None),
            ("FOUND\n<think> [1]", "<think><1>", Some(true)),
        ] {
            for size in [1, 3, 100] {
                let expected = (text.to_owned(), verdict, 0);
                assert_eq!(read(answer, size), expected, "{answer} by {size}");
            }
        }
    }

    #[test]
    fn keys_in_brackets_are_no_citations() {
        let texts = ["Press [1] and [3].", "b"];
        for size in [1, 2, 100] {
            assert_eq!(
                read_with(&texts, "FOUND\nPress [1] and [3] [11]. See [12] [2].", size),
                ("Press [1] and [3]<11>. See<12>.".to_owned(), Some(true), 1)
            );
        }
    }
}
