//! From what a model said to descriptions, or to the class of its failure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::page::{Description, Figure, Identifier, Table};

pub use super::class::FailureClass;

/// Lengths, in characters and items.
const TITLE: usize = 120;
const SUMMARY: usize = 600;
const LINE: usize = 200;
const TOPICS: usize = 8;
const FIGURES: usize = 6;
const IDENTIFIERS: usize = 30;
/// A description with fewer letters in title and summary says nothing.
const BRIEF: usize = 20;

/// Reads the answer to the question about one page; `truncated` when its tokens ran out.
///
/// # Errors
/// The class of its failure.
pub fn single(answer: &str, truncated: bool, layer: &str) -> Result<Description, FailureClass> {
    let mut values = values(answer, truncated)?;
    match values.len() {
        0 => Err(FailureClass::Unparsable),
        _ => description(&values.remove(0), layer).map_err(|class| match class {
            FailureClass::TooBrief if truncated => FailureClass::Truncated,
            class => class,
        }),
    }
}

/// Reads the answer to the question about several pages: for each what it is, or why it is none. `layers` are the text
/// layers by page.
pub fn several(
    answer: &str,
    truncated: bool,
    layers: &BTreeMap<u32, String>,
) -> BTreeMap<u32, Result<Description, FailureClass>> {
    let found = values(answer, truncated);
    let mut all = BTreeMap::new();
    for (&page, layer) in layers {
        let made = match &found {
            Err(class) => Err(*class),
            Ok(values) => {
                let mine: Vec<_> = values.iter().filter(|v| v["page"] == page).collect();
                match mine[..] {
                    [one] if leans(one) => Err(FailureClass::Mislabelled),
                    [one] => description(one, layer),
                    [] if truncated => Err(FailureClass::Truncated),
                    _ => Err(FailureClass::Mislabelled),
                }
            }
        };
        all.insert(page, made);
    }
    all
}

/// Whether an object leans on another page, or names its own by its position.
fn leans(object: &Map<String, Value>) -> bool {
    let text = |name: &str| {
        object
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_lowercase()
    };
    let (title, summary) = (text("title"), text("summary"));
    let same = |text: &str| {
        let all = [
            "same as page",
            "see page",
            "identical to page",
            "same as the previous",
        ];
        all.iter().any(|words| text.starts_with(words))
    };
    let position = [
        "first page",
        "second page",
        "third page",
        "image ",
        "picture ",
    ];
    same(&title) || same(&summary) || position.iter().any(|words| title.starts_with(words))
}

/// The objects of an answer: strict JSON, or the JSON within it, or what of it is whole.
fn values(answer: &str, truncated: bool) -> Result<Vec<Map<String, Value>>, FailureClass> {
    let answer = answer.trim();
    if answer.is_empty() {
        return Err(FailureClass::Empty);
    }
    let parsed = serde_json::from_str(answer).ok().or_else(|| {
        let from = answer.find(['{', '['])?;
        let inner = &answer[from..];
        let whole = inner
            .rfind(['}', ']'])
            .and_then(|to| serde_json::from_str(&inner[..=to]).ok());
        whole.or_else(|| serde_json::from_str(&closed(inner)?).ok())
    });
    let objects = match parsed {
        Some(Value::Array(all)) => all,
        Some(one @ Value::Object(_)) => vec![one],
        _ if truncated => return Err(FailureClass::Truncated),
        _ => return Err(FailureClass::Unparsable),
    };
    let maps = objects.into_iter().filter_map(|value| match value {
        Value::Object(map) => Some(map),
        _ => None,
    });
    Ok(maps.collect())
}

/// JSON that was cut: everything up to the last whole value, with the brackets closed that are open there.
fn closed(text: &str) -> Option<String> {
    let (mut open, mut cut) = (Vec::new(), None);
    let (mut in_text, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            _ if in_text => {}
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => {
                if open.pop() != Some(c) {
                    return None;
                }
                cut = Some((at + 1, open.clone()));
            }
            ',' => cut = Some((at, open.clone())),
            _ => {}
        }
    }
    let (at, open) = cut?;
    Some(text[..at].chars().chain(open.into_iter().rev()).collect())
}

