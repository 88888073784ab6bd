//! Contract of manuals: removal and the catalogue.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use ingest::page::{ManualId, PageSet};
use ingest::store::{
    FailedPage, LastRun, ManualCard, Scope, StageSeconds, Store, StoredPage, TextField, TopK,
};

use crate::fixtures::{DIM, all, found, numbers, page, put, rows, upsert_manual};

pub(crate) fn pages_and_manuals_can_be_removed(store: &dyn Store) {
    for manual in ["a.pdf", "b.pdf"] {
        upsert_manual(store, manual);
        let pages: Vec<_> = (1..=6).map(|n| page(manual, n, "valve")).collect();
        put(store, &pages);
    }
    let a = ManualId::new("a.pdf");
    assert_eq!(store.remove(&a, &"2-3,6,9-".parse().unwrap()).unwrap(), 3);
    assert_eq!(numbers(store, "a.pdf"), [1, 4, 5]);
    assert_eq!(store.remove(&a, &PageSet::starting_at(5)).unwrap(), 1);
    assert_eq!(
        store
            .text(
                TextField::TextLayer,
                "valve",
                &Scope::default(),
                TopK::new(99)
            )
            .unwrap()
            .len(),
        8
    );
    assert_eq!(store.remove(&a, &PageSet::all()).unwrap(), 2);
    assert_eq!(store.remove(&a, &PageSet::all()).unwrap(), 0);
    let left: Vec<_> = store.manuals().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].card.id.as_str(), "b.pdf");
    assert_eq!(all(store).len(), 6);
    let hits = store
        .visual(&rows(3, DIM, 1), &Scope::default(), TopK::new(99))
        .unwrap();
    assert_eq!(hits.len(), 6);
    // A record without pages is not listed, and accepts new pages.
    let b = ManualId::new("b.pdf");
    assert_eq!(store.remove(&b, &PageSet::starting_at(1)).unwrap(), 6);
    assert!(store.manuals().unwrap().is_empty());
    put(store, &[page("b.pdf", 1, "anew")]);
    assert_eq!(numbers(store, "b.pdf"), [1]);
    // A removed manual can be stored again.
    upsert_manual(store, "a.pdf");
    put(store, &[page("a.pdf", 1, "again")]);
    assert_eq!(found(store, "again"), [1]);
}

pub(crate) fn catalogue_counts_pages(store: &dyn Store) {
    assert!(store.manuals().unwrap().is_empty());
    assert!(
        store
            .visual(&rows(1, DIM, 1), &Scope::default(), TopK::new(5))
            .unwrap()
            .is_empty()
    );
    upsert_manual(store, "b.pdf");
    upsert_manual(store, "a.pdf");
    let blank = StoredPage {
        blank: true,
        ..page("a.pdf", 2, "")
    };
    put(store, &[page("a.pdf", 1, ""), blank]);
    upsert_manual(store, "a.pdf");
    assert_eq!(
        store.manuals().unwrap().len(),
        1,
        "a manual is listed once it has pages"
    );
    let cards = store.cards().unwrap();
    assert_eq!(cards[0].id.as_str(), "a.pdf");
    assert_eq!(cards[0].pages, 40);
    put(store, &[page("b.pdf", 7, "")]);
    let manuals = store.manuals().unwrap();
    let names: Vec<&str> = manuals.iter().map(|m| m.card.id.as_str()).collect();
    assert_eq!(names, ["a.pdf", "b.pdf"]);
    let a = &manuals[0];
    assert_eq!((a.stored, a.blank, a.card.pages), (2, 1, 40));
    assert_eq!(a.bytes, (4 + 5) * DIM as u64 * 2);
    assert_eq!(a.card.path, std::path::Path::new("/shelf/a.pdf"));
    assert_eq!((manuals[1].stored, manuals[1].blank), (1, 0));
}

pub(crate) fn last_run_is_kept_with_its_manual(store: &dyn Store) {
    for manual in ["a.pdf", "b.pdf"] {
        upsert_manual(store, manual);
        put(store, &[page(manual, 1, ""), page(manual, 2, "")]);
    }
    let last_runs = || {
        let manuals = store.manuals().unwrap().into_iter();
        manuals.map(|manual| manual.last_run).collect::<Vec<_>>()
    };
    assert_eq!(last_runs(), [None, None]);
    let a = ManualId::new("a.pdf");
    let first = LastRun {
        ended: 1_790_000_000,
        seconds: StageSeconds {
            render: 0.125,
            prepare: 1.001,
            embed: 73.333,
            store: 0.0,
        },
        pages_per_second: 0.857,
        stored: 2,
        failed: 1,
        failures: vec![FailedPage {
            page: 3,
            reason: "\"Störung\" \\ '取扱'\n".to_owned(),
        }],
    };
    let second = LastRun {
        stored: 1,
        failed: 0,
        failures: Vec::new(),
        ..first.clone()
    };
    store.record_run(&a, &first).unwrap();
    assert_eq!(last_runs(), [Some(first.clone()), None]);
    store.record_run(&a, &second).unwrap();
    assert_eq!(last_runs(), [Some(second), None]);
    store.record_run(&a, &first).unwrap();
    // It stays while the manual does: with a new record of a file that moved, new pages, and fewer.
    let card = store.cards().unwrap().remove(0);
    let moved = ManualCard {
        path: "/elsewhere/a.pdf".into(),
        ..card
    };
    store.upsert_manual(&moved).unwrap();
    put(store, &[page("a.pdf", 3, "")]);
    store.remove(&a, &PageSet::of([1])).unwrap();
    assert_eq!(store.cards().unwrap()[0], moved);
    assert_eq!(last_runs(), [Some(first.clone()), None]);
    store.remove(&a, &PageSet::all()).unwrap();
    upsert_manual(store, "a.pdf");
    put(store, &[page("a.pdf", 1, "")]);
    assert_eq!(last_runs(), [None, None]);
    // Nothing is kept of a manual that is not stored.
    store.record_run(&ManualId::new("c.pdf"), &first).unwrap();
    assert_eq!(store.cards().unwrap().len(), 2);
}

pub(crate) fn paths_are_kept_byte_by_byte(store: &dyn Store) {
    let raw = OsStr::from_bytes(b"/shelf/bad\xff%20.pdf");
    let paths = ["/shelf/Gera\u{308}t.pdf", "/shelf/%FF.pdf"].map(OsStr::new);
    for path in [raw, paths[0], paths[1]] {
        upsert_manual(store, "a.pdf");
        let card = store.cards().unwrap().remove(0);
        let moved = ManualCard {
            path: path.into(),
            ..card
        };
        store.upsert_manual(&moved).unwrap();
        assert_eq!(store.cards().unwrap(), [moved]);
    }
}
