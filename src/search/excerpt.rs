//! What a hit shows of its page: the line and the section that answer the query.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use crate::analysis;
use crate::page::Sections;

/// Maximum number of characters of a snippet.
const SNIPPET_LEN: usize = 120;
/// Maximum number of words read that are shown.
const MAX_WORDS_READ: usize = 8;
/// Weight of a query word in a section's title, relative to one in its text.
const TITLE_WEIGHT: usize = 2;
/// Maximum number of words that a heading on the page has more than its title in the outline.
const MAX_EXTRA_WORDS: usize = 3;

/// Cosine from which the nearest word of a page says the same as one of the query.
const MIN_COSINE: f32 = 0.5;

/// The words of a query and their weights.
#[derive(Clone)]
pub(super) struct QueryWords(Vec<(String, usize)>);

impl QueryWords {
    pub(super) fn new(query: &str) -> Self {
        let query = analysis::query(query);
        let weighted = |word: &str| {
            let has_digit = word.bytes().any(|b| b.is_ascii_digit());
            // Long words weigh more than short ones, and words with digits (`E-104`, `Q4`) most.
            let weight = word.len() * if has_digit { 4 } else { 1 };
            (word.len() > 2 || has_digit).then(|| (word.to_owned(), weight))
        };
        let words: BTreeSet<&str> = query.in_variants().collect();
        Self(words.into_iter().filter_map(weighted).collect())
    }

    /// The same with the words of a page that are nearest in meaning, with their cosines. A nearest word weighs half of what it
    /// would in the query, times its cosine.
    pub(super) fn and_nearest(&self, nearest: &[(String, f32)]) -> Self {
        let mut all = self.clone();
        for (word, cosine) in nearest.iter().filter(|(_, cosine)| *cosine >= MIN_COSINE) {
            if word.len() > 2 && all.0.iter().all(|(known, _)| known != word) {
                let weight = (word.len() as f32 * cosine / 2.0).ceil() as usize;
                all.0.push((word.clone(), weight));
            }
        }
        all
    }

    /// The weight of the query words among `words`.
    fn weight_in(&self, words: &HashSet<String>) -> usize {
        let found = self.0.iter().filter(|(word, _)| words.contains(word));
        found.map(|(_, weight)| weight).sum()
    }
}

/// Returns the line of a page's text with the most words of the query, truncated to [`SNIPPET_LEN`].
pub(super) fn snippet(text: &str, query: &QueryWords) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let best = lines
        .clone()
        .map(|line| (line, query.weight_in(&analysis::line_words(line))))
        .rev()
        .max_by_key(|(_, weight)| *weight)
        .filter(|(_, weight)| *weight > 0)
        .map(|(line, _)| line);
    let line = best
        .or_else(|| lines.clone().find(|line| line.len() > 20))
        .or_else(|| lines.clone().next());
    truncate(line.unwrap_or_default())
}

/// The bytes of the words of a snippet that are those of a query, or near them in meaning.
pub(super) fn marks(snippet: &str, query: &QueryWords) -> Vec<Range<usize>> {
    let words = snippet.split(|c: char| c.is_whitespace() || "()[],;:".contains(c));
    let ranges = words.map(|word| {
        let letters = word.trim_matches(|c: char| !c.is_alphanumeric());
        let start = letters.as_ptr().addr() - snippet.as_ptr().addr();
        (letters, start..start + letters.len())
    });
    let is_marked = |word: &str| query.weight_in(&analysis::line_words(word)) > 0;
    ranges
        .filter(|(word, _)| !word.is_empty() && is_marked(word))
        .map(|(_, range)| range)
        .collect()
}

/// Returns the words of a query, or near them in meaning, among those that were read from a page: at most [`MAX_WORDS_READ`],
/// in order.
pub(super) fn words_read(read: &str, query: &QueryWords) -> Vec<String> {
    let mut seen = HashSet::new();
    read.split(' ')
        .filter(|word| query.weight_in(&analysis::line_words(word)) > 0)
        .filter(|word| seen.insert(*word))
        .take(MAX_WORDS_READ)
        .map(str::to_owned)
        .collect()
}

/// Returns the section of a page whose title and text have the most words of the query; of several, or without any, the
/// first that begins on the page.
pub(super) fn section(sections: &Sections, text: &str, query: &QueryWords) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = heading_lines(&sections.begun, &lines);
    let end_of = |start: usize| {
        let later = starts
            .iter()
            .flatten()
            .copied()
            .filter(|next| *next > start);
        later.min().unwrap_or(lines.len())
    };
    let weight = |title: &str, lines: &[&str]| {
        TITLE_WEIGHT * query.weight_in(&analysis::line_words(title))
            + query.weight_in(&analysis::line_words(&lines.join("\n")))
    };
    let begun = sections.begun.iter().zip(&starts).map(|(title, start)| {
        let own = start.map_or(&[][..], |start| &lines[start..end_of(start)]);
        (title, weight(title, own))
    });
    let before = starts.iter().flatten().min().copied();
    let continued = sections.continued.iter().map(|title| {
        let own = &lines[..before.unwrap_or(if sections.begun.is_empty() {
            lines.len()
        } else {
            0
        })];
        (title, weight(title, own))
    });
    let candidates: Vec<_> = begun.chain(continued).collect();
    let best = candidates
        .iter()
        .rev()
        .max_by_key(|(_, weight)| *weight)
        .map(|(title, _)| (*title).clone());
    best.or_else(|| sections.first().map(str::to_owned))
}

