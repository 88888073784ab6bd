//! Queries from a manual's outline: the title of a bookmark is a query, its page the relevant one.

use std::collections::{BTreeMap, BTreeSet};

use crate::render::Bookmark;

/// The rule that makes queries from an outline, for the report.
pub const OUTLINE_RULE: &str = "a query is the title of a bookmark without its number, its relevant page the one it points to; \
excluded are titles that occur twice, titles without a word of three letters, front matter (contents, index, preface and \
the like), and bookmarks of contents pages (pages that list five or more titles of other pages, each on a line with \
nothing else but numbers), which are also removed from the rankings";

/// A query from an outline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineQuery {
    /// The title without its number.
    pub text: String,
    /// The relevant page: the one the bookmark points to.
    pub page: u32,
}

/// The queries of an outline, and the contents pages, which are removed from rankings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutlineQueries {
    /// The queries.
    pub queries: Vec<OutlineQuery>,
    /// Pages that are tables of contents.
    pub contents_pages: BTreeSet<u32>,
}

/// Titles of front matter, which is about the manual and not about its subject.
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
/// A page that lists this many titles of other pages is a contents page.
const MIN_LISTED_TITLES: usize = 5;

/// Makes queries from an outline by [`OUTLINE_RULE`]; `texts` are the text layers by page.
pub fn outline_queries(outline: &[Bookmark], texts: &BTreeMap<u32, String>) -> OutlineQueries {
    let titles: Vec<(String, u32)> = outline
        .iter()
        .map(|b| (without_number(&b.title), b.page))
        .collect();
    let contents_pages: BTreeSet<u32> = texts
        .iter()
        .filter(|(page, text)| is_contents_page(**page, text, &titles))
        .map(|(page, _)| *page)
        .collect();
    let mut occurrences: BTreeMap<String, usize> = BTreeMap::new();
    for (title, _) in &titles {
        *occurrences.entry(title.to_lowercase()).or_default() += 1;
    }
    let is_query = |(title, page): &(String, u32)| {
        let lower = title.to_lowercase();
        let has_word = lower
            .split(|c: char| !c.is_alphabetic())
            .any(|word| word.chars().count() >= 3);
        has_word
            && occurrences[&lower] == 1
            && !FRONT_MATTER.contains(&lower.as_str())
            && !contents_pages.contains(page)
    };
    OutlineQueries {
        queries: titles
            .iter()
            .filter(|title| is_query(title))
            .map(|(text, page)| OutlineQuery {
                text: text.clone(),
                page: *page,
            })
            .collect(),
        contents_pages,
    }
}

/// Removes the number before a title: `12.1 Fault codes` and `A.3 Wiring` lose it, `3D printing` does not.
fn without_number(title: &str) -> String {
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    let Some((number, rest)) = title.split_once(' ') else {
        return title;
    };
    let numbered = number.chars().all(|c| c.is_ascii_digit() || c == '.')
        || (number.contains('.')
            && number
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '.')
            && number.len() < 10);
    if numbered { rest.to_owned() } else { title }
}

/// Whether the lines of the page list titles of other pages. A title within a sentence does not count: titles such as
/// "Plot" are common words of their manual.
fn is_contents_page(page: u32, text: &str, titles: &[(String, u32)]) -> bool {
    let lines: BTreeSet<String> = text.lines().map(listed_title).collect();
    let others = titles
        .iter()
        .filter(|(title, other_page)| *other_page != page && title.chars().count() >= 5);
    let listed: BTreeSet<String> = others
        .map(|(title, _)| title.to_lowercase())
        .filter(|title| lines.contains(title))
        .collect();
    listed.len() >= MIN_LISTED_TITLES
}

/// Returns the title on a line of a table of contents, without number, leaders and page, in lower case.
fn listed_title(line: &str) -> String {
    let leader = |c: char| c.is_ascii_digit() || c == '.' || c == '\u{2026}' || c.is_whitespace();
    without_number(line.trim_end_matches(leader)).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outline_queries_are_unique_titles_of_content_pages() {
        let bookmark = |title: &str, page| Bookmark {
            title: title.to_owned(),
            level: 0,
            page,
        };
        let outline = [
            bookmark("Contents", 1),
            bookmark("1 Safety", 3),
            bookmark("1.1  Electric shock", 3),
            bookmark("2.3 Notes", 4),
            bookmark("3.3 Notes", 6),
            bookmark("A.1 Wiring diagram", 7),
            bookmark("3D view", 8),
            bookmark("4.2 Q", 9),
            bookmark("Fault codes", 2),
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
        let result = outline_queries(&outline, &texts);
        let queries: Vec<(&str, u32)> = result
            .queries
            .iter()
            .map(|t| (t.text.as_str(), t.page))
            .collect();
        assert_eq!(
            queries,
            [
                ("Safety", 3),
                ("Electric shock", 3),
                ("Wiring diagram", 7),
                ("3D view", 8)
            ]
        );
        assert_eq!(result.contents_pages, BTreeSet::from([2]));
    }
}
