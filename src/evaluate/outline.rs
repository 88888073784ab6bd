//! Questions that a manual's own outline asks.

use std::collections::{BTreeMap, BTreeSet};

use crate::render::Bookmark;

/// How questions are made of an outline, for the report.
pub const OUTLINE_RULE: &str = "a question is the title of a bookmark without its number, its answer the page it points to; \
left out are titles that occur twice, titles without a word of three letters, front matter (contents, index, preface and \
the like), and bookmarks of contents pages (pages that list five or more titles of other pages, each on a line that says \
nothing else but numbers), which no ranking counts";

/// A question that an outline asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title {
    /// The title without its number.
    pub text: String,
    /// The page it points to.
    pub page: u32,
}

/// What an outline asks, and the contents pages that no ranking counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutlineQuestions {
    /// The questions.
    pub titles: Vec<Title>,
    /// Pages that list many titles.
    pub contents: BTreeSet<u32>,
}

/// Titles of pages that are about the manual, not about its subject.
const FRONT_MATTER: [&str; 14] = [
    "contents",
    "table of contents",
    "index",
    "preface",
    "foreword",
    "cover",
    "title page",
    "copyright",
    "colophon",
    "list of figures",
    "list of tables",
    "inhalt",
    "inhaltsverzeichnis",
    "legal notice",
];
/// A page that lists so many titles of other pages is a contents page.
const CONTENTS: usize = 5;

/// Makes questions of an outline by [`OUTLINE_RULE`]; `texts` are the text layers by page.
pub fn ask_outline(outline: &[Bookmark], texts: &BTreeMap<u32, String>) -> OutlineQuestions {
    let named: Vec<(String, u32)> = outline.iter().map(|b| (bare(&b.title), b.page)).collect();
    let contents: BTreeSet<u32> = texts
        .iter()
        .filter(|(page, text)| lists_many(**page, text, &named))
        .map(|(page, _)| *page)
        .collect();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (title, _) in &named {
        *times.entry(title.to_lowercase()).or_default() += 1;
    }
    let asks = |(title, page): &(String, u32)| {
        let lower = title.to_lowercase();
        let has_word = lower
            .split(|c: char| !c.is_alphabetic())
            .any(|word| word.chars().count() >= 3);
        has_word
            && times[&lower] == 1
            && !FRONT_MATTER.contains(&lower.as_str())
            && !contents.contains(page)
    };
    OutlineQuestions {
        titles: named
            .iter()
            .filter(|title| asks(title))
            .map(|(text, page)| Title {
                text: text.clone(),
                page: *page,
            })
            .collect(),
        contents,
    }
}

/// A title without the number before it: `12.1 Fault codes` and `A.3 Wiring` lose it, `3D printing` does not.
fn bare(title: &str) -> String {
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((first, rest)) = title.split_once(' ') else {
        return title;
    };
    let numbered = first.chars().all(|c| c.is_ascii_digit() || c == '.')
        || (first.contains('.')
            && first.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
            && first.len() < 10);
    if numbered { rest.to_owned() } else { title }
}

/// Whether lines of the page are titles of other pages. A title in the middle of a sentence does not count: titles like
/// "Plot" are everyday words of their manual.
fn lists_many(page: u32, text: &str, named: &[(String, u32)]) -> bool {
    let lines: BTreeSet<String> = text.lines().map(listed).collect();
    let elsewhere = named
        .iter()
        .filter(|(title, at)| *at != page && title.chars().count() >= 5);
    let titles: BTreeSet<String> = elsewhere
        .map(|(title, _)| title.to_lowercase())
        .filter(|title| lines.contains(title))
        .collect();
    titles.len() >= CONTENTS
}

/// What a line of a table of contents lists: without its number, dots and page.
fn listed(line: &str) -> String {
    let leader = |c: char| c.is_ascii_digit() || c == '.' || c == '\u{2026}' || c.is_whitespace();
    bare(line.trim_end_matches(leader)).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_asks_what_only_one_page_answers() {
        let mark = |title: &str, page| Bookmark {
            title: title.to_owned(),
            level: 0,
            page,
        };
        let outline = [
            mark("Contents", 1),
            mark("1 Safety", 3),
            mark("1.1  Electric shock", 3),
            mark("2.3 Notes", 4),
            mark("3.3 Notes", 6),
            mark("A.1 Wiring diagram", 7),
            mark("3D view", 8),
            mark("4.2 Q", 9),
            mark("Fault codes", 2),
        ];
        let texts = BTreeMap::from([
            (
                2,
                "1 Safety 3\r\n1.1 Electric  shock . . . 3\n2.3 Notes 4\nA.1 Wiring diagram\n3D view\u{2026}8"
                    .to_owned(),
            ),
            (
                3,
                "Safety: electric shock, notes, the wiring diagram, fault codes, 3D view.\nNotes".to_owned(),
            ),
        ]);
        let asked = ask_outline(&outline, &texts);
        let titles: Vec<(&str, u32)> = asked
            .titles
            .iter()
            .map(|t| (t.text.as_str(), t.page))
            .collect();
        assert_eq!(
            titles,
            [
                ("Safety", 3),
                ("Electric shock", 3),
                ("Wiring diagram", 7),
                ("3D view", 8)
            ]
        );
        assert_eq!(asked.contents, BTreeSet::from([2]));
    }
}
