//! Reply parser: model output to page descriptions, or to a failure class.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::page::{Description, Figure, Identifier, Table};

pub use super::class::FailureClass;
use super::no_image;

/// Length limits, in characters.
const MAX_TITLE: usize = 120;
const MAX_SUMMARY: usize = 600;
const MAX_LINE: usize = 200;
const MAX_LANGUAGE: usize = 20;
/// Limits of lists, in items; tables have the limit of figures, columns that of topics.
const MAX_TOPICS: usize = 8;
const MAX_FIGURES: usize = 6;
const MAX_IDENTIFIERS: usize = 30;
/// Minimum number of letters and digits in title and summary of a legible page.
const MIN_LETTERS: usize = 20;

/// Parses the answer to a prompt with one page. `truncated`: `max_tokens` was reached. `text_layer` confirms identifiers.
///
/// # Errors
/// The failure class if the answer holds no valid description.
pub fn parse_page(
    answer: &str,
    truncated: bool,
    text_layer: &str,
) -> Result<Description, FailureClass> {
    let mut objects = json_objects(answer, truncated)?;
    match objects.len() {
        0 => Err(FailureClass::Unparsable),
        _ => description(&objects.remove(0), text_layer).map_err(|class| match class {
            FailureClass::TooBrief if truncated => FailureClass::Truncated,
            class => class,
        }),
    }
}

/// Parses the answer to a prompt with several pages: a description or a failure class for each page of `text_layers`.
pub fn parse_pages(
    answer: &str,
    truncated: bool,
    text_layers: &BTreeMap<u32, String>,
) -> BTreeMap<u32, Result<Description, FailureClass>> {
    let objects = json_objects(answer, truncated);
    let mut results = BTreeMap::new();
    for (&page, text_layer) in text_layers {
        let result = match &objects {
            Err(class) => Err(*class),
            Ok(objects) => {
                let labelled: Vec<_> = objects
                    .iter()
                    .filter(|o| o.get("page").is_some_and(|label| *label == page))
                    .collect();
                match labelled[..] {
                    [object] if refers_to_other_page(object) => Err(FailureClass::Mislabelled),
                    [object] => description(object, text_layer),
                    [] if truncated => Err(FailureClass::Truncated),
                    _ => Err(FailureClass::Mislabelled),
                }
            }
        };
        results.insert(page, result);
    }
    results
}

/// Whether a description refers to another page, or to its own by position instead of number.
fn refers_to_other_page(object: &Map<String, Value>) -> bool {
    let text = |name: &str| {
        object
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_lowercase()
    };
    let (title, summary) = (text("title"), text("summary"));
    let is_reference = |text: &str| {
        let references = [
            "same as page",
            "see page",
            "identical to page",
            "same as the previous",
        ];
        references.iter().any(|prefix| text.starts_with(prefix))
    };
    let positions = [
        "first page",
        "second page",
        "third page",
        "image ",
        "picture ",
    ];
    is_reference(&title)
        || is_reference(&summary)
        || positions.iter().any(|prefix| title.starts_with(prefix))
}

/// JSON objects of an answer: the whole answer, or the JSON embedded in it, or the complete part of truncated JSON.
fn json_objects(answer: &str, truncated: bool) -> Result<Vec<Map<String, Value>>, FailureClass> {
    let answer = answer.trim();
    if answer.is_empty() {
        return Err(FailureClass::Empty);
    }
    let parsed = serde_json::from_str(answer).ok().or_else(|| {
        let start = answer.find(['{', '['])?;
        let json = &answer[start..];
        let complete = json
            .rfind(['}', ']'])
            .and_then(|end| serde_json::from_str(&json[..=end]).ok());
        complete.or_else(|| serde_json::from_str(&close_brackets(json)?).ok())
    });
    let values = match parsed {
        Some(Value::Array(values)) => values,
        Some(object @ Value::Object(_)) => vec![object],
        _ if no_image::is_stated(answer) => return Err(FailureClass::ImageDropped),
        _ if truncated => return Err(FailureClass::Truncated),
        _ => return Err(FailureClass::Unparsable),
    };
    let objects = values.into_iter().filter_map(|value| match value {
        Value::Object(object) => Some(object),
        _ => None,
    });
    Ok(objects.collect())
}

