//! Files that earlier and later versions of the program made.

use ingest::store::{Error, Mode, StoredPage};
use rusqlite::Connection;

use crate::making::{all, config, file, found, page, prepared, profile, put};
use crate::sqlite::{filled, opened};

#[test]
fn a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("library.db"));
    filled(&config);
    Connection::open(file(&config))
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    for mode in [Mode::Read, Mode::Write] {
        let refused = opened(&config, mode);
        assert!(matches!(
            refused,
            Err(Error::TooNew {
                found: 99,
                known: 4,
                ..
            })
        ));
    }
}

#[test]
fn a_file_of_the_first_version_is_taken_along() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("library.db"));
    filled(&config);
    Connection::open(file(&config))
        .unwrap()
        .execute_batch(
            "DROP TABLE descriptions; DROP TRIGGER said_comes; DROP TRIGGER said_goes; DROP TRIGGER said_changes;
             ALTER TABLE page DROP COLUMN said; ALTER TABLE collection DROP COLUMN pool_factor; ALTER TABLE collection DROP COLUMN precision;
             ALTER TABLE collection DROP COLUMN first_stage; DROP TABLE first_stage;
             ALTER TABLE vectors RENAME COLUMN rows TO f16;
             ALTER TABLE page DROP COLUMN description; PRAGMA user_version = 1",
        )
        .unwrap();
    // By a reader too, which the file had before it was changed.
    let read = opened(&config, Mode::Read).unwrap().store;
    assert_eq!(all(read.as_ref()).len(), 1);
    let store = prepared(&config, &profile()).store;
    assert_eq!(found(store.as_ref(), "e-104"), [1]);
    let described = StoredPage {
        description: Some("A pump".to_owned()),
        ..page("pump.pdf", 2, "")
    };
    put(store.as_ref(), std::slice::from_ref(&described));
    assert_eq!(all(store.as_ref())[1], described);
}
