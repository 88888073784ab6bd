//! Text vectors: stored and kept beside the page vectors, and searched with weights.

use ingest::page::{ManualId, PageId, PageSet};
use ingest::store::{
    Scope, Store, StoredPage, TextField, TextUpdate, TopK, VectorUpdate, read_digest, text_digest,
};
use ingest::vectors::{MultiVector, TextQuery, max_sim};

use crate::fixtures::{
    TEXT_PROFILE, all, page, put, scope, text_page, text_query, text_vectors, upsert_manual,
};

fn ranking(store: &dyn Store, query: &TextQuery) -> Vec<(u32, f32)> {
    ranking_within(store, query, &Scope::default())
}

/// The pages of a scope with their scores, by the index of the store, which an exact search confirms.
fn ranking_within(store: &dyn Store, query: &TextQuery, scope: &Scope) -> Vec<(u32, f32)> {
    let search = |exact| {
        let top_k = TopK {
            exact,
            ..TopK::new(9)
        };
        let hits = store.meaning(query, scope, top_k).unwrap();
        hits.iter()
            .map(|hit| (hit.id.number, hit.score))
            .collect::<Vec<_>>()
    };
    let (found, exact) = (search(false), search(true));
    assert_eq!(found.len(), exact.len(), "{found:?}, {exact:?}");
    for (one, other) in found.iter().zip(&exact) {
        let is_close = one.0 == other.0 && (one.1 - other.1).abs() < 1e-4;
        assert!(is_close, "{found:?}, {exact:?}");
    }
    found
}

fn size(store: &dyn Store) -> u64 {
    store.manuals().unwrap().iter().map(|m| m.bytes).sum()
}

/// The score of a page: its best cosines for the rows of a query, weighted.
fn score(page: &StoredPage, query: &TextQuery, weights: &[f32]) -> f32 {
    let TextUpdate::Replace {
        vectors: Some(stored),
        ..
    } = &page.text_vectors
    else {
        unreachable!()
    };
    let rows = query.vectors.rows().zip(weights);
    let scores = rows.map(|(row, weight)| {
        let row = MultiVector::new(row.to_vec(), query.vectors.width()).unwrap();
        weight * max_sim(&row, &stored.vectors)
    });
    scores.sum::<f32>() / weights.iter().sum::<f32>()
}

/// A file stores it in two bytes and the tokens after it in four.
const FIRST: u32 = 0x7fff;

/// Which pages of the test below have text vectors.
fn check_which_pages_have_them(store: &dyn Store) {
    for (manual, numbers, has) in [
        ("pump.pdf", "3-5", true),
        ("pump.pdf", "4-5", false),
        ("valve.pdf", "all", false),
    ] {
        let scope = scope(&[manual], numbers);
        assert_eq!(store.has_text_vectors(TEXT_PROFILE, &scope).unwrap(), has);
    }
    let found = store.text(
        TextField::TextLayer,
        "text",
        &Scope::default(),
        TopK::new(9),
    );
    let found = found.unwrap().into_iter();
    let mut profiles: Vec<_> = found.map(|hit| (hit.id.number, hit.text_profile)).collect();
    profiles.sort();
    let embedded = |number| (number, Some(TEXT_PROFILE.to_owned()));
    let expected = [
        embedded(1),
        embedded(2),
        embedded(3),
        embedded(4),
        (5, None),
    ];
    assert_eq!(profiles, expected);
}

