//! Contract of manuals: removal and the catalogue.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use ingest::page::{ManualId, PageSet};
use ingest::store::{ManualCard, Scope, Store, StoredPage, TextField, TopK};

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
