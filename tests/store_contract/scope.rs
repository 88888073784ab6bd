//! Contract of restricted searches: scope and pages per manual.

use ingest::store::{Scope, Store, TextField, TopK};

use crate::fixtures::{DIM, page, put, rows, scope, upsert_manual};

pub(crate) fn scope_restricts_both_searches(store: &dyn Store) {
    for manual in ["a.pdf", "b.pdf"] {
        upsert_manual(store, manual);
        let pages: Vec<_> = (1..=9).map(|n| page(manual, n, "valve")).collect();
        put(store, &pages);
    }
    let query = rows(3, DIM, 4);
    for (manual, pages, expected) in [
        (None, "all", 18),
        (Some("a.pdf"), "all", 9),
        (Some("b.pdf"), "2-3,9", 3),
        (None, "8-", 4),
        (Some("c.pdf"), "all", 0),
    ] {
        let scope = scope(manual, pages);
        let visual = store.visual(&query, &scope, TopK::new(100)).unwrap();
        let text = store
            .text(TextField::TextLayer, "valve", &scope, TopK::new(100))
            .unwrap();
        for hits in [&visual, &text] {
            assert_eq!(hits.len(), expected, "{scope:?}");
            for hit in hits {
                assert!(manual.is_none_or(|m| m == hit.id.manual.as_str()));
                assert!(scope.pages.contains(hit.id.number));
            }
        }
        assert_eq!(store.scan(&scope).unwrap().count(), expected);
        assert_eq!(store.records(&scope).unwrap().count(), expected);
    }
    let few = store
        .text(
            TextField::TextLayer,
            "valve",
            &scope(None, "5-9"),
            TopK::new(2),
        )
        .unwrap();
    assert_eq!(few.len(), 2, "a scope must not eat the best k");
}

pub(crate) fn per_manual_limits_pages_of_one_manual(store: &dyn Store) {
    for manual in ["a.pdf", "b.pdf", "c.pdf"] {
        upsert_manual(store, manual);
        let pages: Vec<_> = (1..=5).map(|n| page(manual, n, "valve")).collect();
        put(store, &pages);
    }
    let top_k = TopK {
        per_manual: Some(2),
        ..TopK::new(5)
    };
    let visual = store
        .visual(&rows(3, DIM, 4), &Scope::default(), top_k)
        .unwrap();
    let text = store
        .text(TextField::TextLayer, "valve", &Scope::default(), top_k)
        .unwrap();
    for hits in [visual, text] {
        let of = |manual: &str| {
            hits.iter()
                .filter(|hit| hit.id.manual.as_str() == manual)
                .count()
        };
        let mut counts = ["a.pdf", "b.pdf", "c.pdf"].map(of);
        counts.sort_unstable();
        assert_eq!(counts, [1, 2, 2]);
    }
}
