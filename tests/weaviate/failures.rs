//! Failures of a server: one clear message, an exit code, and no lost page.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use ingest::page::PageError;
use ingest::store::{
    CollectionSelector, Error, Mode, Scope, StoredPage, TopK, VectorUpdate, WriteOutcome, open,
};
use ingest::vectors::Profile;
use serde_json::{Value, json};

use crate::fixtures::{DIM, numbers, page, prepared, profile, put, rows, upsert_manual, vectors};
use crate::library::{ServerSandbox, client, config};
use crate::server::{Server, shared};

/// A server that sends this JSON as every response: stands in for servers that the tests cannot run, such as old versions.
fn fake_server(reply: Value) -> String {
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

/// Sends a request to the server's REST API.
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
fn old_server_is_rejected_with_the_required_version() {
    let sandbox = ServerSandbox::at(&fake_server(json!({"version": "1.36.2"})));
    let done = sandbox.run(&["list"]);
    assert_eq!(done.code, 1);
    assert!(
        done.err
            .contains("is Weaviate 1.36.2; 1.39.1 or newer is needed"),
        "{}",
        done.err
    );
}

#[test]
fn other_server_is_rejected() {
    let sandbox = ServerSandbox::at(&fake_server(json!({"cluster_name": "other"})));
    let done = sandbox.run(&["list"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("is not Weaviate"), "{}", done.err);
}

#[test]
fn unavailable_server_ends_the_run_before_embedding() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let sandbox = ServerSandbox::at(&format!("http://{free}"));
    sandbox.manual("pump.pdf", 2);
    let done = sandbox.run(&["pump.pdf", "--verbose"]);
    assert_eq!(done.code, 2);
    assert!(
        done.err.contains("is unavailable") && done.err.contains("--offline"),
        "{}",
        done.err
    );
    assert!(!done.err.contains("model loaded"), "{}", done.err);
}

#[test]
fn hanging_server_times_out_and_pages_are_queued() {
    let mut server = Server::start();
    let initial = config(&server.url());
    let store = prepared(&initial, &profile()).store;
    upsert_manual(store.as_ref(), "pump.pdf");
    put(store.as_ref(), &[page("pump.pdf", 1, "")]);
    drop(store);
    let config = ingest::store::Config {
        timeout_s: 2,
        ..initial
    };
    let store = prepared(&config, &profile()).store;
    upsert_manual(store.as_ref(), "pump.pdf");
    let reader = crate::library::reader(&config).store;
    server.pause();
    let start = std::time::Instant::now();
    let asked = reader.visual(&rows(2, DIM, 1), &Scope::default(), TopK::new(3));
    assert!(matches!(asked, Err(Error::Unavailable { .. })), "{asked:?}");
    // A page written while the connection hangs is queued and delivered later.
    let outcomes = store.upsert(&[page("pump.pdf", 2, "")]).unwrap();
    assert!(matches!(outcomes[0].1, Ok(WriteOutcome::Deferred(_))));
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
fn mismatched_settings_are_reported_with_both_values() {
    let sandbox = ServerSandbox::at(&shared().url());
    sandbox.manual("pump.pdf", 1);
    assert_eq!(sandbox.run(&["pump.pdf"]).code, 0);
    for (name, value, expected) in [
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
        let done: crate::sandbox::CommandOutput = sandbox
            .command(&["pump.pdf"])
            .env(name, value)
            .output()
            .unwrap()
            .into();
        assert_eq!(done.code, 2);
        assert!(done.err.contains(expected), "{}", done.err);
        assert!(
            done.err.contains("ingest sync --to-collection"),
            "{}",
            done.err
        );
    }
    let model: crate::sandbox::CommandOutput = sandbox
        .command(&["pump.pdf"])
        .env("INGEST_EMBED_MODEL", "built-in")
        .output()
        .unwrap()
        .into();
    assert_eq!(model.code, 2);
    assert!(
        model.err.contains("holds vectors of") && model.err.contains("`built-in`"),
        "{}",
        model.err
    );
}

#[test]
fn collection_of_another_program_is_rejected() {
    let config = config(&shared().url());
    let class = json!({"class": config.collection, "properties": [{"name": "title", "dataType": ["text"]}]});
    rest("POST", "schema", &class);
    let opened = open(&config, CollectionSelector::Last, Mode::Write);
    assert!(matches!(opened, Err(Error::SettingMismatch { what, .. }) if what == "vector"));
}

#[test]
fn missing_property_is_reported() {
    let config = config(&shared().url());
    let class = json!({"class": config.collection, "properties": [{"name": "manual", "dataType": ["text"]}],
        "vectorConfig": {"colqwen": {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw",
            "vectorIndexConfig": {"distance": "dot", "multivector": {"enabled": true}}}}});
    rest("POST", "schema", &class);
    match open(&config, CollectionSelector::Last, Mode::Write).map(drop) {
        Err(Error::SettingMismatch {
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
fn other_profile_is_rejected() {
    let config = config(&shared().url());
    drop(prepared(&config, &profile()));
    let other = Profile {
        id: "other".to_owned(),
        ..profile()
    };
    let opened = open(&config, CollectionSelector::Profile(&other), Mode::Write).map(drop);
    assert!(
        matches!(opened, Err(Error::OtherModel { .. })),
        "{opened:?}"
    );
    let opened = open(&config, CollectionSelector::Profile(&other), Mode::Read).map(drop);
    assert!(
        matches!(opened, Err(Error::NoCollection { .. })),
        "{opened:?}"
    );
}

#[test]
fn batches_fit_the_message_limit_and_larger_pages_are_rejected() {
    // The smallest limit that the server's own messages fit.
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
    let outcomes = store.upsert(&pages).unwrap();
    for (id, outcome) in outcomes {
        match (id.number, outcome) {
            (5, Err(PageError::Store(why))) => {
                assert!(why.contains("GRPC_MAX_MESSAGE_SIZE"), "{why}")
            }
            (5, other) => panic!("{other:?}"),
            (_, outcome) => assert_eq!(outcome, Ok(WriteOutcome::Stored), "{id}"),
        }
    }
    assert_eq!(numbers(store.as_ref(), "pump.pdf").len(), 11);
}

/// A disk of a few MB of our own needs Linux: namespaces and tmpfs.
#[cfg(target_os = "linux")]
#[test]
fn full_disk_queues_pages() {
    let mut server = Server::on_disk_of(120);
    let sandbox = ServerSandbox::at(&server.url());
    sandbox.manual("a.pdf", 3);
    sandbox.manual("b.pdf", 6);
    assert_eq!(sandbox.run(&["a.pdf"]).code, 0);
    server.fill_disk();
    let full = sandbox.run(&["b.pdf", "--json"]);
    assert_eq!(full.code, 1, "{}", full.err);
    assert_eq!(
        ServerSandbox::total(&full.json(), "waiting"),
        6,
        "{}",
        full.out
    );
    assert!(full.err.contains("no space left on device"), "{}", full.err);
    server.free_disk();
    // A shard that found its disk full rejects writes until the server is restarted.
    server.restart();
    let again = sandbox.run(&["b.pdf"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert_eq!(sandbox.contents().0, 9);
}

#[test]
fn read_only_disk_queues_pages() {
    let server = Server::with(&[("DISK_USE_READONLY_PERCENTAGE", "1")]);
    let sandbox = ServerSandbox::at(&server.url());
    sandbox.manual("b.pdf", 4);
    let done = sandbox.run(&["b.pdf", "--json"]);
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(done.err.contains("store is read-only"), "{}", done.err);
    assert_eq!(
        ServerSandbox::total(&done.json(), "waiting"),
        4,
        "{}",
        done.out
    );
    for done in [done, sandbox.run(&["sync"])] {
        assert_eq!(done.code, 1);
        let why = "it takes no more pages: read-only, its disk is nearly full";
        assert!(done.err.contains(why), "{}", done.err);
    }
}

#[test]
fn grpc_port_is_named() {
    let server = Server::start();
    let sandbox = ServerSandbox::at(&format!("http://127.0.0.1:{}", server.grpc_port()));
    sandbox.manual("b.pdf", 1);
    for (args, code) in [("list", 1), ("b.pdf", 2)] {
        let done = sandbox.run(&[args]);
        assert_eq!(done.code, code, "{}", done.err);
        assert!(done.err.contains("not its gRPC port"), "{}", done.err);
    }
}
