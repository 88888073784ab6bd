//! What every store must do. Each store runs the same list: a new one adds one test at the end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod compression;
mod fixtures;
mod scope;
mod sqlite;
#[path = "../support/weaviate.rs"]
mod support;
mod text_search;
mod versions;
mod weaviate;

use ingest::page::{ManualId, PageError, PageId, PageSet};
use ingest::store::{Scope, Store, StoredPage, TextField, TopK, VectorUpdate, WriteOutcome};
use ingest::vectors::{Profile, max_sim};

use scope::{a_scope_narrows_both_searches, no_manual_crowds_the_others_out};
use text_search::{
    no_question_is_a_syntax_error, what_is_said_of_a_page_is_found_apart, words_find_identifiers,
};

use fixtures::{
    DIM, all, config, found, numbers, page, prepared, profile, put, rows, upsert_manual, vectors,
};

/// Opens a store of its own for each check, empty and prepared; opens the same one again when asked twice.
type Opener<'a> = &'a dyn Fn(&str) -> Box<dyn Store>;

/// Everything a store promises.
fn keeps_the_contract(fresh: Opener<'_>) {
    upserting_twice_keeps_one(fresh("twice").as_ref());
    nearest_follows_max_sim(fresh("nearest").as_ref());
    equal_scores_rank_by_page(fresh("ties").as_ref());
    a_scope_narrows_both_searches(fresh("scope").as_ref());
    no_manual_crowds_the_others_out(fresh("crowd").as_ref());
    one_bad_page_is_named(fresh("bad").as_ref());
    kept_vectors_outlive_new_metadata(fresh("kept").as_ref());
    a_description_stays_with_the_vectors(fresh("described").as_ref());
    pages_and_manuals_can_be_removed(fresh("remove").as_ref());
    words_find_identifiers(fresh("words").as_ref());
    no_question_is_a_syntax_error(fresh("syntax").as_ref());
    what_is_said_of_a_page_is_found_apart(fresh("said").as_ref());
    what_goes_in_comes_out(fresh("roundtrip").as_ref());
    hits_are_complete(fresh("hits").as_ref());
    another_width_is_refused(fresh("width").as_ref());
    the_catalogue_counts(fresh("catalogue").as_ref());
    closing_loses_nothing(fresh);
}

fn upserting_twice_keeps_one(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    put(
        store,
        &[page("pump.pdf", 1, "old"), page("pump.pdf", 2, "two")],
    );
    put(store, &[page("pump.pdf", 1, "new")]);
    assert_eq!(numbers(store, "pump.pdf"), [1, 2]);
    assert_eq!(all(store)[0].text, "new");
    assert!(found(store, "old").is_empty());
    assert_eq!(found(store, "new"), [1]);
    // Twice in one call: the last one stays.
    put(
        store,
        &[page("pump.pdf", 3, "first"), page("pump.pdf", 3, "last")],
    );
    assert_eq!(numbers(store, "pump.pdf"), [1, 2, 3]);
    assert_eq!(all(store)[2].text, "last");
}

fn nearest_follows_max_sim(store: &dyn Store) {
    upsert_manual(store, "a.pdf");
    upsert_manual(store, "b.pdf");
    let pages: Vec<StoredPage> = (1..=90)
        .map(|n| page(if n % 3 == 0 { "b.pdf" } else { "a.pdf" }, n, ""))
        .collect();
    put(store, &pages);
    for seed in 0..5 {
        let query = rows(1 + 4 * seed as usize, DIM, 900 + seed);
        let mut expected: Vec<(f32, &PageId)> = pages
            .iter()
            .map(|page| match &page.vectors {
                VectorUpdate::Replace(new) => (max_sim(&query, &new.vectors), &page.id),
                VectorUpdate::Keep => unreachable!(),
            })
            .collect();
        expected.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        for exact in [false, true] {
            let top_k = TopK {
                exact,
                ..TopK::new(12)
            };
            let hits = store.visual(&query, &Scope::default(), top_k).unwrap();
            assert_eq!(hits.len(), 12);
            for (hit, (score, id)) in hits.iter().zip(&expected) {
                assert_eq!(&&hit.id, id);
                let distance = (hit.score - score).abs();
                assert!(distance < 1e-3, "{} is not {score}", hit.score);
            }
        }
    }
}

