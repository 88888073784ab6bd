//! Recall of approximate search: with oversampling, a small `k` and filters miss nothing.

use ingest::store::{Config, Index, TopK};

use crate::fixtures::{DIM, page, prepared, profile, put, rows, scope, upsert_manual};
use crate::library::config;
use crate::server::shared;

#[test]
fn small_k_and_filters_equal_exact_search() {
    for index in [Index::Muvera, Index::Raw] {
        let config = Config {
            index: Some(index),
            ..config(&shared().url())
        };
        let store = prepared(&config, &profile()).store;
        for manual in ["a.pdf", "bb.pdf"] {
            upsert_manual(store.as_ref(), manual);
            let pages: Vec<_> = (1..=200).map(|n| page(manual, n, "")).collect();
            put(store.as_ref(), &pages);
        }
        for seed in 0..6 {
            let query = rows(5, DIM, 3_000 + seed);
            for scope in [
                scope(&["bb.pdf"], "all"),
                scope(&[], "20-60"),
                scope(&["a.pdf"], "7-"),
                scope(&["a.pdf", "bb.pdf"], "20-60"),
                scope(&[], "all"),
            ] {
                for count in [1, 3, 10] {
                    let exact = TopK {
                        exact: true,
                        ..TopK::new(count)
                    };
                    let expected = store.visual(&query, &scope, exact).unwrap();
                    let found = store.visual(&query, &scope, TopK::new(count)).unwrap();
                    let ids = |hits: &[ingest::store::Hit]| {
                        hits.iter().map(|hit| hit.id.clone()).collect::<Vec<_>>()
                    };
                    assert_eq!(ids(&found), ids(&expected), "{index:?} {scope:?} {count}");
                }
            }
        }
    }
}
