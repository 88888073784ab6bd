//! Sync: copies between stores are lossless.

use ingest::page::ManualId;
use ingest::store::{
    Address, CollectionSelector, Config, Index, LastRun, Mode, Quantiser, Scope, StoredPage, TopK,
    open,
};

use crate::fixtures::{DIM, all, page, prepared, profile, put, rows, upsert_manual};
use crate::library::{ServerSandbox, client, config, reader};
use crate::server::shared;

/// Pages of every kind: blank, labelled, without a thumbnail, with non-ASCII text.
fn pages(manual: &str, count: u32) -> Vec<StoredPage> {
    let special = |n: u32, page: StoredPage| match n % 4 {
        0 => StoredPage {
            label: Some(format!("A-{n}")),
            section: Some("3.1 Wörter \"und\" mehr".to_owned()),
            ..page
        },
        1 => StoredPage {
            blank: true,
            thumbnail: Vec::new(),
            description: Some("A blank page".to_owned()),
            ..page
        },
        _ => page,
    };
    (1..=count)
        .map(|n| special(n, page(manual, n, &format!("Störung E-{n}\t日本語"))))
        .collect()
}

#[test]
fn sync_round_trip_is_lossless() {
    let sandbox = ServerSandbox::at(&shared().url());
    let file = |name: &str| Config::new(Address::File(sandbox.path(name)));
    let library = file("library.db");
    let store = prepared(&library, &profile()).store;
    for manual in ["a.pdf", "b.pdf"] {
        upsert_manual(store.as_ref(), manual);
        put(store.as_ref(), &pages(manual, 40));
    }
    let run = LastRun {
        stored: 40,
        ..LastRun::default()
    };
    store.record_run(&ManualId::new("b.pdf"), &run).unwrap();
    let before = (all(store.as_ref()), store.manuals().unwrap());
    drop(store);
    let there = sandbox.run(&[
        "sync",
        "--from",
        "library.db",
        "--to",
        &sandbox.url,
        "--json",
    ]);
    assert_eq!(there.code, 0, "{}", there.err);
    assert_eq!(ServerSandbox::total(&there.json(), "stored"), 80);
    // Again: nothing is sent.
    let again = sandbox
        .run(&["sync", "--from", "library.db", "--json"])
        .json();
    assert_eq!(
        (
            ServerSandbox::total(&again, "stored"),
            ServerSandbox::total(&again, "unchanged")
        ),
        (0, 80)
    );
    let back = sandbox.run(&["sync", "--from", &sandbox.url, "--to", "copy.db"]);
    assert_eq!(back.code, 0, "{}", back.err);
    let copy = reader(&file("copy.db")).store;
    assert_eq!((all(copy.as_ref()), copy.manuals().unwrap()), before);
}

