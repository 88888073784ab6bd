//! Store contract: the same checks for every store. A new store adds one test at the end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod compression;
mod fixtures;
mod manuals;
mod scope;
mod space;
mod sqlite;
#[path = "../support/weaviate.rs"]
mod support;
mod text_search;
mod text_vectors;
mod versions;
mod weaviate;
mod wide;

use ingest::page::{ManualId, PageError, PageId, PageSet};
use ingest::store::{Scope, Store, StoredPage, TextField, TopK, VectorUpdate, WriteOutcome};
use ingest::vectors::{Profile, max_sim};

use manuals::{
    catalogue_counts_pages, last_run_is_kept_with_its_manual, pages_and_manuals_can_be_removed,
    paths_are_kept_byte_by_byte,
};
use scope::{per_manual_limits_pages_of_one_manual, scope_restricts_both_searches};
use text_search::{
    descriptions_are_a_separate_text_field, every_query_is_valid, spellings_find_each_other,
    text_search_finds_identifiers, words_without_spaces_are_found,
};

use text_vectors::{
    text_vectors_are_kept_replaced_and_removed, text_vectors_are_searched_with_weights,
    text_vectors_are_searched_within_manuals,
    words_that_were_read_are_found_and_go_with_their_page,
};

use fixtures::{
    DIM, all, config, found, numbers, page, prepared, profile, put, rows, upsert_manual, vectors,
};

/// Opens a prepared store by name: empty at first, the same one again for the same name.
type Opener<'a> = &'a dyn Fn(&str) -> Box<dyn Store>;

/// Runs all checks of the contract.
fn check_contract(open_store: Opener<'_>) {
    upsert_replaces_pages_with_the_same_id(open_store("twice").as_ref());
    visual_search_ranks_by_max_sim(open_store("nearest").as_ref());
    equal_scores_rank_by_page(open_store("ties").as_ref());
    scope_restricts_both_searches(open_store("scope").as_ref());
    per_manual_limits_pages_of_one_manual(open_store("crowd").as_ref());
    invalid_pages_are_rejected_one_by_one(open_store("bad").as_ref());
    metadata_update_keeps_vectors(open_store("kept").as_ref());
    description_is_kept_with_the_vectors(open_store("described").as_ref());
    pages_and_manuals_can_be_removed(open_store("remove").as_ref());
    text_search_finds_identifiers(open_store("words").as_ref());
    spellings_find_each_other(open_store("spellings").as_ref());
    words_without_spaces_are_found(open_store("scripts").as_ref());
    every_query_is_valid(open_store("syntax").as_ref());
    descriptions_are_a_separate_text_field(open_store("said").as_ref());
    text_vectors_are_searched_with_weights(open_store("meaning").as_ref());
    text_vectors_are_searched_within_manuals(open_store("meaning_in_manuals").as_ref());
    text_vectors_are_kept_replaced_and_removed(open_store("kept_texts").as_ref());
    words_that_were_read_are_found_and_go_with_their_page(open_store("read").as_ref());
    scan_returns_what_was_stored(open_store("roundtrip").as_ref());
    hits_are_complete(open_store("hits").as_ref());
    other_vector_width_is_rejected(open_store("width").as_ref());
    catalogue_counts_pages(open_store("catalogue").as_ref());
    last_run_is_kept_with_its_manual(open_store("last_run").as_ref());
    paths_are_kept_byte_by_byte(open_store("paths").as_ref());
    reopened_store_has_the_same_contents(open_store);
}

fn upsert_replaces_pages_with_the_same_id(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    put(
        store,
        &[page("pump.pdf", 1, "old"), page("pump.pdf", 2, "two")],
    );
    put(store, &[page("pump.pdf", 1, "new")]);
    assert_eq!(numbers(store, "pump.pdf"), [1, 2]);
    for page in all(store) {
        assert_eq!(store.page_with_uuid(page.id.uuid()).unwrap(), Some(page.id));
    }
    let other = PageId::new(&ManualId::new("pump.pdf"), 3).uuid();
    assert_eq!(store.page_with_uuid(other).unwrap(), None);
    assert_eq!(all(store)[0].text, "new");
    assert!(found(store, "old").is_empty());
    assert_eq!(found(store, "new"), [1]);
    // Twice in one call: the last one wins.
    put(
        store,
        &[page("pump.pdf", 3, "first"), page("pump.pdf", 3, "last")],
    );
    assert_eq!(numbers(store, "pump.pdf"), [1, 2, 3]);
    assert_eq!(all(store)[2].text, "last");
}

fn visual_search_ranks_by_max_sim(store: &dyn Store) {
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

fn invalid_pages_are_rejected_one_by_one(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    let wide = StoredPage {
        vectors: VectorUpdate::Replace(vectors(4, DIM + 8, 1)),
        ..page("pump.pdf", 2, "")
    };
    let without_manual = page("stranger.pdf", 3, "");
    let without_vectors = StoredPage {
        vectors: VectorUpdate::Keep,
        ..page("pump.pdf", 4, "")
    };
    let mut wrong_patch_map = page("pump.pdf", 5, "");
    if let VectorUpdate::Replace(new) = &mut wrong_patch_map.vectors {
        new.patches = new.patches.extended();
    }
    let pages = [
        page("pump.pdf", 1, ""),
        wide,
        without_manual,
        without_vectors,
        wrong_patch_map,
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

fn metadata_update_keeps_vectors(store: &dyn Store) {
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

fn description_is_kept_with_the_vectors(store: &dyn Store) {
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
    // New vectors under the same id discard the description.
    put(store, std::slice::from_ref(&first));
    assert_eq!(all(store), [first]);
}

fn scan_returns_what_was_stored(store: &dyn Store) {
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

fn other_vector_width_is_rejected(store: &dyn Store) {
    use ingest::store::Error::WidthMismatch;
    let wide = rows(2, DIM + 1, 1);
    let error = store.visual(&wide, &Scope::default(), TopK::new(5));
    assert!(matches!(
        error,
        Err(WidthMismatch {
            found: 24,
            made: 25
        })
    ));
    let other = Profile {
        dim: 25,
        ..profile()
    };
    let error = store.prepare(&other);
    assert!(matches!(
        error,
        Err(WidthMismatch {
            found: 24,
            made: 25
        })
    ));
}

fn reopened_store_has_the_same_contents(open_store: Opener<'_>) {
    let store = open_store("reopen");
    upsert_manual(store.as_ref(), "pump.pdf");
    put(store.as_ref(), &[page("pump.pdf", 1, "E-104")]);
    let before = (all(store.as_ref()), store.manuals().unwrap());
    drop(store);
    let store = open_store("reopen");
    assert_eq!((all(store.as_ref()), store.manuals().unwrap()), before);
    assert_eq!(found(store.as_ref(), "e-104"), [1]);
}

#[test]
fn sqlite_meets_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| config(&folder.path().join(name));
    check_contract(&|name| prepared(&file(name), &profile()).store);
    for name in ["twice", "kept", "remove", "roundtrip", "said"] {
        sqlite::check_integrity(&file(name));
    }
}