pub(crate) fn text_vectors_are_searched_with_weights(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    assert!(
        !store
            .has_text_vectors(TEXT_PROFILE, &Scope::default())
            .unwrap()
    );
    // The first token stands on two pages of three, the second on one, the third on none.
    let pages = [
        text_page(1, Some(text_vectors(1, 1, FIRST))),
        text_page(2, Some(text_vectors(2, 2, FIRST))),
        text_page(3, Some(text_vectors(2, 3, 250_000))),
        text_page(4, None),
        page("pump.pdf", 5, "without text vectors"),
    ];
    put(store, &pages);
    assert!(
        store
            .has_text_vectors(TEXT_PROFILE, &Scope::default())
            .unwrap()
    );
    assert!(
        !store
            .has_text_vectors("another", &Scope::default())
            .unwrap()
    );
    check_which_pages_have_them(store);
    let query = text_query(3, 9, FIRST);
    let idf = |pages: f32, count: f32| ((pages - count + 0.5) / (count + 0.5) + 1.0).ln();
    let check = |numbers: &str, pages: &[StoredPage], weights: [f32; 3]| {
        let score = |page: &StoredPage| (page.id.number, score(page, &query, &weights));
        let mut expected: Vec<(u32, f32)> = pages.iter().map(score).collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        let found = ranking_within(store, &query, &scope(&[], numbers));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((number, score), (wanted, expected)) in found.iter().zip(&expected) {
            assert_eq!(number, wanted);
            assert!((score - expected).abs() < 2e-3, "{score} is not {expected}");
        }
    };
    check(
        "all",
        &pages[..3],
        [idf(3.0, 2.0), idf(3.0, 1.0), idf(3.0, 0.0)],
    );
    // The frequencies are those of the scope.
    check(
        "2-5",
        &pages[1..3],
        [idf(2.0, 1.0), idf(2.0, 1.0), idf(2.0, 0.0)],
    );
    let id = |number| PageId::new(&ManualId::new("pump.pdf"), number);
    let nearest = store
        .nearest_tokens(&query, &[id(2), id(4), id(5)])
        .unwrap();
    let tokens: Vec<u32> = nearest[0].iter().map(|(token, _)| *token).collect();
    assert!(
        tokens.len() == 3
            && tokens
                .iter()
                .all(|token| (FIRST..FIRST + 2).contains(token))
    );
    assert!(nearest[1].is_empty() && nearest[2].is_empty());
    let other = TextQuery {
        profile: "another",
        ..query
    };
    assert!(ranking(store, &other).is_empty());
}

pub(crate) fn text_vectors_are_searched_within_manuals(store: &dyn Store) {
    // Token 100 stands on the page of one manual of two in the scope, and on that of the third.
    let page = |manual: &str, seed, token| {
        upsert_manual(store, manual);
        StoredPage {
            id: PageId::new(&ManualId::new(manual), seed),
            ..text_page(seed, Some(text_vectors(2, seed.into(), token)))
        }
    };
    let pages = [
        page("a.pdf", 1, 100),
        page("b.pdf", 2, 100),
        page("c.pdf", 3, 200),
    ];
    put(store, &pages);
    let query = text_query(3, 9, 100);
    let idf = |count: f32| ((2.0 - count + 0.5) / (count + 0.5) + 1.0).ln();
    let found = ranking_within(store, &query, &scope(&["c.pdf", "a.pdf"], "all"));
    let expected = |page| score(page, &query, &[idf(1.0), idf(1.0), idf(0.0)]);
    let mut expected = [(1, expected(&pages[0])), (3, expected(&pages[2]))];
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    assert_eq!(found.len(), 2, "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        let is_close = found.0 == expected.0 && (found.1 - expected.1).abs() < 2e-3;
        assert!(is_close, "{found:?} is not {expected:?}");
    }
}

