//! Contract of BM25 text search.

use ingest::page::{Annotation, Description, Identifier, Outcome};
use ingest::store::{Scope, Store, StoredPage, TextField, TopK, VectorUpdate};

use crate::fixtures::{all, found, page, put, upsert_manual};

pub(crate) fn text_search_finds_identifiers(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    let texts = [
        "Error E-104: the pump runs dry. Check the inlet valve.",
        "Error E-105: the pump is blocked.",
        "Set P1.07 to 3 bar. Never open the lid.",
        "Ölstand prüfen; naïve settings are refused.",
        "Reset: press and hold the alarm key for five seconds.",
    ];
    let pages: Vec<_> = (1..)
        .zip(texts)
        .map(|(n, t)| page("pump.pdf", n, t))
        .collect();
    put(store, &pages);
    for (words, first) in [
        ("E-104?", 1),
        ("e-105", 2),
        ("104", 1),
        ("What does \"E-104\" mean", 1),
        ("p1.07", 3),
        ("how do I reset the alarm", 5),
        ("ölstand", 4),
        ("the inlet", 1),
    ] {
        assert_eq!(found(store, words).first(), Some(&first), "{words}");
    }
    let hits = store
        .text(
            TextField::TextLayer,
            "pump error inlet",
            &Scope::default(),
            TopK::new(5),
        )
        .unwrap();
    assert_eq!(hits.len(), 2);
    assert!(hits[0].score > hits[1].score, "larger is better");
    assert_eq!(
        store
            .text(
                TextField::TextLayer,
                "pump",
                &Scope::default(),
                TopK::new(1)
            )
            .unwrap()
            .len(),
        1
    );
}

pub(crate) fn every_query_is_valid(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    put(store, &[page("pump.pdf", 1, "near the pump and not far")]);
    for words in [
        "E-104?",
        "\"",
        "\"\"",
        "*",
        "pump*",
        "NEAR(",
        "NEAR(a b, 3)",
        "a AND",
        "OR",
        "NOT x",
        "text:pump",
        "^a",
        "{a b}:",
        "(",
        ")",
        "-",
        "a + b",
        "'",
        "';--",
        "\\",
        "\0",
        "a\0\"b",
        "%",
        "_",
        "",
        "   ",
        "🔧 ?",
        "a\"b\"c",
    ] {
        let hits = store.text(TextField::TextLayer, words, &Scope::default(), TopK::new(3));
        assert!(hits.is_ok(), "{words:?}: {hits:?}");
    }
    let chapter = "word pump-17 ".repeat(5_000);
    assert_eq!(found(store, &chapter), [1]);
    assert_eq!(found(store, "pump*"), [1]);
    assert_eq!(found(store, "not"), [1], "a stop word alone is a query");
}

pub(crate) fn descriptions_are_a_separate_text_field(store: &dyn Store) {
    upsert_manual(store, "pump.pdf");
    let plain = page("pump.pdf", 1, "printed words");
    put(store, &[plain.clone(), page("pump.pdf", 2, "other words")]);
    let described = |title: &str| {
        let annotation = Annotation {
            model: "m".to_owned(),
            outcome: Outcome::Described(Description {
                title: title.to_owned(),
                identifiers: vec![Identifier {
                    text: "K-77".to_owned(),
                    confirmed: false,
                }],
                ..Description::default()
            }),
        };
        StoredPage {
            description: Some(annotation.to_json()),
            vectors: VectorUpdate::Keep,
            ..plain.clone()
        }
    };
    let numbers = |of, words: &str| -> Vec<u32> {
        let hits = store
            .text(of, words, &Scope::default(), TopK::new(9))
            .unwrap();
        hits.iter().map(|hit| hit.id.number).collect()
    };
    put(store, &[described("An exploded view of the gearbox")]);
    assert_eq!(numbers(TextField::Description, "gearbox"), [1]);
    let no_pages: [u32; 0] = [];
    assert_eq!(numbers(TextField::TextLayer, "gearbox"), no_pages);
    assert_eq!(numbers(TextField::Description, "printed"), no_pages);
    assert_eq!(
        numbers(TextField::Description, "K-77"),
        no_pages,
        "nobody confirmed it"
    );
    // A new description replaces the first; a metadata update keeps it.
    put(store, &[described("A wiring diagram")]);
    put(
        store,
        &[StoredPage {
            vectors: VectorUpdate::Keep,
            ..plain.clone()
        }],
    );
    assert_eq!(numbers(TextField::Description, "gearbox"), no_pages);
    assert_eq!(numbers(TextField::Description, "wiring"), [1]);
    let json = all(store)[0].description.clone();
    let hit = &store
        .text(
            TextField::TextLayer,
            "printed",
            &Scope::default(),
            TopK::new(1),
        )
        .unwrap()[0];
    assert_eq!(hit.description, json);
    put(store, &[plain]);
    assert_eq!(numbers(TextField::Description, "wiring"), no_pages);
}
