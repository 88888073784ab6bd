//! The part of the contract that is about words.

use ingest::store::{Scope, Store, Want};

use crate::making::{enter, found, page, put};

pub(crate) fn words_find_identifiers(store: &dyn Store) {
    enter(store, "pump.pdf");
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
        .text("pump error inlet", &Scope::default(), Want::best(5))
        .unwrap();
    assert_eq!(hits.len(), 2);
    assert!(hits[0].score > hits[1].score, "larger is better");
    assert_eq!(
        store
            .text("pump", &Scope::default(), Want::best(1))
            .unwrap()
            .len(),
        1
    );
}

pub(crate) fn no_question_is_a_syntax_error(store: &dyn Store) {
    enter(store, "pump.pdf");
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
        let hits = store.text(words, &Scope::default(), Want::best(3));
        assert!(hits.is_ok(), "{words:?}: {hits:?}");
    }
    let chapter = "word pump-17 ".repeat(5_000);
    assert_eq!(found(store, &chapter), [1]);
    assert_eq!(found(store, "pump*"), [1]);
    assert_eq!(found(store, "not"), [1], "a stop word alone is a question");
}