/// The lines of a page that are the headings of its sections, in order; `None` for one that is not found.
fn heading_lines(titles: &[String], lines: &[&str]) -> Vec<Option<usize>> {
    if titles.len() < 2 && lines.is_empty() {
        return vec![None; titles.len()];
    }
    let keys: Vec<Vec<String>> = lines.iter().map(|line| heading_words(line)).collect();
    let mut from = 0;
    let find = |title: &String| {
        let title = heading_words(title);
        let is_heading = |line: &Vec<String>| {
            !title.is_empty()
                && line.starts_with(&title)
                && line.len() <= title.len() + MAX_EXTRA_WORDS
        };
        let found = keys[from..].iter().position(is_heading)? + from;
        from = found + 1;
        Some(found)
    };
    titles.iter().map(find).collect()
}

/// The words of a heading without its number.
fn heading_words(line: &str) -> Vec<String> {
    let words = line
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    let is_number = |word: &&str| word.bytes().all(|b| b.is_ascii_digit());
    words.skip_while(is_number).map(str::to_lowercase).collect()
}

fn truncate(line: &str) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SNIPPET_LEN {
        return line;
    }
    let cut: String = line.chars().take(SNIPPET_LEN - 1).collect();
    format!("{}…", cut.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snippet_of(text: &str, query: &str) -> String {
        snippet(text, &QueryWords::new(query))
    }

    #[test]
    fn snippet_is_the_line_with_most_query_words() {
        let text = "Contents\n\n To reset the alarm panel, hold   both keys for five seconds. \nSafety first";
        assert_eq!(
            snippet_of(text, "How do I reset the panel?"),
            "To reset the alarm panel, hold both keys for five seconds."
        );
        let codes = "12 Fault codes\nE-107 low pressure\nE-108 no flow";
        assert_eq!(
            snippet_of(codes, "What does fault code E-108 mean?"),
            "E-108 no flow"
        );
        assert_eq!(snippet_of(codes, "e 108"), "E-108 no flow");
        assert_eq!(snippet_of("", "x"), "");
        assert!(snippet_of(&"long ".repeat(80), "nothing").ends_with('…'));
    }

    #[test]
    fn words_of_the_query_are_marked_in_the_snippet() {
        let marked = |snippet: &str, query: &str| -> Vec<String> {
            let marks = marks(snippet, &QueryWords::new(query));
            marks.into_iter().map(|m| snippet[m].to_owned()).collect()
        };
        let line = "E-108: no flow (Gerät), reset the panel…";
        let query = "reset the panel after E108, geraet";
        assert_eq!(marked(line, query), ["E-108", "Gerät", "reset", "panel"]);
        assert!(marked(line, "torque").is_empty());
    }

    #[test]
    fn snippet_of_another_spelling_is_the_text_as_printed() {
        let text = "Bedienung des Geräts\nDas Gerät reinigen\n日本語の取扱説明書\nSupply 3.3 V";
        assert_eq!(snippet_of(text, "Geraet"), "Das Gerät reinigen");
        assert_eq!(snippet_of(text, "説明書"), "日本語の取扱説明書");
        assert_eq!(snippet_of(text, "3.3V"), "Supply 3.3 V");
    }

    #[test]
    fn section_is_the_one_that_answers_or_the_first_that_begins() {
        let text = "The pump stands still.\n1 Filling\nFill with glycol up to the upper mark.\n2. Venting\nOpen the \
screw.\n3 Draining the system\nLet the water out.";
        let sections = Sections {
            continued: Some("0 Preparing".to_owned()),
            begun: ["1 Filling", "2 Venting", "3 Draining"]
                .map(str::to_owned)
                .to_vec(),
        };
        for (query, expected) in [
            ("glycol upper mark", "1 Filling"),
            ("how do I open the screw", "2 Venting"),
            ("draining", "3 Draining"),
            ("let water out", "3 Draining"),
            ("does the pump stand still", "0 Preparing"),
            ("nothing of all this", "1 Filling"),
        ] {
            let found = section(&sections, text, &QueryWords::new(query));
            assert_eq!(found.as_deref(), Some(expected), "{query}");
            // A scan has no text: the titles decide.
            let found = section(&sections, "", &QueryWords::new("venting screw"));
            assert_eq!(found.as_deref(), Some("2 Venting"));
        }
        let only = Sections {
            continued: Some("0 Preparing".to_owned()),
            begun: Vec::new(),
        };
        let found = section(&only, text, &QueryWords::new("venting"));
        assert_eq!(found.as_deref(), Some("0 Preparing"));
        assert_eq!(
            section(&Sections::default(), text, &QueryWords::new("x")),
            None
        );
    }
}
