//! The keys of a JSON value, for tests that pin them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One line for each object in a value: its path, `[]` for the items of an array, and all its keys in order.
pub(crate) fn shape(value: &Value) -> String {
    let mut objects = BTreeMap::new();
    collect(value, String::from("$"), &mut objects);
    let line = |(path, keys): (&String, &BTreeSet<String>)| {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        format!("{path}: {}", keys.join(" "))
    };
    objects.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn collect(value: &Value, path: String, objects: &mut BTreeMap<String, BTreeSet<String>>) {
    match value {
        Value::Array(items) => {
            for item in items {
                collect(item, format!("{path}[]"), objects);
            }
        }
        Value::Object(map) => {
            let keys = objects.entry(path.clone()).or_default();
            keys.extend(map.keys().cloned());
            for (key, inner) in map {
                collect(inner, format!("{path}.{key}"), objects);
            }
        }
        _ => {}
    }
}

/// Fails unless the value has exactly these objects and keys, as [`shape`] writes them.
#[track_caller]
pub(crate) fn assert_shape(value: &Value, expected: &[&str]) {
    assert_eq!(shape(value), expected.join("\n"), "{value}");
}