fn equal_scores_rank_by_page(store: &dyn Store) {
    let same = |manual: &str, number| StoredPage {
        vectors: VectorUpdate::Replace(vectors(4, DIM, 5)),
        ..page(manual, number, "same words")
    };
    upsert_manual(store, "b.pdf");
    upsert_manual(store, "a.pdf");
    put(
        store,
        &[same("b.pdf", 1), same("a.pdf", 10), same("a.pdf", 2)],
    );
    let expected = ["a.pdf, page 2", "a.pdf, page 10", "b.pdf, page 1"];
    let visual = store
        .visual(&rows(2, DIM, 1), &Scope::default(), TopK::new(3))
        .unwrap();
    let text = store
        .text(
            TextField::TextLayer,
            "same",
            &Scope::default(),
            TopK::new(3),
        )
        .unwrap();
    for hits in [visual, text] {
        let ids: Vec<String> = hits.iter().map(|hit| hit.id.to_string()).collect();
        assert_eq!(ids, expected);
    }
}

fn one_bad_page_is_named(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    let wide = StoredPage {
        vectors: VectorUpdate::Replace(vectors(4, DIM + 8, 1)),
        ..page("pump.pdf", 2, "")
    };
    let rootless = page("stranger.pdf", 3, "");
    let hollow = StoredPage {
        vectors: VectorUpdate::Keep,
        ..page("pump.pdf", 4, "")
    };
    let mut astray = page("pump.pdf", 5, "");
    if let VectorUpdate::Replace(new) = &mut astray.vectors {
        new.places = new.places.extended();
    }
    let pages = [
        page("pump.pdf", 1, ""),
        wide,
        rootless,
        hollow,
        astray,
        page("pump.pdf", 6, ""),
    ];
    let outcomes = store.upsert(&pages).unwrap();
    for ((id, outcome), page) in outcomes.iter().zip(&pages) {
        assert_eq!(*id, page.id);
        match id.number {
            1 | 6 => assert_eq!(*outcome, Ok(WriteOutcome::Stored)),
            _ => assert!(matches!(outcome, Err(PageError::Store(_))), "{outcome:?}"),
        }
    }
    assert_eq!(outcomes.len(), 6);
    assert_eq!(numbers(store, "pump.pdf"), [1, 6]);
    assert!(numbers(store, "stranger.pdf").is_empty());
}

fn kept_vectors_outlive_new_metadata(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    let first = page("pump.pdf", 1, "before");
    put(store, std::slice::from_ref(&first));
    let second = StoredPage {
        origin: "another file".to_owned(),
        content: "as before".to_owned(),
        label: Some("iv".to_owned()),
        section: Some("Valves".to_owned()),
        text: "after".to_owned(),
        thumbnail: vec![1, 2],
        vectors: VectorUpdate::Keep,
        ..first.clone()
    };
    put(store, std::slice::from_ref(&second));
    let expected = StoredPage {
        vectors: first.vectors,
        ..second
    };
    assert_eq!(all(store), [expected]);
    assert_eq!(found(store, "after"), [1]);
    assert!(found(store, "before").is_empty());
}

fn a_description_stays_with_the_vectors(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    let first = page("pump.pdf", 1, "words");
    put(store, std::slice::from_ref(&first));
    let described = |text: Option<&str>| StoredPage {
        description: text.map(str::to_owned),
        vectors: VectorUpdate::Keep,
        ..first.clone()
    };
    for (new, expected) in [
        (None, None),
        (Some("An exploded view"), Some("An exploded view")),
        (None, Some("An exploded view")),
        (Some("A pump"), Some("A pump")),
    ] {
        put(store, &[described(new)]);
        let expected = StoredPage {
            description: expected.map(str::to_owned),
            ..first.clone()
        };
        assert_eq!(all(store), [expected]);
    }
    // Another page under the same id is described by nobody yet.
    put(store, std::slice::from_ref(&first));
    assert_eq!(all(store), [first]);
}

fn pages_and_manuals_can_be_removed(store: &dyn Store) {
    for manual in ["a.pdf", "b.pdf"] {
        upsert_manual(store, manual);
        let pages: Vec<_> = (1..=6).map(|n| page(manual, n, "valve")).collect();
        put(store, &pages);
    }
    let a = ManualId::new("a.pdf");
    assert_eq!(store.remove(&a, &"2-3,6,9-".parse().unwrap()).unwrap(), 3);
    assert_eq!(numbers(store, "a.pdf"), [1, 4, 5]);
    assert_eq!(store.remove(&a, &PageSet::from(5)).unwrap(), 1);
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
    // A record whose pages went one after another takes new ones; it is not listed without any.
    let b = ManualId::new("b.pdf");
    assert_eq!(store.remove(&b, &PageSet::from(1)).unwrap(), 6);
    assert!(store.manuals().unwrap().is_empty());
    put(store, &[page("b.pdf", 1, "anew")]);
    assert_eq!(numbers(store, "b.pdf"), [1]);
    // A manual that comes back starts anew.
    upsert_manual(store, "a.pdf");
    put(store, &[page("a.pdf", 1, "again")]);
    assert_eq!(found(store, "again"), [1]);
}

