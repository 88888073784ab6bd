//! Nothing is lost: servers that go and come, runs that are killed, and runs without a server.

use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ingest::page::ManualId;
use ingest::store::{Config, Index, Scope, Store, StoredPage, TopK, VectorUpdate, WriteOutcome};

use crate::making::{DIM, all, found, numbers, page, prepared, profile, put, rows, upsert_manual};
use crate::sandbox::{CommandOutput, manual_report};
use crate::server::{Server, shared};
use crate::shelf::{Shelf, config};

const ALL: [&str; 3] = ["m0.pdf", "m1.pdf", "m2.pdf"];
const PAGES: u64 = 30;

fn filled(shelf: Shelf) -> Shelf {
    for manual in ALL {
        shelf.manual(manual, 10);
    }
    shelf
}

/// What a run that nobody disturbed leaves behind.
fn undisturbed() -> (u64, Vec<serde_json::Value>) {
    let shelf = filled(Shelf::at(&shared().url()));
    let done = shelf.run(&ALL);
    assert_eq!(done.code, 0, "{}", done.err);
    shelf.contents()
}

fn finish(child: Child) -> CommandOutput {
    child.wait_with_output().unwrap().into()
}

#[test]
fn offline_pages_wait_and_sync_sends_them() {
    let mut server = Server::start();
    let shelf = filled(Shelf::at(&server.url()));
    server.kill();
    let done = shelf.run(&[&ALL[..], &["--offline", "--json"]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    let report = done.json();
    let waiting = Shelf::total(&report, "waiting");
    assert_eq!((waiting, Shelf::total(&report, "stored")), (PAGES, 0));
    // The same again: what waits is known, nothing is embedded twice.
    let again = shelf.run(&[&ALL[..], &["--offline", "--json"]].concat());
    assert_eq!(Shelf::total(&again.json(), "unchanged"), PAGES);
    let sent = shelf.run(&["sync"]);
    assert_eq!(sent.code, 1);
    assert!(sent.err.contains("is away"), "{}", sent.err);
    server.restart();
    let sent = shelf.run(&["sync"]);
    assert_eq!(sent.code, 0, "{}", sent.err);
    assert!(
        sent.err.contains("30 pages from the outbox stored"),
        "{}",
        sent.err
    );
    assert_eq!(shelf.contents(), undisturbed());
    let sent = shelf.run(&["sync"]);
    assert!(
        sent.code == 0 && !sent.err.contains("from the outbox"),
        "{}",
        sent.err
    );
}

#[test]
fn an_offline_run_of_a_shorter_file_takes_the_rest_away_later() {
    let shelf = filled(Shelf::at(&shared().url()));
    assert_eq!(shelf.run(&["m0.pdf", "m1.pdf"]).code, 0);
    shelf.manual("m0.pdf", 3);
    assert_eq!(shelf.run(&["m0.pdf", "--offline"]).code, 0);
    let sent = shelf.run(&["sync"]);
    assert_eq!(sent.code, 0, "{}", sent.err);
    assert_eq!(shelf.contents().0, 13);
}

#[test]
fn an_offline_run_does_not_overwrite_another_manual_of_the_same_name() {
    let shelf = Shelf::at(&shared().url());
    shelf.manual("pump.pdf", 4);
    assert_eq!(shelf.run(&["pump.pdf"]).code, 0);
    let before = shelf.contents();
    shelf.manual("other/pump.pdf", 2);
    assert_eq!(shelf.run(&["other/pump.pdf", "--offline"]).code, 0);
    let sent = shelf.run(&["sync"]);
    assert_eq!(sent.code, 1);
    assert!(
        sent.err.contains("another manual has this name"),
        "{}",
        sent.err
    );
    assert!(sent.err.contains("2 pages still queued"), "{}", sent.err);
    assert_eq!(shelf.contents(), before);
}

#[test]
fn pages_of_another_model_wait_and_the_way_out_is_told() {
    let shelf = Shelf::at(&shared().url());
    shelf.manual("a.pdf", 2);
    assert_eq!(shelf.run(&["a.pdf"]).code, 0);
    let other = shelf.run(&["a.pdf", "--offline", "--model", "built-in"]);
    assert_eq!(other.code, 0, "{}", other.err);
    let sent = shelf.run(&["sync"]);
    assert_eq!(sent.code, 1);
    assert!(sent.err.contains("2 pages still queued"), "{}", sent.err);
    let way = sent
        .err
        .split('`')
        .find(|part| part.starts_with("ingest sync --from"))
        .unwrap();
    let way = way.replace("NEW", &format!("{}Other", shelf.collection));
    let words: Vec<&str> = way.split_whitespace().skip(1).collect();
    let moved = shelf.run(&words);
    assert_eq!(moved.code, 0, "{}", moved.err);
    assert!(moved.out.contains("2 pages in "), "{}", moved.out);
}

#[test]
fn a_server_killed_during_the_run_and_back_after_it() {
    let mut server = Server::start();
    let shelf = filled(Shelf::at(&server.url()));
    assert_eq!(shelf.run(&["m0.pdf"]).code, 0);
    let run = shelf.start(&["m1.pdf", "m2.pdf", "--json"]);
    shelf.wait_for("m1.pdf");
    server.kill();
    let done = finish(run);
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(
        done.err.contains("pages queued: the server"),
        "{}",
        done.err
    );
    let report = done.json();
    let (stored, waiting) = (
        Shelf::total(&report, "stored"),
        Shelf::total(&report, "waiting"),
    );
    assert!(stored + waiting == 20 && waiting > 0, "{report}");
    assert_eq!(
        manual_report(&report, "m2.pdf")["failed"],
        serde_json::json!([])
    );
    server.restart();
    // The next run sends what waits.
    let next = shelf.run(&ALL);
    assert_eq!(next.code, 0, "{}", next.err);
    assert_eq!(shelf.contents(), undisturbed());
}

#[test]
fn a_server_killed_and_back_during_the_run() {
    let mut server = Server::start();
    let shelf = filled(Shelf::at(&server.url()));
    shelf.manual("long.pdf", 60);
    let run = shelf.start(&[
        "long.pdf",
        "m0.pdf",
        "m1.pdf",
        "m2.pdf",
        "--json",
        "--batch-size",
        "1",
    ]);
    shelf.wait_for("long.pdf");
    server.restart();
    let done = finish(run);
    let waiting = match done.code {
        0 => 0,
        _ => Shelf::total(&done.json(), "waiting"),
    };
    let report = done.json();
    assert_eq!(
        Shelf::total(&report, "stored") + waiting,
        60 + PAGES,
        "{report} {}",
        done.err
    );
    let next = shelf.run(&["long.pdf", "m0.pdf", "m1.pdf", "m2.pdf"]);
    assert_eq!(next.code, 0, "{}", next.err);
    assert_eq!(shelf.contents().0, 60 + PAGES);
}

#[test]
fn a_run_killed_many_times_leaves_every_page_once() {
    let shelf = filled(Shelf::at(&shared().url()));
    let start = Instant::now();
    let calm = undisturbed();
    let whole = start.elapsed().min(Duration::from_secs(20));
    let mut moment = 7u32;
    for _ in 0..8 {
        moment = (moment * 37 + 11) % 100;
        let mut run = shelf.start(&ALL);
        sleep(whole.mul_f64(f64::from(moment) / 250.0));
        run.kill().unwrap();
        run.wait().unwrap();
    }
    let last = shelf.run(&ALL);
    assert_eq!(last.code, 0, "{}", last.err);
    assert_eq!(shelf.contents(), calm);
}

#[test]
fn a_shorter_manual_loses_its_last_pages_and_one_can_be_removed() {
    let shelf = filled(Shelf::at(&shared().url()));
    assert_eq!(shelf.run(&ALL).code, 0);
    shelf.manual("m1.pdf", 4);
    assert_eq!(shelf.run(&ALL).code, 0);
    assert_eq!(shelf.contents().0, 24);
    let gone = shelf.run(&["remove", "m0"]);
    assert!(
        gone.err.contains("10 pages of m0.pdf removed"),
        "{}",
        gone.err
    );
    assert_eq!(shelf.contents().0, 14);
}

#[test]
fn a_removal_while_the_server_is_away_happens_later() {
    let mut server = Server::start();
    let config = config(&server.url());
    let store = prepared(&config, &profile()).store;
    let pages: Vec<_> = (1..=6).map(|n| page("a.pdf", n, "")).collect();
    upsert_manual(store.as_ref(), "a.pdf");
    put(store.as_ref(), &pages);
    server.kill();
    let manual = ManualId::new("a.pdf");
    store.remove(&manual, &"4-".parse().unwrap()).unwrap();
    // Page 2 changes in words only, page 7 is new.
    let changed = StoredPage {
        text: "new words".to_owned(),
        vectors: VectorUpdate::Keep,
        ..pages[1].clone()
    };
    let verdicts = store.upsert(&[changed, page("a.pdf", 7, "seven")]).unwrap();
    for (_, verdict) in verdicts {
        assert!(matches!(verdict, Ok(WriteOutcome::Deferred(_))));
    }
    server.restart();
    assert_eq!(store.outbox().unwrap().flush().unwrap().len(), 2);
    assert_eq!(numbers(store.as_ref(), "a.pdf"), [1, 2, 3, 7]);
    assert_eq!(found(store.as_ref(), "new words"), [2]);
}

/// How many of the pages an ordinary search can find.
fn findable(store: &dyn Store) -> usize {
    let top_k = TopK::new(1_000);
    store
        .visual(&rows(1, DIM, 4), &Scope::default(), top_k)
        .unwrap()
        .len()
}

#[test]
fn what_a_killed_server_forgot_is_put_back() {
    for index in [Index::Muvera, Index::Raw] {
        let mut server = Server::start();
        let config = Config {
            index: Some(index),
            ..config(&server.url())
        };
        let store = prepared(&config, &profile()).store;
        upsert_manual(store.as_ref(), "a.pdf");
        let pages: Vec<_> = (1..=40).map(|n| page("a.pdf", n, "")).collect();
        put(store.as_ref(), &pages[..20]);
        put(store.as_ref(), &pages[20..]);
        server.restart();
        // Only this defect makes the repair necessary: when it is gone, so should the repair be.
        if index == Index::Muvera {
            assert!(
                findable(store.as_ref()) < 40,
                "the server has forgotten nothing"
            );
        }
        let forgotten = 40 - findable(store.as_ref()) as u64;
        let server_index = store.index().unwrap();
        let repaired = server_index.repair(&store.cards().unwrap()).unwrap();
        assert!(repaired >= forgotten, "{index:?}");
        assert_eq!(findable(store.as_ref()), 40, "{index:?}");
        assert_eq!(all(store.as_ref()), pages, "{index:?}");
        assert_eq!(
            server_index.repair(&store.cards().unwrap()).unwrap(),
            0,
            "{index:?}"
        );
    }
}

#[test]
fn a_run_that_saw_the_server_die_puts_back_by_itself() {
    let mut server = Server::start();
    let config = Config {
        index: Some(Index::Muvera),
        ..config(&server.url())
    };
    let store = prepared(&config, &profile()).store;
    upsert_manual(store.as_ref(), "a.pdf");
    let pages: Vec<_> = (1..=30).map(|n| page("a.pdf", n, "")).collect();
    put(store.as_ref(), &pages[..20]);
    server.kill();
    let verdicts = store.upsert(&pages[20..]).unwrap();
    assert!(
        verdicts
            .iter()
            .all(|(_, v)| matches!(v, Ok(WriteOutcome::Deferred(_))))
    );
    server.restart();
    assert_eq!(store.outbox().unwrap().flush().unwrap().len(), 10);
    assert_eq!(findable(store.as_ref()), 30);
}