/// Repairs truncated JSON: cuts it after the last complete value and closes the open brackets.
fn close_brackets(text: &str) -> Option<String> {
    let (mut open, mut cut) = (Vec::new(), None);
    let (mut in_string, mut escaped) = (false, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => {
                if open.pop() != Some(c) {
                    return None;
                }
                cut = Some((index + 1, open.clone()));
            }
            ',' => cut = Some((index, open.clone())),
            _ => {}
        }
    }
    let (end, open) = cut?;
    Some(text[..end].chars().chain(open.into_iter().rev()).collect())
}

fn description(object: &Map<String, Value>, text_layer: &str) -> Result<Description, FailureClass> {
    let text = |name: &str, max_chars: usize| {
        single_line(object.get(name).unwrap_or(&Value::Null), max_chars)
    };
    let list = |name: &str| {
        object
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let texts = |values: &[Value], max_items: usize| -> Vec<String> {
        let texts = values.iter().map(|value| single_line(value, MAX_LINE));
        texts
            .filter(|text| !text.is_empty())
            .take(max_items)
            .collect()
    };
    let field = |value: &Value, name: &str| single_line(&value[name], MAX_LINE);
    let description = Description {
        rotation: match object.get("rotation").and_then(Value::as_u64) {
            Some(degrees @ (90 | 180 | 270)) => degrees as u16,
            _ => 0,
        },
        legible: object
            .get("legible")
            .and_then(Value::as_bool)
            .unwrap_or(true),
        title: text("title", MAX_TITLE),
        summary: text("summary", MAX_SUMMARY),
        topics: texts(&list("topics"), MAX_TOPICS),
        figures: list("figures")
            .iter()
            .take(MAX_FIGURES)
            .map(|value| Figure {
                label: field(value, "label"),
                content: field(value, "says"),
            })
            .collect(),
        tables: list("tables")
            .iter()
            .take(MAX_FIGURES)
            .map(|value| Table {
                label: field(value, "label"),
                columns: texts(
                    value["columns"].as_array().map_or(&[], Vec::as_slice),
                    MAX_TOPICS,
                ),
                content: field(value, "says"),
            })
            .collect(),
        identifiers: identifiers(&texts(&list("identifiers"), MAX_IDENTIFIERS), text_layer),
        language: text("language", MAX_LANGUAGE),
        duplicate_of: None,
    };
    validate(&description).map(|()| description)
}

/// Removes duplicates and confirms the identifiers that the text layer contains, ignoring case and whitespace.
fn identifiers(texts: &[String], text_layer: &str) -> Vec<Identifier> {
    let normalize = |text: &str| -> String {
        let visible = text.chars().filter(|c| !c.is_whitespace());
        visible.flat_map(char::to_lowercase).collect()
    };
    let text_layer = normalize(text_layer);
    let mut unique: Vec<Identifier> = Vec::new();
    for text in texts {
        if unique.iter().all(|other| other.text != *text) {
            unique.push(Identifier {
                confirmed: text_layer.contains(&normalize(text)),
                text: text.clone(),
            });
        }
    }
    unique
}

/// Converts a value to one line of text of at most `max_chars` characters.
fn single_line(value: &Value, max_chars: usize) -> String {
    let text = match value {
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    text.chars().take(max_chars).collect()
}

/// Checks that title and summary of a parsed description are text.
fn validate(description: &Description) -> Result<(), FailureClass> {
    let texts = [&*description.title, &*description.summary];
    if texts.into_iter().any(no_image::is_stated_in_description) {
        return Err(FailureClass::ImageDropped);
    }
    let text = texts.join(" ");
    let letters = text.chars().filter(|c| c.is_alphanumeric()).count();
    if letters < MIN_LETTERS && description.legible {
        return Err(FailureClass::TooBrief);
    }
    let visible = text.chars().filter(|c| !c.is_whitespace()).count();
    let longest_word = text
        .split_whitespace()
        .map(|word| word.chars().count())
        .max();
    let is_mostly_symbols = text.contains('\u{fffd}') || letters * 10 < visible * 6;
    match is_mostly_symbols || longest_word > Some(60) {
        true => Err(FailureClass::Gibberish),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"rotation": 90, "legible": true, "title": "12.1 Fault codes", "summary": "What each fault code means.",
        "topics": ["faults"], "figures": [], "tables": [{"label": "Table 3", "columns": ["code", "meaning"], "says": "codes"}],
        "identifiers": ["E-104", "E 105", "X-9", "E-104"], "language": "en"}"#;
    const TEXT_LAYER: &str = "Fault codes\nE-104 no flow\nE105 no water";

    #[test]
    fn valid_answers_are_parsed_and_identifiers_confirmed_by_the_text_layer() {
        for answer in [
            GOOD.to_owned(),
            format!("Sure, here it is:\n```json\n{GOOD}\n```\nAnything else?"),
            format!("[{GOOD}]"),
        ] {
            let page = parse_page(&answer, false, TEXT_LAYER).unwrap();
            assert_eq!(
                (page.rotation, page.title.as_str()),
                (90, "12.1 Fault codes")
            );
            assert_eq!(page.tables[0].columns, ["code", "meaning"]);
            let confirmed: Vec<(&str, bool)> = page
                .identifiers
                .iter()
                .map(|i| (i.text.as_str(), i.confirmed))
                .collect();
            assert_eq!(
                confirmed,
                [("E-104", true), ("E 105", true), ("X-9", false)]
            );
        }
    }

    #[test]
    fn truncated_answers_keep_their_complete_fields() {
        let cut = &GOOD[..GOOD.find("\"columns\"").unwrap() + 20];
        let page = parse_page(cut, true, TEXT_LAYER).unwrap();
        assert_eq!(page.topics, ["faults"]);
        assert_eq!(page.tables[0].label, "Table 3");
        assert_eq!(
            parse_page(&GOOD[..40], true, TEXT_LAYER),
            Err(FailureClass::Truncated)
        );
        assert_eq!(
            parse_page("{\"title", true, TEXT_LAYER),
            Err(FailureClass::Truncated)
        );
        assert_eq!(
            parse_page("{\"title", false, TEXT_LAYER),
            Err(FailureClass::Unparsable)
        );
    }

    #[test]
    fn invalid_answers_have_a_failure_class() {
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
            assert_eq!(parse_page(&answer, false, ""), Err(class), "{answer}");
        }
    }

    #[test]
    fn descriptions_of_several_pages_are_assigned_by_number() {
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
            object(99, "A page that was not sent"),
        );
        let text_layers: BTreeMap<u32, String> =
            (3..=7).map(|page| (page, String::new())).collect();
        let results = parse_pages(&answer, false, &text_layers);
        assert_eq!(results[&3].as_ref().unwrap().title, "Safety of the pump");
        for page in 4..=7 {
            assert_eq!(results[&page], Err(FailureClass::Mislabelled), "{page}");
        }
        let unlabelled = object(3, "Safety of the pump").replace("\"page\": 3, ", "");
        let other_type = object(3, "Safety of the pump").replace("3,", "\"three\",");
        for answer in [format!("[{unlabelled}, {unlabelled}]"), other_type] {
            let results = parse_pages(&answer, false, &text_layers);
            let all = vec![Err(FailureClass::Mislabelled); 5];
            assert_eq!(results.into_values().collect::<Vec<_>>(), all, "{answer}");
        }
        let cut = format!("[{}, {{\"page\": 4, \"ti", object(3, "Safety of the pump"));
        let results = parse_pages(&cut, true, &text_layers);
        assert!(results[&3].is_ok());
        assert_eq!(results[&5], Err(FailureClass::Truncated));
    }
}
