//! Contract of restricted searches: scope and pages per manual.

use ingest::store::{Scope, Store, TextField, TopK};

use crate::fixtures::{DIM, page, put, rows, scope, upsert_manual};

pub(crate) fn scope_restricts_both_searches(store: &dyn Store) {
    for manual in ["a.pdf", "b.pdf", "c.pdf"] {
        upsert_manual(store, manual);
        let pages: Vec<_> = (1..=9).map(|n| page(manual, n, "valve")).collect();
        put(store, &pages);
    }
    let query = rows(3, DIM, 4);
    for (manuals, pages, expected) in [
        (&[][..], "all", 27),
        (&["a.pdf"], "all", 9),
        (&["b.pdf"], "2-3,9", 3),
        (&[], "8-", 6),
        (&["a.pdf", "c.pdf"], "all", 18),
        (&["c.pdf", "a.pdf"], "2-3,9", 6),
        (&["none.pdf", "b.pdf", "b.pdf"], "all", 9),
        (&["none.pdf"], "all", 0),
    ] {
        let scope = scope(manuals, pages);
        let visual = store.visual(&query, &scope, TopK::new(100)).unwrap();
        let text = store
            .text(TextField::TextLayer, "valve", &scope, TopK::new(100))
            .unwrap();
        for hits in [&visual, &text] {
            assert_eq!(hits.len(), expected, "{scope:?}");
            for hit in hits {
                assert!(manuals.is_empty() || manuals.contains(&hit.id.manual.as_str()));
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
            &scope(&[], "5-9"),
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
    let two = scope(&["a.pdf", "c.pdf"], "all");
    let visual = store.visual(&rows(3, DIM, 4), &two, top_k).unwrap();
    assert_eq!(visual.len(), 4, "two of each manual");
}
