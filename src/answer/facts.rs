//! Checks of an answer without a model: its numbers and codes are looked for in the text of the pages that it cites.

use serde::Serialize;

use super::ContextPage;
use crate::analysis::coverage;
use crate::page::says_little;

/// Units that may follow a number.
const UNITS: [&str; 46] = [
    "%", "°c", "°f", "k", "°", "v", "kv", "mv", "a", "ma", "w", "kw", "mw", "wh", "kwh", "hz",
    "khz", "mhz", "ghz", "bar", "mbar", "pa", "kpa", "mpa", "psi", "nm", "n", "kn", "mm", "cm",
    "m", "km", "g", "kg", "t", "l", "ml", "s", "ms", "min", "h", "rpm", "ohm", "ω", "db", "dba",
];

/// Whether the text of the cited pages has a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It has.
    Confirmed,
    /// It has not.
    NotConfirmed,
    /// A cited page has no text layer, or one that says little: only the picture can tell.
    CannotTell,
}

/// A number with its unit, or a code, of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Fact {
    /// As in the answer.
    pub text: String,
    /// Whether the cited pages have it.
    pub verdict: Verdict,
}

/// Checks the facts of a part of an answer that cites these pages.
pub(super) fn check(text: &str, cited: &[&ContextPage]) -> Vec<Fact> {
    let pages: Vec<String> = cited.iter().map(|page| joined_units(&page.text)).collect();
    let is_unreadable = cited.iter().any(|page| says_little(&page.text));
    let verdict = |fact: &str| {
        let wanted = joined_units(fact);
        match pages.iter().any(|page| coverage(page, &wanted) >= 1.0) {
            true => Verdict::Confirmed,
            false if is_unreadable => Verdict::CannotTell,
            false => Verdict::NotConfirmed,
        }
    };
    facts(text)
        .into_iter()
        .map(|text| Fact {
            verdict: verdict(&text),
            text,
        })
        .collect()
}

/// The words with digits of a text, each with the unit that follows it.
fn facts(text: &str) -> Vec<String> {
    let is_mark = |c: char| {
        matches!(
            c,
            '.' | ',' | ';' | ':' | '!' | '?' | '(' | ')' | '"' | '\'' | '*' | '`' | '“' | '”'
        )
    };
    let mut words = text.split_whitespace().peekable();
    let mut facts: Vec<String> = Vec::new();
    while let Some(word) = words.next() {
        let fact = word.trim_matches(is_mark);
        if !fact.chars().any(|c| c.is_ascii_digit()) {
            continue;
        }
        let unit = words
            .peek()
            .map(|next| next.trim_matches(is_mark))
            .filter(|next| fact == word && UNITS.contains(&&*joined_units(next).to_lowercase()));
        let fact = match unit {
            Some(unit) => format!("{fact} {unit}"),
            None => fact.to_owned(),
        };
        if !facts.contains(&fact) {
            facts.push(fact);
        }
    }
    facts
}

/// A text with the units that are products written as one word: `N·m` as `Nm`.
fn joined_units(text: &str) -> String {
    text.replace(['·', '⋅', '•'], "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{ManualId, PageId};

    fn page(text: &str) -> ContextPage {
        ContextPage {
            id: PageId::new(&ManualId::new("pump.pdf"), 1),
            label: None,
            section: None,
            text: text.to_owned(),
            jpeg: None,
        }
    }

    #[test]
    fn facts_are_numbers_with_units_and_codes() {
        let text = "Fault E-409: tighten to 18 N·m (13 lbf ft), then wait 5 min. Use M8x40, 3.3 V and 42 and 42 screws.";
        let expected = ["E-409", "18 N·m", "13", "5 min", "M8x40", "3.3 V", "42"];
        assert_eq!(facts(text), expected);
        assert!(facts("Press the button.").is_empty());
    }

    #[test]
    fn facts_are_confirmed_by_the_text_of_the_cited_pages() {
        let text = "E 409 means low pressure. Tighten the flare nuts to 18 Nm; the supply has 33 V and 142 parts.";
        let (told, other) = (page(text), page(&"Nothing of that is here. ".repeat(4)));
        let verdict = |fact: &str, cited: &[&ContextPage]| check(fact, cited)[0].verdict;
        for (fact, expected) in [
            ("18 N·m", Verdict::Confirmed),
            ("E409", Verdict::Confirmed),
            ("33 V", Verdict::Confirmed),
            ("3.3 V", Verdict::NotConfirmed),
            ("42", Verdict::NotConfirmed),
            ("E-408", Verdict::NotConfirmed),
        ] {
            assert_eq!(verdict(fact, &[&other, &told]), expected, "{fact}");
        }
        assert_eq!(verdict("18 Nm", &[&other]), Verdict::NotConfirmed);
        assert_eq!(
            verdict("18 Nm", &[&other, &page("17")]),
            Verdict::CannotTell
        );
        assert_eq!(verdict("18 Nm", &[]), Verdict::NotConfirmed);
    }
}