fn description(object: &Map<String, Value>, layer: &str) -> Result<Description, FailureClass> {
    let text = |name: &str, most: usize| bounded(object.get(name).unwrap_or(&Value::Null), most);
    let list = |name: &str| {
        object
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let texts = |all: &[Value], count: usize| -> Vec<String> {
        let texts = all.iter().map(|value| bounded(value, LINE));
        texts.filter(|text| !text.is_empty()).take(count).collect()
    };
    let within = |value: &Value, name: &str| bounded(&value[name], LINE);
    let page = Description {
        rotation: match object.get("rotation").and_then(Value::as_u64) {
            Some(turn @ (90 | 180 | 270)) => turn as u16,
            _ => 0,
        },
        legible: object
            .get("legible")
            .and_then(Value::as_bool)
            .unwrap_or(true),
        title: text("title", TITLE),
        summary: text("summary", SUMMARY),
        topics: texts(&list("topics"), TOPICS),
        figures: list("figures")
            .iter()
            .take(FIGURES)
            .map(|value| Figure {
                label: within(value, "label"),
                content: within(value, "says"),
            })
            .collect(),
        tables: list("tables")
            .iter()
            .take(FIGURES)
            .map(|value| Table {
                label: within(value, "label"),
                columns: texts(
                    value["columns"].as_array().map_or(&[], Vec::as_slice),
                    TOPICS,
                ),
                content: within(value, "says"),
            })
            .collect(),
        identifiers: identifiers(&texts(&list("identifiers"), IDENTIFIERS), layer),
        language: text("language", 20),
        duplicate_of: None,
    };
    match flaw(&page) {
        Some(class) => Err(class),
        None => Ok(page),
    }
}

/// What people look for by its letters; what the text layer has, too, is sure.
fn identifiers(all: &[String], layer: &str) -> Vec<Identifier> {
    let dense = |text: &str| -> String {
        let solid = text.chars().filter(|c| !c.is_whitespace());
        solid.flat_map(char::to_lowercase).collect()
    };
    let layer = dense(layer);
    let mut found: Vec<Identifier> = Vec::new();
    for text in all {
        if found.iter().all(|known| known.text != *text) {
            found.push(Identifier {
                confirmed: layer.contains(&dense(text)),
                text: text.clone(),
            });
        }
    }
    found
}

/// A value as a line of text of at most so many characters.
fn bounded(value: &Value, most: usize) -> String {
    let text = match value {
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    text.chars().take(most).collect()
}

/// What is wrong with a description that could be read.
fn flaw(page: &Description) -> Option<FailureClass> {
    let said = format!("{} {}", page.title, page.summary);
    let letters = said.chars().filter(|c| c.is_alphanumeric()).count();
    if letters < BRIEF && page.legible {
        return Some(FailureClass::TooBrief);
    }
    let solid = said.chars().filter(|c| !c.is_whitespace()).count();
    let longest = said
        .split_whitespace()
        .map(|word| word.chars().count())
        .max();
    let strange = said.contains('\u{fffd}') || letters * 10 < solid * 6;
    (strange || longest > Some(60)).then_some(FailureClass::Gibberish)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"rotation": 90, "legible": true, "title": "12.1 Fault codes", "summary": "What each fault code means.",
        "topics": ["faults"], "figures": [], "tables": [{"label": "Table 3", "columns": ["code", "meaning"], "says": "codes"}],
        "identifiers": ["E-104", "E 105", "X-9", "E-104"], "language": "en"}"#;
    const LAYER: &str = "Fault codes\nE-104 no flow\nE105 no water";

    #[test]
    fn good_answers_are_read_and_identifiers_checked() {
        for answer in [
            GOOD.to_owned(),
            format!("Sure, here it is:\n```json\n{GOOD}\n```\nAnything else?"),
            format!("[{GOOD}]"),
        ] {
            let page = single(&answer, false, LAYER).unwrap();
            assert_eq!(
                (page.rotation, page.title.as_str()),
                (90, "12.1 Fault codes")
            );
            assert_eq!(page.tables[0].columns, ["code", "meaning"]);
            let sure: Vec<(&str, bool)> = page
                .identifiers
                .iter()
                .map(|i| (i.text.as_str(), i.confirmed))
                .collect();
            assert_eq!(sure, [("E-104", true), ("E 105", true), ("X-9", false)]);
        }
    }

    #[test]
    fn what_was_cut_keeps_its_whole_fields() {
        let cut = &GOOD[..GOOD.find("\"columns\"").unwrap() + 20];
        let page = single(cut, true, LAYER).unwrap();
        assert_eq!(page.topics, ["faults"]);
        assert_eq!(page.tables[0].label, "Table 3");
        assert_eq!(
            single(&GOOD[..40], true, LAYER),
            Err(FailureClass::Truncated)
        );
        assert_eq!(
            single("{\"title", true, LAYER),
            Err(FailureClass::Truncated)
        );
        assert_eq!(
            single("{\"title", false, LAYER),
            Err(FailureClass::Unparsable)
        );
    }

    #[test]
    fn bad_answers_have_a_class() {
        let answer = |title: &str, summary: &str| {
            format!("{{\"title\": \"{title}\", \"summary\": \"{summary}\"}}")
        };
        for (answer, class) in [
            (" \n".to_owned(), FailureClass::Empty),
            (
                "I cannot see the page.".to_owned(),
                FailureClass::Unparsable,
            ),
            ("[1, 2]".to_owned(), FailureClass::Unparsable),
            (answer("Page", "A page."), FailureClass::TooBrief),
            (
                answer(
                    "%$ §§ ## ++ ~~ ^^ aaaaaaaaaaaaaaaaaaaaa",
                    "** // \\\\\\\\ |||| {{}} @@ ;; ::",
                ),
                FailureClass::Gibberish,
            ),
            (
                answer("The valve of the pump", &"ab".repeat(40)),
                FailureClass::Gibberish,
            ),
        ] {
            assert_eq!(single(&answer, false, ""), Err(class), "{answer}");
        }
    }

    #[test]
    fn several_pages_are_told_apart_by_their_numbers() {
        let object = |page: u32, title: &str| {
            format!(
                "{{\"page\": {page}, \"title\": \"{title}\", \"summary\": \"A sentence about the pump.\"}}"
            )
        };
        let answer = format!(
            "[{}, {}, {}, {}, {}, {}]",
            object(3, "Safety of the pump"),
            object(4, "Same as page 3"),
            object(5, "First page of all"),
            object(6, "Wiring of the pump"),
            object(6, "Wiring of the valve"),
            object(99, "A page nobody sent"),
        );
        let layers: BTreeMap<u32, String> = (3..=7).map(|page| (page, String::new())).collect();
        let found = several(&answer, false, &layers);
        assert_eq!(found[&3].as_ref().unwrap().title, "Safety of the pump");
        for page in 4..=7 {
            assert_eq!(found[&page], Err(FailureClass::Mislabelled), "{page}");
        }
        let cut = format!("[{}, {{\"page\": 4, \"ti", object(3, "Safety of the pump"));
        let found = several(&cut, true, &layers);
        assert!(found[&3].is_ok());
        assert_eq!(found[&5], Err(FailureClass::Truncated));
    }
}