#[test]
fn sync_propagates_removals_and_changes() {
    let sandbox = ServerSandbox::at(&shared().url());
    let library = Config::new(Address::File(sandbox.path("library.db")));
    let store = prepared(&library, &profile()).store;
    upsert_manual(store.as_ref(), "a.pdf");
    put(store.as_ref(), &pages("a.pdf", 6));
    drop(store);
    assert_eq!(sandbox.run(&["sync", "--from", "library.db"]).code, 0);
    let store = prepared(&library, &profile()).store;
    store
        .remove(
            &ingest::page::ManualId::new("a.pdf"),
            &"2,5-".parse().unwrap(),
        )
        .unwrap();
    let changed = StoredPage {
        content: "other pixels".to_owned(),
        ..page("a.pdf", 3, "changed")
    };
    put(store.as_ref(), &[changed]);
    drop(store);
    let done = sandbox.run(&["sync", "--from", "library.db", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let report = done.json();
    assert_eq!(
        (
            ServerSandbox::total(&report, "stored"),
            ServerSandbox::total(&report, "unchanged")
        ),
        (1, 2)
    );
    assert_eq!(
        all(reader(&sandbox.config()).store.as_ref()),
        all(reader(&library).store.as_ref())
    );
}

#[test]
fn sync_from_raw_to_every_index() {
    let raw = config(&shared().url());
    let store = prepared(&raw, &profile()).store;
    upsert_manual(store.as_ref(), "a.pdf");
    put(store.as_ref(), &pages("a.pdf", 80));
    let exact = TopK {
        exact: true,
        ..TopK::new(10)
    };
    let query = rows(6, DIM, 77);
    let expected = store.visual(&query, &Scope::default(), exact).unwrap();
    let sandbox = ServerSandbox::at(&raw.url.to_string());
    for (index, quantiser) in [
        (Index::Raw, Quantiser::Rq8),
        (Index::Raw, Quantiser::Bq),
        (Index::Muvera, Quantiser::None),
        (Index::Muvera, Quantiser::Rq8),
        (Index::Muvera, Quantiser::Rq1),
        (Index::Muvera, Quantiser::Bq),
    ] {
        let to = Config {
            index: Some(index),
            quantiser: Some(quantiser),
            ..config(&shared().url())
        };
        let name = |value: serde_json::Value| value.as_str().unwrap().to_owned();
        let (index, quantiser) = (
            name(serde_json::json!(index)),
            name(serde_json::json!(quantiser)),
        );
        let done = sandbox.run(&[
            "sync",
            "--from-collection",
            &raw.collection,
            "--to-collection",
            &to.collection,
            "--index",
            &index,
            "--quantiser",
            &quantiser,
        ]);
        assert_eq!(done.code, 0, "{index} {quantiser}: {}", done.err);
        let moved = open(&to, CollectionSelector::Last, Mode::Read)
            .unwrap()
            .store;
        assert_eq!(all(moved.as_ref()), all(store.as_ref()));
        // Scores are exact with any quantiser.
        for hit in moved
            .visual(&query, &Scope::default(), TopK::new(10))
            .unwrap()
        {
            if let Some(same) = expected.iter().find(|t| t.id == hit.id) {
                assert!((same.score - hit.score).abs() < 1e-4, "{index} {quantiser}");
            }
        }
        assert_eq!(
            moved.visual(&query, &Scope::default(), exact).unwrap(),
            expected
        );
    }
}

#[test]
fn sync_rejects_another_manual_of_the_same_name() {
    let sandbox = ServerSandbox::at(&shared().url());
    for (folder, pages) in [("x", 3), ("y", 5)] {
        let manual = format!("{folder}/pump.pdf");
        let library = format!("{folder}.db");
        sandbox.manual(&manual, pages);
        assert_eq!(sandbox.run(&[&manual, "--store", &library]).code, 0);
    }
    assert_eq!(sandbox.run(&["sync", "--from", "y.db"]).code, 0);
    let before = sandbox.contents();
    let done = sandbox.run(&["sync", "--from", "x.db"]);
    assert_eq!(done.code, 2, "{}", done.err);
    assert!(
        done.err.contains("another manual of this name"),
        "{}",
        done.err
    );
    assert_eq!(sandbox.contents(), before);
}

#[test]
fn benchmark_leaves_no_collection_on_the_server() {
    let sandbox = ServerSandbox::at(&shared().url());
    sandbox.manual("a.pdf", 3);
    assert_eq!(sandbox.run(&["a.pdf"]).code, 0);
    let before = sandbox.contents();
    let done = sandbox.run(&["bench", "a.pdf", "--runs", "1", "--json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let report = done.json();
    assert_eq!(report["points"][0]["setup"]["store"], sandbox.url.as_str());
    assert_eq!(report["points"][0]["total"]["runs"][0]["pages"], 3);
    assert_eq!(sandbox.contents(), before);
    let url = format!("{}/v1/schema", sandbox.url);
    let schema = client().get(url).send().unwrap().text().unwrap();
    assert!(
        !schema.contains(&format!("{}Bench", sandbox.collection)),
        "{schema}"
    );
}

#[test]
fn sync_onto_itself_is_rejected() {
    let sandbox = ServerSandbox::at(&shared().url());
    let done = sandbox.run(&["sync", "--to", &sandbox.url]);
    assert_eq!(done.code, 64, "{}", done.err);
    let done = sandbox.run(&["sync", "--store", "library.db"]);
    assert_eq!(done.code, 64, "{}", done.err);
}
