//! A collection of an earlier version, whose pages have no variants: searched as it is, brought up to date by a writer.

use ingest::store::{CollectionSelector, Mode, open};
use serde_json::{Value, json};

use crate::fixtures::{all, found, page, prepared, profile, put, upsert_manual};
use crate::library::{client, config, reader};
use crate::server::shared;

/// The properties that it lacks.
const ADDED: [&str; 2] = ["variants", "said_variants"];

fn get(path: &str) -> Value {
    let url = format!("{}/v1/{path}", shared().url());
    let text = client().get(url).send().unwrap().text().unwrap();
    serde_json::from_str(&text).unwrap()
}

fn post(path: &str, body: &Value) {
    let url = format!("{}/v1/{path}", shared().url());
    let request = client()
        .post(url)
        .header("content-type", "application/json");
    let reply = request.body(body.to_string()).send().unwrap();
    assert!(reply.status().is_success(), "{}", reply.text().unwrap());
}

/// Copies a collection to the state in which an earlier version would have left it.
fn copy_as_earlier_version(from: &str, to: &str) {
    for (from, to) in [
        (from.to_owned(), to.to_owned()),
        (format!("{from}Manual"), format!("{to}Manual")),
    ] {
        let mut class = get(&format!("schema/{from}"));
        class["class"] = to.as_str().into();
        let properties = class["properties"].as_array_mut().unwrap();
        properties.retain(|property| !ADDED.contains(&property["name"].as_str().unwrap()));
        let description = class["description"].as_str().unwrap_or_default();
        if let Ok(Value::Object(mut info)) = serde_json::from_str(description) {
            assert!(info.remove("variants").is_some());
            class["description"] = Value::Object(info).to_string().into();
        }
        post("schema", &class);
        let objects = get(&format!("objects?class={from}&include=vector&limit=100"));
        for mut object in objects["objects"].as_array().unwrap().clone() {
            object["class"] = to.as_str().into();
            let properties = object["properties"].as_object_mut().unwrap();
            properties.retain(|name, _| !ADDED.contains(&name.as_str()));
            let kept = ["class", "id", "properties", "vectors"];
            let fields = kept.map(|name| (name, object[name].clone()));
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            post(
                "objects",
                &json!(std::collections::BTreeMap::from_iter(fields)),
            );
        }
    }
}

#[test]
fn pages_of_an_earlier_version_get_their_variants() {
    let (new, old) = (config(&shared().url()), config(&shared().url()));
    let store = prepared(&new, &profile()).store;
    upsert_manual(store.as_ref(), "pump.pdf");
    let texts = ["Error E-409 stops the pump", "取扱説明書", "Das Gerät"];
    let pages: Vec<_> = (1..)
        .zip(texts)
        .map(|(n, text)| page("pump.pdf", n, text))
        .collect();
    put(store.as_ref(), &pages);
    copy_as_earlier_version(&new.collection, &old.collection);
    let reading = reader(&old).store;
    assert_eq!(found(reading.as_ref(), "e-409"), [1]);
    assert_eq!(found(reading.as_ref(), "pump"), [1]);
    assert!(found(reading.as_ref(), "E409").is_empty());
    drop(reading);
    let writing = open(&old, CollectionSelector::Last, Mode::Write)
        .unwrap()
        .store;
    writing.prepare(&profile()).unwrap();
    for (words, number) in [("E409", 1), ("説明書", 2), ("Geraet", 3), ("pump", 1)] {
        assert_eq!(found(writing.as_ref(), words), [number], "{words}");
    }
    assert_eq!(all(writing.as_ref()), all(store.as_ref()));
    let description = get(&format!("schema/{}", old.collection))["description"].clone();
    let info: Value = serde_json::from_str(description.as_str().unwrap()).unwrap();
    assert_eq!(info["variants"], 1);
    assert_eq!(found(reader(&old).store.as_ref(), "E409"), [1]);
}