pub(crate) fn text_vectors_are_kept_replaced_and_removed(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    let first = text_page(1, Some(text_vectors(3, 1, 100)));
    put(store, std::slice::from_ref(&first));
    let fingerprints = |store: &dyn Store| {
        let pages = store.fingerprints(&ManualId::new("pump.pdf")).unwrap();
        pages.into_iter().map(|page| page.text).collect::<Vec<_>>()
    };
    let digest = text_digest(TEXT_PROFILE, "text 1");
    assert_eq!(fingerprints(store), [digest.as_str()]);
    // A page that is stored again without them keeps them, with new page vectors and without.
    let kept = StoredPage {
        text_vectors: TextUpdate::Keep,
        ..page("pump.pdf", 1, "text 1")
    };
    put(store, std::slice::from_ref(&kept));
    assert_eq!(all(store)[0].text_vectors, first.text_vectors);
    let unchanged = StoredPage {
        vectors: VectorUpdate::Keep,
        ..kept
    };
    put(store, std::slice::from_ref(&unchanged));
    assert_eq!(all(store)[0].text_vectors, first.text_vectors);
    // They are replaced alone, as in a store of an earlier version.
    let replaced = StoredPage {
        vectors: VectorUpdate::Keep,
        text_vectors: text_page(2, Some(text_vectors(5, 2, 300))).text_vectors,
        ..unchanged
    };
    put(store, std::slice::from_ref(&replaced));
    let stored = all(store);
    assert_eq!(stored[0].text_vectors, replaced.text_vectors);
    assert_eq!(stored[0].vectors, page("pump.pdf", 1, "").vectors);
    // A text that has no words any more.
    let emptied = StoredPage {
        text_vectors: text_page(3, None).text_vectors,
        ..replaced
    };
    put(store, std::slice::from_ref(&emptied));
    assert_eq!(all(store)[0].text_vectors, emptied.text_vectors);
    // Those of a text that has changed since are not kept, with new page vectors and without.
    for vectors in [VectorUpdate::Keep, page("pump.pdf", 1, "").vectors] {
        put(store, std::slice::from_ref(&first));
        assert!(
            store
                .has_text_vectors(TEXT_PROFILE, &Scope::default())
                .unwrap()
        );
        let with = size(store);
        let changed = StoredPage {
            text_vectors: TextUpdate::Keep,
            vectors,
            ..page("pump.pdf", 1, "another text")
        };
        put(store, std::slice::from_ref(&changed));
        assert_eq!(all(store)[0].text_vectors, TextUpdate::Keep);
        assert_eq!(fingerprints(store), [""]);
        assert!(
            !store
                .has_text_vectors(TEXT_PROFILE, &Scope::default())
                .unwrap()
        );
        assert!(ranking(store, &text_query(2, 3, 100)).is_empty());
        assert!(size(store) < with, "{} of {with} bytes", size(store));
    }
    put(store, std::slice::from_ref(&first));
    assert_eq!(all(store), [first]);
    store
        .remove(&ManualId::new("pump.pdf"), &PageSet::all())
        .unwrap();
    assert!(ranking(store, &text_query(2, 3, 100)).is_empty());
}

pub(crate) fn words_that_were_read_are_found_and_go_with_their_page(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    let scan = StoredPage {
        text_vectors: TextUpdate::Replace {
            digest: read_digest(TEXT_PROFILE, "model"),
            vectors: Some(text_vectors(2, 1, 100)),
            words_read: "mute siren".to_owned(),
        },
        ..page("pump.pdf", 1, "")
    };
    put(
        store,
        &[scan.clone(), page("pump.pdf", 2, "Tighten the bolts")],
    );
    let hits = |words: &str| {
        store
            .text(TextField::TextLayer, words, &Scope::default(), TopK::new(9))
            .unwrap()
    };
    let hit = &hits("siren")[0];
    assert_eq!((hit.id.number, hit.text.as_str()), (1, ""));
    assert_eq!(hit.words_read, "mute siren");
    assert_eq!(hits("bolts")[0].words_read, "");
    // They stay while the page does.
    let kept = StoredPage {
        vectors: VectorUpdate::Keep,
        text_vectors: TextUpdate::Keep,
        ..scan.clone()
    };
    put(store, std::slice::from_ref(&kept));
    assert_eq!(all(store)[0].text_vectors, scan.text_vectors);
    assert_eq!(hits("mute").len(), 1);
    // Now it has another picture or text layer, or both.
    for text in ["", "Silence the alarm"] {
        let changed = StoredPage {
            content: format!("with {text}"),
            ..page("pump.pdf", 1, text)
        };
        let keeping_vectors = StoredPage {
            vectors: VectorUpdate::Keep,
            ..changed.clone()
        };
        for changed in [changed, keeping_vectors] {
            put(store, std::slice::from_ref(&changed));
            assert!(hits("mute").is_empty(), "{text}");
            assert_eq!(all(store)[0].text_vectors, TextUpdate::Keep);
            put(store, std::slice::from_ref(&scan));
        }
    }
    assert_eq!(hits("mute").len(), 1);
    store
        .remove(&ManualId::new("pump.pdf"), &PageSet::all())
        .unwrap();
    assert!(hits("mute").is_empty());
}
