//! Text vectors: stored and kept beside the page vectors, and searched with weights.

use ingest::page::{ManualId, PageId, PageSet};
use ingest::store::{
    Scope, Store, StoredPage, TextField, TextUpdate, TopK, VectorUpdate, read_digest, text_digest,
};
use ingest::vectors::{TextQuery, TextVectors, max_sim};

use crate::fixtures::{all, config, page, prepared, profile, put, rows, upsert_manual};

const PROFILE: &str = "text-model-1";
/// A width that 1-bit rows need no padding for.
const WIDTH: usize = 64;

/// Rows of signs, which every precision keeps as they are.
fn text_vectors(n: usize, seed: u64, first_token: u16) -> TextVectors {
    TextVectors {
        vectors: signs(n, seed),
        tokens: (first_token..).take(n).collect(),
    }
}

fn signs(n: usize, seed: u64) -> ingest::vectors::MultiVector {
    let rows = rows(n, WIDTH, seed);
    let scale = 1.0 / (WIDTH as f32).sqrt();
    let signs = rows.as_slice().iter().map(|v| scale.copysign(*v));
    ingest::vectors::MultiVector::new(signs.collect(), rows.width()).unwrap()
}

fn with_text(number: u32, vectors: Option<TextVectors>) -> StoredPage {
    StoredPage {
        text_vectors: TextUpdate::Replace {
            digest: text_digest(PROFILE, &format!("text {number}")),
            vectors,
            words_read: String::new(),
        },
        ..page("pump.pdf", number, &format!("text {number}"))
    }
}

fn query(n: usize, seed: u64, first_token: u16) -> TextQuery {
    TextQuery {
        profile: PROFILE,
        vectors: rows(n, WIDTH, seed),
        tokens: (first_token..).take(n).collect(),
        shares: vec![1.0; n],
    }
}

fn ranking(store: &dyn Store, query: &TextQuery) -> Vec<(u32, f32)> {
    let hits = store
        .meaning(query, &Scope::default(), TopK::new(9))
        .unwrap();
    hits.iter().map(|hit| (hit.id.number, hit.score)).collect()
}

#[test]
fn text_vectors_are_searched_with_weights() {
    let folder = tempfile::tempdir().unwrap();
    let opened = prepared(&config(&folder.path().join("library.db")), &profile());
    let store = opened.store.as_ref();
    upsert_manual(store, "pump.pdf");
    assert!(!store.has_text_vectors(PROFILE).unwrap());
    // Token 100 stands on two pages of three, 101 on one, 102 on none.
    let pages = [
        with_text(1, Some(text_vectors(1, 1, 100))),
        with_text(2, Some(text_vectors(2, 2, 100))),
        with_text(3, Some(text_vectors(2, 3, 200))),
        with_text(4, None),
        page("pump.pdf", 5, "without text vectors"),
    ];
    put(store, &pages);
    assert!(store.has_text_vectors(PROFILE).unwrap());
    assert!(!store.has_text_vectors("another").unwrap());
    let query = query(3, 9, 100);
    let idf = |count: f32| ((3.0 - count + 0.5) / (count + 0.5) + 1.0).ln();
    let weights = [idf(2.0), idf(1.0), idf(0.0)];
    let sum: f32 = weights.iter().sum();
    let mut expected: Vec<(u32, f32)> = Vec::new();
    for page in &pages[..3] {
        let TextUpdate::Replace {
            vectors: Some(stored),
            ..
        } = &page.text_vectors
        else {
            unreachable!()
        };
        let row = |index: usize| {
            let row = query.vectors.rows().nth(index).unwrap().to_vec();
            ingest::vectors::MultiVector::new(row, query.vectors.width()).unwrap()
        };
        let scores = weights.iter().enumerate();
        let scores = scores.map(|(n, weight)| weight / sum * max_sim(&row(n), &stored.vectors));
        expected.push((page.id.number, scores.sum()));
    }
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    let found = ranking(store, &query);
    assert_eq!(found.len(), 3, "pages with text vectors: {found:?}");
    for ((number, score), (wanted, expected)) in found.iter().zip(&expected) {
        assert_eq!(number, wanted);
        assert!((score - expected).abs() < 2e-3, "{score} is not {expected}");
    }
    let id = |number| PageId::new(&ManualId::new("pump.pdf"), number);
    let nearest = store
        .nearest_tokens(&query, &[id(2), id(4), id(5)])
        .unwrap();
    let tokens: Vec<u16> = nearest[0].iter().map(|(token, _)| *token).collect();
    assert!(tokens.len() == 3 && tokens.iter().all(|token| (100..102).contains(token)));
    assert!(nearest[1].is_empty() && nearest[2].is_empty());
    let other = TextQuery {
        profile: "another",
        ..query
    };
    assert!(ranking(store, &other).is_empty());
}

#[test]
fn text_vectors_are_kept_replaced_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let opened = prepared(&config(&folder.path().join("library.db")), &profile());
    let store = opened.store.as_ref();
    upsert_manual(store, "pump.pdf");
    let first = with_text(1, Some(text_vectors(3, 1, 100)));
    put(store, std::slice::from_ref(&first));
    let fingerprints = |store: &dyn Store| {
        let pages = store.fingerprints(&ManualId::new("pump.pdf")).unwrap();
        pages.into_iter().map(|page| page.text).collect::<Vec<_>>()
    };
    let digest = text_digest(PROFILE, "text 1");
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
        text_vectors: with_text(2, Some(text_vectors(5, 2, 300))).text_vectors,
        ..unchanged
    };
    put(store, std::slice::from_ref(&replaced));
    let stored = all(store);
    assert_eq!(stored[0].text_vectors, replaced.text_vectors);
    assert_eq!(stored[0].vectors, page("pump.pdf", 1, "").vectors);
    // A text that has no words any more.
    let emptied = StoredPage {
        text_vectors: with_text(3, None).text_vectors,
        ..replaced
    };
    put(store, std::slice::from_ref(&emptied));
    assert_eq!(all(store)[0].text_vectors, emptied.text_vectors);
    // Those of a text that has changed since are not kept.
    put(store, std::slice::from_ref(&first));
    let changed = StoredPage {
        text_vectors: TextUpdate::Keep,
        ..page("pump.pdf", 1, "another text")
    };
    put(store, std::slice::from_ref(&changed));
    assert_eq!(all(store)[0].text_vectors, TextUpdate::Keep);
    put(store, std::slice::from_ref(&first));
    store
        .remove(&ManualId::new("pump.pdf"), &PageSet::all())
        .unwrap();
    assert!(ranking(store, &query(2, 3, 100)).is_empty());
}

#[test]
fn words_that_were_read_are_found_and_go_with_their_page() {
    let folder = tempfile::tempdir().unwrap();
    let opened = prepared(&config(&folder.path().join("library.db")), &profile());
    let store = opened.store.as_ref();
    upsert_manual(store, "pump.pdf");
    let scan = StoredPage {
        text_vectors: TextUpdate::Replace {
            digest: read_digest(PROFILE, "model"),
            vectors: Some(text_vectors(2, 1, 100)),
            words_read: "mute sirens".to_owned(),
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
    assert_eq!(hit.words_read, "mute sirens");
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
    // Now it has a text layer.
    put(store, &[page("pump.pdf", 1, "Silence the alarm")]);
    assert!(hits("mute").is_empty());
    put(store, &[scan]);
    assert_eq!(hits("mute").len(), 1);
    store
        .remove(&ManualId::new("pump.pdf"), &PageSet::all())
        .unwrap();
    assert!(hits("mute").is_empty());
}
