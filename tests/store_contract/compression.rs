//! Compressed files: int8 and 1-bit precision, and a first stage of pooled vectors.

use ingest::store::{
    CollectionSelector, Config, Mode, Precision, Scope, Store, StoredPage, TopK, VectorUpdate, open,
};
use ingest::vectors::{MultiVector, max_sim};

use crate::fixtures::{
    DIM, all, config, numbers, page, prepared, profile, put, rows, scope, upsert_manual, vectors,
};

/// A file of `count` random pages.
fn filled(config: &Config, count: u32) -> (Box<dyn Store>, Vec<StoredPage>) {
    let store = prepared(config, &profile()).store;
    upsert_manual(&*store, "pump.pdf");
    let page = |n| StoredPage {
        vectors: VectorUpdate::Replace(vectors(20, DIM, 10_000 + u64::from(n))),
        ..page("pump.pdf", n, "")
    };
    let pages: Vec<StoredPage> = (1..=count).map(page).collect();
    put(&*store, &pages);
    (store, pages)
}

fn vectors_of(page: &StoredPage) -> &MultiVector {
    match &page.vectors {
        VectorUpdate::Replace(new) => &new.vectors,
        VectorUpdate::Keep => panic!("{} has no vectors", page.id),
    }
}

fn best(store: &dyn Store, query: &MultiVector, top_k: TopK) -> Vec<u32> {
    let hits = store.visual(query, &Scope::default(), top_k).unwrap();
    hits.iter().map(|hit| hit.id.number).collect()
}

/// Page numbers in order of the reference MaxSim.
fn ranked(pages: &[StoredPage], query: &MultiVector) -> Vec<u32> {
    let mut scored: Vec<(f32, u32)> = pages
        .iter()
        .map(|page| (max_sim(query, vectors_of(page)), page.id.number))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.into_iter().map(|(_, number)| number).collect()
}

#[test]
fn compressed_vectors_are_smaller_and_scored_as_stored() {
    let folder = tempfile::tempdir().unwrap();
    for (precision, row) in [
        (Precision::F16, 48),
        (Precision::Int8, 26),
        (Precision::OneBit, 3),
    ] {
        let mut config = config(&folder.path().join(precision.name()));
        config.precision = Some(precision);
        let (store, pages) = filled(&config, 40);
        assert_eq!(store.manuals().unwrap()[0].bytes, 40 * 20 * row);
        let kept = all(&*store);
        let mut same = 0;
        for n in 0..20 {
            let query = rows(8, DIM, 500 + n);
            // Ranks follow the stored vectors …
            assert_eq!(best(&*store, &query, TopK::new(40)), ranked(&kept, &query));
            // … which are close to the originals.
            same += usize::from(ranked(&kept, &query)[0] == ranked(&pages, &query)[0]);
        }
        let least = [20, 17, 5][precision as usize];
        assert!(same >= least, "{}: {same} of 20", precision.name());
        // A copy in another file of the same precision is identical.
        config =
            crate::fixtures::config(&folder.path().join(format!("{}.again", precision.name())));
        config.precision = Some(precision);
        let again = prepared(&config, &profile()).store;
        upsert_manual(&*again, "pump.pdf");
        put(&*again, &kept);
        assert_eq!(all(&*again), kept);
    }
}

#[test]
fn first_stage_candidates_are_rescored_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder.path().join("first.db"));
    config.first_stage = Some(4);
    let (store, pages) = filled(&config, 400);
    assert_eq!(
        all(&*store),
        pages,
        "all vectors are kept beside the pooled ones"
    );
    assert_eq!(store.manuals().unwrap()[0].bytes, 400 * (20 + 5) * 48);
    let mut matched = 0;
    for n in 0..20 {
        let query = rows(8, DIM, 500 + n);
        let expected = ranked(&pages, &query);
        let exact = TopK {
            exact: true,
            ..TopK::new(10)
        };
        assert_eq!(best(&*store, &query, exact), expected[..10]);
        let found = best(&*store, &query, TopK::new(10));
        let position = |number: &u32| expected.iter().position(|e| e == number).unwrap();
        let positions: Vec<usize> = found.iter().map(position).collect();
        assert!(
            positions.is_sorted(),
            "ranked by all their rows: {positions:?}"
        );
        matched += positions.iter().filter(|&&position| position < 10).count();
    }
    // Random rows are the hardest to pool; a random choice of 100 of 400 would match 50 of 200.
    assert!((100..200).contains(&matched), "{matched} of 200");
}

#[test]
fn pages_that_integers_select_are_scored_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder.path().join("int8.db"));
    config.precision = Some(Precision::Int8);
    let (store, _) = filled(&config, 400);
    let kept = all(&*store);
    for n in 0..20 {
        let query = rows(8, DIM, 500 + n);
        let exact = TopK {
            exact: true,
            ..TopK::new(10)
        };
        assert_eq!(best(&*store, &query, exact), ranked(&kept, &query)[..10]);
        let hits = |top_k| store.visual(&query, &Scope::default(), top_k).unwrap();
        assert_eq!(hits(TopK::new(10)), hits(exact));
    }
}

#[test]
fn first_stage_has_the_manuals_of_the_scope_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder.path().join("scope.db"));
    config.first_stage = Some(4);
    let store = prepared(&config, &profile()).store;
    for manual in ["a.pdf", "b.pdf", "c.pdf"] {
        upsert_manual(&*store, manual);
        let pages: Vec<_> = (1..=40).map(|n| page(manual, n, "")).collect();
        put(&*store, &pages);
    }
    // 80 pages are fewer than the candidates of the first stage: its ranking is that of an exact search.
    let (query, two) = (rows(8, DIM, 500), scope(&["c.pdf", "a.pdf"], "all"));
    let exact = TopK {
        exact: true,
        ..TopK::new(80)
    };
    let found = store.visual(&query, &two, TopK::new(80)).unwrap();
    assert_eq!(found.len(), 80);
    assert!(found.iter().all(|hit| hit.id.manual.as_str() != "b.pdf"));
    assert_eq!(found, store.visual(&query, &two, exact).unwrap());
}

#[test]
fn existing_file_rejects_another_format() {
    let folder = tempfile::tempdir().unwrap();
    let plain = config(&folder.path().join("library.db"));
    drop(filled(&plain, 2));
    let error = |change: fn(&mut Config)| {
        let mut config = plain.clone();
        change(&mut config);
        let opened = open(&config, CollectionSelector::Last, Mode::Write).unwrap();
        opened.store.prepare(&profile()).unwrap_err().to_string()
    };
    let why = error(|config| config.precision = Some(Precision::Int8));
    assert!(
        why.contains("has precision f16, the settings want int8"),
        "{why}"
    );
    let why = error(|config| config.first_stage = Some(3));
    assert!(
        why.contains("has first_stage 1, the settings want 3"),
        "{why}"
    );
    // For reading, and without these settings, the file is accepted.
    let mut other = plain.clone();
    other.precision = Some(Precision::Int8);
    assert!(open(&other, CollectionSelector::Last, Mode::Read).is_ok());
    let store = prepared(&plain, &profile()).store;
    assert_eq!(numbers(&*store, "pump.pdf"), [1, 2]);
}
