//! What goes wrong: each one clear line, an exit code, and nothing lost.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use ingest::page::PageError;
use ingest::store::{
    CollectionSelector, Error, Mode, Scope, StoredPage, TopK, VectorUpdate, WriteOutcome, open,
};
use ingest::vectors::Profile;
use serde_json::{Value, json};

use crate::making::{DIM, numbers, page, prepared, profile, put, rows, upsert_manual, vectors};
use crate::server::{Server, shared};
use crate::shelf::{Shelf, client, config};

/// Answers every request with this JSON: a server that we cannot have, such as one of two years ago.
fn answering(reply: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let body = reply.to_string();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

/// A request to the server's REST API, by hand.
fn rest(method: &str, path: &str, body: &Value) {
    let client = client();
    let url = format!("{}/v1/{path}", shared().url());
    let request = client
        .request(method.parse().unwrap(), url)
        .body(body.to_string());
    let reply = request
        .header("content-type", "application/json")
        .send()
        .unwrap();
    assert!(reply.status().is_success(), "{}", reply.text().unwrap());
}

#[test]
fn an_old_server_is_named_with_what_is_needed() {
    let shelf = Shelf::at(&answering(json!({"version": "1.36.2"})));
    let done = shelf.run(&["list"]);
    assert_eq!(done.code, 1);
    assert!(
        done.err
            .contains("is Weaviate 1.36.2; 1.39.1 or newer is needed"),
        "{}",
        done.err
    );
}

#[test]
fn something_else_on_the_port_is_no_weaviate() {
    let shelf = Shelf::at(&answering(json!({"cluster_name": "other"})));
    let done = shelf.run(&["list"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("is no Weaviate"), "{}", done.err);
}

#[test]
fn a_server_that_is_not_there_ends_the_run_before_anything_is_embedded() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let shelf = Shelf::at(&format!("http://{free}"));
    shelf.manual("pump.pdf", 2);
    let done = shelf.run(&["pump.pdf", "--verbose"]);
    assert_eq!(done.code, 1);
    assert!(
        done.err.contains("is away") && done.err.contains("--offline"),
        "{}",
        done.err
    );
    assert!(!done.err.contains("model loaded"), "{}", done.err);
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let mut server = Server::start();
    let patient = config(&server.url());
    let store = prepared(&patient, &profile()).store;
    upsert_manual(store.as_ref(), "pump.pdf");
    put(store.as_ref(), &[page("pump.pdf", 1, "")]);
    drop(store);
    let config = ingest::store::Config {
        timeout_s: 2,
        ..patient
    };
    let store = prepared(&config, &profile()).store;
    upsert_manual(store.as_ref(), "pump.pdf");
    let reader = crate::shelf::reader(&config).store;
    server.pause();
    let start = std::time::Instant::now();
    let asked = reader.visual(&rows(2, DIM, 1), &Scope::default(), TopK::new(3));
    assert!(matches!(asked, Err(Error::Unavailable { .. })), "{asked:?}");
    // A page that is put in while the connection is half open waits, and gets there later.
    let verdicts = store.upsert(&[page("pump.pdf", 2, "")]).unwrap();
    assert!(matches!(verdicts[0].1, Ok(WriteOutcome::Deferred(_))));
    assert!(start.elapsed().as_secs() < 30);
    server.resume();
    let delivered = store.outbox().unwrap().flush().unwrap();
    assert_eq!(
        delivered,
        [(page("pump.pdf", 2, "").id, Ok(WriteOutcome::Stored))]
    );
    assert_eq!(numbers(store.as_ref(), "pump.pdf"), [1, 2]);
}

#[test]
fn a_collection_that_differs_is_refused_with_both_values_and_the_way_out() {
    let shelf = Shelf::at(&shared().url());
    shelf.manual("pump.pdf", 1);
    assert_eq!(shelf.run(&["pump.pdf"]).code, 0);
    for (name, value, says) in [
        (
            "INGEST_STORE_INDEX",
            "muvera",
            "has index raw, the settings want muvera",
        ),
        (
            "INGEST_STORE_QUANTISER",
            "rq-8",
            "has quantiser none, the settings want rq-8",
        ),
        (
            "INGEST_STORE_REPLICATION",
            "3",
            "has replication 1, the settings want 3",
        ),
        (
            "INGEST_STORE_TENANT",
            "mine",
            "has tenants false, the settings want true",
        ),
    ] {
        let done: crate::sandbox::CommandOutput = shelf
            .command(&["pump.pdf"])
            .env(name, value)
            .output()
            .unwrap()
            .into();
        assert_eq!(done.code, 1);
        assert!(done.err.contains(says), "{}", done.err);
        assert!(
            done.err.contains("ingest sync --to-collection"),
            "{}",
            done.err
        );
    }
    let model: crate::sandbox::CommandOutput = shelf
        .command(&["pump.pdf"])
        .env("INGEST_EMBED_MODEL", "built-in")
        .output()
        .unwrap()
        .into();
    assert_eq!(model.code, 1);
    assert!(
        model.err.contains("holds vectors of") && model.err.contains("`built-in`"),
        "{}",
        model.err
    );
}

#[test]
fn a_collection_of_somebody_else_is_left_alone() {
    let config = config(&shared().url());
    let class = json!({"class": config.collection, "properties": [{"name": "title", "dataType": ["text"]}]});
    rest("POST", "schema", &class);
    let opened = open(&config, CollectionSelector::Last, Mode::Write);
    assert!(matches!(opened, Err(Error::Differs { what, .. }) if what == "vector"));
}

#[test]
fn a_missing_property_is_named() {
    let config = config(&shared().url());
    let class = json!({"class": config.collection, "properties": [{"name": "manual", "dataType": ["text"]}],
        "vectorConfig": {"colqwen": {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw",
            "vectorIndexConfig": {"distance": "dot", "multivector": {"enabled": true}}}}});
    rest("POST", "schema", &class);
    match open(&config, CollectionSelector::Last, Mode::Write).map(drop) {
        Err(Error::Differs {
            what,
            found,
            wanted,
            ..
        }) => {
            assert_eq!(
                (what.as_str(), found.as_str(), wanted.as_str()),
                ("page_number", "missing", "int")
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_foreign_profile_and_a_wrong_width_are_refused() {
    let config = config(&shared().url());
    drop(prepared(&config, &profile()));
    let other = Profile {
        id: "other".to_owned(),
        ..profile()
    };
    let opened = open(&config, CollectionSelector::Profile(&other), Mode::Write).map(drop);
    assert!(matches!(opened, Err(Error::Foreign { .. })), "{opened:?}");
    let opened = open(&config, CollectionSelector::Profile(&other), Mode::Read).map(drop);
    assert!(
        matches!(opened, Err(Error::NoCollection { .. })),
        "{opened:?}"
    );
}

#[test]
fn batches_fit_the_largest_message_and_a_page_that_does_not_is_named() {
    // The server's smallest limit that lets its own small messages through.
    let server = Server::with(&[("GRPC_MAX_MESSAGE_SIZE", "200000")]);
    let config = config(&server.url());
    let store = prepared(&config, &profile()).store;
    upsert_manual(store.as_ref(), "pump.pdf");
    let mut pages: Vec<StoredPage> = (1..=12)
        .map(|n| StoredPage {
            vectors: VectorUpdate::Replace(vectors(700, DIM, n.into())),
            ..page("pump.pdf", n, "")
        })
        .collect();
    pages[4].vectors = VectorUpdate::Replace(vectors(3_000, DIM, 5));
    let verdicts = store.upsert(&pages).unwrap();
    for (id, verdict) in verdicts {
        match (id.number, verdict) {
            (5, Err(PageError::Store(why))) => {
                assert!(why.contains("GRPC_MAX_MESSAGE_SIZE"), "{why}")
            }
            (5, other) => panic!("{other:?}"),
            (_, verdict) => assert_eq!(verdict, Ok(WriteOutcome::Stored), "{id}"),
        }
    }
    assert_eq!(numbers(store.as_ref(), "pump.pdf").len(), 11);
}

/// A disk of a few MB of our own needs Linux: namespaces and tmpfs.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_keeps_pages_waiting() {
    let mut server = Server::on_disk_of(120);
    let shelf = Shelf::at(&server.url());
    shelf.manual("a.pdf", 3);
    shelf.manual("b.pdf", 6);
    assert_eq!(shelf.run(&["a.pdf"]).code, 0);
    server.fill_disk();
    let full = shelf.run(&["b.pdf", "--json"]);
    assert_eq!(full.code, 1, "{}", full.err);
    assert_eq!(Shelf::total(&full.json(), "waiting"), 6, "{}", full.out);
    assert!(full.err.contains("no space left on device"), "{}", full.err);
    server.free_disk();
    // A shard that once found its disk full refuses to write until the server is started anew.
    server.restart();
    let again = shelf.run(&["b.pdf"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(shelf.contents().0, 9);
}

#[test]
fn a_disk_that_is_read_only_keeps_pages_waiting() {
    let server = Server::with(&[("DISK_USE_READONLY_PERCENTAGE", "1")]);
    let shelf = Shelf::at(&server.url());
    shelf.manual("b.pdf", 4);
    let done = shelf.run(&["b.pdf", "--json"]);
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(done.err.contains("store is read-only"), "{}", done.err);
    assert_eq!(Shelf::total(&done.json(), "waiting"), 4, "{}", done.out);
}
