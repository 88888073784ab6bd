//! What a parameter may be, in words for people and models, from the schema that is published.

use serde_json::{Map, Value};

/// What is wrong with the parameters of a request, of which one does not fit the schema.
pub(super) fn fault(schema: &Map<String, Value>, given: &Map<String, Value>) -> Option<String> {
    let known = schema.get("properties")?.as_object()?;
    let unknown = given.keys().find(|name| !known.contains_key(*name));
    if let Some(name) = unknown {
        let mut known: Vec<&str> = known.keys().map(String::as_str).collect();
        known.sort_unstable();
        return Some(format!(
            "there is no parameter `{name}`; there are {}",
            known.join(", ")
        ));
    }
    let required = schema.get("required").and_then(Value::as_array);
    let mut required = required.into_iter().flatten().filter_map(Value::as_str);
    if let Some(name) = required.find(|name| !given.contains_key(*name)) {
        return Some(format!("`{name}` is missing: {}", words(known.get(name)?)));
    }
    let misfit =
        |(name, value): &(&String, &Value)| !known.get(*name).is_some_and(|s| fits(s, value));
    let (name, value) = given.iter().find(misfit)?;
    let (words, value) = (words(known.get(name)?), shown(value));
    Some(format!("`{name}` must be {words}, not {value}"))
}

/// The first kind of a schema that is not null.
pub(super) fn kind(schema: &Value) -> &str {
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.as_slice(),
        kind => std::slice::from_ref(kind),
    };
    let mut kinds = kinds.iter().filter_map(Value::as_str);
    kinds.find(|kind| *kind != "null").unwrap_or_default()
}

fn fits(schema: &Value, value: &Value) -> bool {
    let choice = schema["enum"].as_array();
    if choice.is_some_and(|choice| !choice.contains(value)) {
        return false;
    }
    match kind(schema) {
        "integer" => {
            let limit = |name: &str| schema[name].as_u64();
            value.as_u64().is_some_and(|n| {
                let (least, most) = (limit("minimum"), limit("maximum"));
                (least.unwrap_or(0)..=most.unwrap_or(u64::from(u32::MAX))).contains(&n)
            })
        }
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => true,
    }
}

/// What a parameter may be.
fn words(schema: &Value) -> String {
    if let Some(choice) = schema["enum"].as_array() {
        let choice: Vec<String> = choice.iter().map(shown).collect();
        return format!("one of {}", choice.join(", "));
    }
    let limit = |name: &str| schema[name].as_u64();
    match (kind(schema), limit("minimum"), limit("maximum")) {
        ("integer", Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
        ("integer", Some(least), None) if least > 0 => format!("a whole number from {least} on"),
        ("integer", ..) => "a whole number".to_owned(),
        ("number", ..) => "a number".to_owned(),
        ("boolean", ..) => "true or false".to_owned(),
        ("array", ..) => "a list".to_owned(),
        _ => "a text".to_owned(),
    }
}

/// A value as it is named in a message.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let short: String = text.chars().take(40).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("`{short}{more}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_name_the_parameter_and_what_it_may_be() {
        let schema = json!({"required": ["query"], "properties": {
            "query": {"type": "string"},
            "count": {"type": ["integer", "null"], "minimum": 1, "maximum": 20},
            "page": {"type": "integer", "minimum": 1},
            "mode": {"type": "string", "enum": ["text", "visual"]},
            "exact": {"type": "boolean"},
        }});
        for (given, what) in [
            (
                json!({"query": "a", "count": "x"}),
                "`count` must be a whole number from 1 to 20, not `x`",
            ),
            (
                json!({"query": "a", "count": 21}),
                "`count` must be a whole number from 1 to 20, not `21`",
            ),
            (
                json!({"query": "a", "page": -1}),
                "`page` must be a whole number from 1 on, not `-1`",
            ),
            (json!({"query": 7}), "`query` must be a text, not `7`"),
            (
                json!({"query": "a", "mode": "all"}),
                "`mode` must be one of `text`, `visual`, not `all`",
            ),
            (
                json!({"query": "a", "exact": 1}),
                "`exact` must be true or false, not `1`",
            ),
            (json!({"count": 3}), "`query` is missing: a text"),
            (
                json!({"query": "a", "limit": 3}),
                "there is no parameter `limit`; there are count, exact, mode, page, query",
            ),
        ] {
            let found = fault(schema.as_object().unwrap(), given.as_object().unwrap());
            assert_eq!(found.as_deref(), Some(what));
        }
        let right = json!({"query": "a", "count": 3, "page": 1, "mode": "text", "exact": false});
        assert_eq!(
            fault(schema.as_object().unwrap(), right.as_object().unwrap()),
            None
        );
    }
}
