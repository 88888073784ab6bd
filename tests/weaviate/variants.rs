//! A collection of an earlier version, whose pages have no variants and which takes no text vectors: searched as it is,
//! brought up to date by a writer.

use ingest::page::ManualId;
use ingest::store::{
    CollectionSelector, LastRun, Mode, Scope, StoredPage, TopK, VectorUpdate, open,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixtures::{
    TEXT_PROFILE, all, found, page, prepared, profile, put, text_page, text_query, text_vectors,
    upsert_manual,
};
use crate::library::{ServerSandbox, client, config, reader};
use crate::server::shared;

/// The properties that it lacks.
const ADDED: [&str; 7] = [
    "variants",
    "said_variants",
    "text_digest",
    "text_profile",
    "text_tokens",
    "text_bytes",
    "last_run",
];

fn get(path: &str) -> Value {
    let url = format!("{}/v1/{path}", shared().url());
    let text = client().get(url).send().unwrap().text().unwrap();
    serde_json::from_str(&text).unwrap()
}

fn send(method: Method, path: &str, body: &Value) {
    let url = format!("{}/v1/{path}", shared().url());
    let request = client()
        .request(method, url)
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
        if let Some(vectors) = class["vectorConfig"].as_object_mut() {
            vectors.remove("meaning");
        }
        let properties = class["properties"].as_array_mut().unwrap();
        properties.retain(|property| !ADDED.contains(&property["name"].as_str().unwrap()));
        let description = class["description"].as_str().unwrap_or_default();
        if let Ok(Value::Object(mut info)) = serde_json::from_str(description) {
            assert!(info.remove("variants").is_some());
            class["description"] = Value::Object(info).to_string().into();
        }
        send(Method::POST, "schema", &class);
        let objects = get(&format!("objects?class={from}&include=vector&limit=100"));
        for mut object in objects["objects"].as_array().unwrap().clone() {
            object["class"] = to.as_str().into();
            let properties = object["properties"].as_object_mut().unwrap();
            properties.retain(|name, _| !ADDED.contains(&name.as_str()));
            let kept = ["class", "id", "properties", "vectors"];
            let fields = kept.map(|name| (name, object[name].clone()));
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            send(
                Method::POST,
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
    let opened = open(&old, CollectionSelector::Last, Mode::Write).unwrap();
    assert!(opened.upgrade.is_some());
    let writing = opened.store;
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

#[test]
fn a_collection_of_an_earlier_version_takes_last_runs() {
    let (new, old) = (config(&shared().url()), config(&shared().url()));
    let store = prepared(&new, &profile()).store;
    let pump = ManualId::new("pump.pdf");
    let run = LastRun {
        stored: 1,
        ..LastRun::default()
    };
    upsert_manual(store.as_ref(), "pump.pdf");
    put(store.as_ref(), &[page("pump.pdf", 1, "")]);
    store.record_run(&pump, &run).unwrap();
    copy_as_earlier_version(&new.collection, &old.collection);
    let has_property = || {
        let class = get(&format!("schema/{}Manual", old.collection));
        let properties = class["properties"].as_array().unwrap().iter();
        properties.clone().any(|found| found["name"] == "last_run")
    };
    assert!(!has_property());
    let listed = reader(&old).store.manuals().unwrap();
    assert_eq!((listed.len(), &listed[0].last_run), (1, &None));
    let writing = prepared(&old, &profile()).store;
    assert!(has_property());
    writing.record_run(&pump, &run).unwrap();
    let listed = reader(&old).store.manuals().unwrap();
    assert_eq!(listed, store.manuals().unwrap());
}

#[test]
fn a_collection_of_an_earlier_version_takes_text_vectors() {
    let (new, old) = (config(&shared().url()), config(&shared().url()));
    let store = prepared(&new, &profile()).store;
    upsert_manual(store.as_ref(), "pump.pdf");
    let text = |n: u32| text_page(n, Some(text_vectors(4, n.into(), 100)));
    let pages: Vec<_> = (1..=3).map(text).collect();
    let without = |page: &StoredPage| StoredPage {
        text_vectors: Default::default(),
        ..page.clone()
    };
    put(
        store.as_ref(),
        &pages.iter().map(without).collect::<Vec<_>>(),
    );
    copy_as_earlier_version(&new.collection, &old.collection);
    let by_meaning = |store: &dyn ingest::store::Store| {
        let hits = store.meaning(&text_query(2, 9, 100), &Scope::default(), TopK::new(9));
        hits.unwrap().len()
    };
    let reading = reader(&old).store;
    assert!(!reading.keeps_text_vectors());
    assert!(
        !reading
            .has_text_vectors(TEXT_PROFILE, &Scope::default())
            .unwrap()
    );
    assert_eq!(by_meaning(reading.as_ref()), 0);
    let writing = prepared(&old, &profile()).store;
    assert!(writing.keeps_text_vectors());
    assert_eq!(all(writing.as_ref()), all(store.as_ref()));
    let kept = |page: &StoredPage| StoredPage {
        vectors: VectorUpdate::Keep,
        ..page.clone()
    };
    put(
        writing.as_ref(),
        &pages.iter().map(kept).collect::<Vec<_>>(),
    );
    assert_eq!(all(writing.as_ref()), pages);
    assert_eq!(by_meaning(reader(&old).store.as_ref()), 3);
}

/// Marks a collection as one whose pages have no variants.
fn mark_as_old(collection: &str) {
    let path = format!("schema/{collection}");
    let mut class = get(&path);
    let mut info: Value = serde_json::from_str(class["description"].as_str().unwrap()).unwrap();
    info["variants"] = 0.into();
    class["description"] = info.to_string().into();
    send(Method::PUT, &path, &class);
}

/// For each page, in order of number, its id and when it was last written.
fn last_writes(collection: &str) -> Vec<(String, i64)> {
    let objects = get(&format!("objects?class={collection}&limit=1000"));
    let mut pages = objects["objects"].as_array().unwrap().clone();
    pages.sort_by_key(|page| page["properties"]["page_number"].as_u64());
    let write = |page: &Value| {
        let id = page["id"].as_str().unwrap().to_owned();
        (id, page["lastUpdateTimeUnix"].as_i64().unwrap())
    };
    pages.iter().map(write).collect()
}

#[test]
fn interrupted_upgrade_goes_on_where_it_ended() {
    let config = config(&shared().url());
    let store = prepared(&config, &profile()).store;
    upsert_manual(store.as_ref(), "pump.pdf");
    let pages: Vec<_> = (101..=160)
        .map(|n| page("pump.pdf", n - 100, &format!("Error E-{n}")))
        .collect();
    put(store.as_ref(), &pages);
    mark_as_old(&config.collection);
    for (id, _) in &last_writes(&config.collection)[20..] {
        let body = json!({"class": config.collection, "properties": {"variants": null}});
        let path = format!("objects/{}/{id}", config.collection);
        send(Method::PATCH, &path, &body);
    }
    assert!(found(store.as_ref(), "E160").is_empty());
    let before = last_writes(&config.collection);
    let opened = open(&config, CollectionSelector::Last, Mode::Write).unwrap();
    opened.store.prepare(&profile()).unwrap();
    let after = last_writes(&config.collection);
    let is_written = |n: &usize| before[*n].1 != after[*n].1;
    assert_eq!(
        (0..60).filter(is_written).collect::<Vec<_>>(),
        (20..60).collect::<Vec<_>>()
    );
    assert_eq!(all(opened.store.as_ref()), pages);
    for n in [101, 121, 160] {
        assert_eq!(found(opened.store.as_ref(), &format!("E{n}")), [n - 100]);
    }
}

#[test]
fn upgrade_is_announced_once() {
    let sandbox = ServerSandbox::at(&shared().url());
    sandbox.manual("a.pdf", 2);
    assert_eq!(sandbox.run(&["a.pdf"]).code, 0);
    for command in ["a.pdf", "sync"] {
        mark_as_old(&sandbox.collection);
        for times in [1, 0] {
            let done = sandbox.run(&[command]);
            let line = "an earlier version stored these pages";
            assert_eq!(done.err.matches(line).count(), times, "{}", done.err);
        }
    }
}