fn what_goes_in_comes_out(store: &dyn Store) {
    upsert_manual(store, "b.pdf");
    upsert_manual(store, "a.pdf");
    let mut pages: Vec<StoredPage> = (1..=12).map(|n| page("a.pdf", n, "text\n\tß")).collect();
    pages.push(StoredPage {
        label: Some("xii".to_owned()),
        section: Some("2.1 Wiring".to_owned()),
        blank: true,
        thumbnail: Vec::new(),
        text: String::new(),
        ..page("b.pdf", 1, "")
    });
    let mut shuffled = pages.clone();
    shuffled.reverse();
    put(store, &shuffled);
    assert_eq!(all(store), pages);
    let records = store.records(&Scope::default()).unwrap();
    let records: Vec<StoredPage> = records.map(Result::unwrap).collect();
    let without = |page: &StoredPage| StoredPage {
        vectors: VectorUpdate::Keep,
        ..page.clone()
    };
    assert_eq!(records, pages.iter().map(without).collect::<Vec<_>>());
    let fingerprints = store.fingerprints(&ManualId::new("a.pdf")).unwrap();
    assert_eq!(fingerprints.len(), 12);
    assert_eq!(fingerprints[4].origin, "origin of a.pdf");
    assert_eq!(fingerprints[4].content, "content 5");
    // A store can be changed while it is scanned.
    let mut scan = store.scan(&Scope::default()).unwrap();
    assert!(scan.next().is_some());
    store
        .remove(&ManualId::new("b.pdf"), &PageSet::all())
        .unwrap();
    assert_eq!(scan.count(), 11);
}

fn hits_are_complete(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    let page = StoredPage {
        label: Some("A-3".to_owned()),
        section: Some("Faults".to_owned()),
        ..page("pump.pdf", 7, "Error E-104")
    };
    put(store, std::slice::from_ref(&page));
    let visual = store
        .visual(&rows(2, DIM, 1), &Scope::default(), TopK::new(5))
        .unwrap();
    let text = store
        .text(
            TextField::TextLayer,
            "error",
            &Scope::default(),
            TopK::new(5),
        )
        .unwrap();
    for hits in [visual, text] {
        assert_eq!(hits.len(), 1);
        assert_eq!(hits[0].id, page.id);
        assert_eq!(hits[0].label, page.label);
        assert_eq!(hits[0].section, page.section);
        assert_eq!(hits[0].text, page.text);
    }
}

fn another_width_is_refused(store: &dyn Store) {
    use ingest::store::Error::Width;
    let wide = rows(2, DIM + 1, 1);
    let refused = store.visual(&wide, &Scope::default(), TopK::new(5));
    assert!(matches!(
        refused,
        Err(Width {
            found: 24,
            made: 25
        })
    ));
    let other = Profile {
        dim: 25,
        ..profile()
    };
    let refused = store.prepare(&other);
    assert!(matches!(
        refused,
        Err(Width {
            found: 24,
            made: 25
        })
    ));
}

fn the_catalogue_counts(store: &dyn Store) {
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

fn closing_loses_nothing(fresh: Opener<'_>) {
    let store = fresh("reopen");
    upsert_manual(store.as_ref(), "pump.pdf");
    put(store.as_ref(), &[page("pump.pdf", 1, "E-104")]);
    let before = (all(store.as_ref()), store.manuals().unwrap());
    drop(store);
    let store = fresh("reopen");
    assert_eq!((all(store.as_ref()), store.manuals().unwrap()), before);
    assert_eq!(found(store.as_ref(), "e-104"), [1]);
}

#[test]
fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| config(&folder.path().join(name));
    keeps_the_contract(&|name| prepared(&file(name), &profile()).store);
    for name in ["twice", "kept", "remove", "roundtrip", "said"] {
        sqlite::is_sound(&file(name));
    }
}
