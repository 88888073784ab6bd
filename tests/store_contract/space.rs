//! Space on the disk: removing pages shrinks the file, and one that got no pages is deleted.

use std::fs;

use ingest::page::{ManualId, PageSet};
use ingest::store::{Config, Mode, StoredPage};
use ingest::units::ByteSize;
use rusqlite::Connection;

use crate::fixtures::{config, file, numbers, page, prepared, profile, put, upsert_manual};
use crate::sqlite::{check_integrity, opened};

/// Stores a small and a large manual.
fn fill(config: &Config) {
    let opened = prepared(config, &profile());
    let store = opened.store.as_ref();
    for (manual, pages) in [("small.pdf", 1..=3), ("large.pdf", 1..=60)] {
        upsert_manual(store, manual);
        let large = |number| StoredPage {
            thumbnail: vec![7; 40_000],
            ..page(manual, number, "valve")
        };
        put(store, &pages.map(large).collect::<Vec<_>>());
    }
}

/// Removes the large manual; returns the bytes that the file keeps, and its size before and after.
fn remove_large(config: &Config) -> (ByteSize, u64, u64) {
    let size = || fs::metadata(file(config)).unwrap().len();
    let before = size();
    let store = opened(config, Mode::Write).unwrap().store;
    let large = ManualId::new("large.pdf");
    assert_eq!(store.remove(&large, &PageSet::all()).unwrap(), 60);
    let kept = store.release_space().unwrap();
    assert_eq!(numbers(store.as_ref(), "small.pdf"), [1, 2, 3]);
    drop(store);
    check_integrity(config);
    (kept, before, size())
}

#[test]
fn file_shrinks_when_pages_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("library.db"));
    fill(&config);
    let (kept, before, after) = remove_large(&config);
    assert_eq!(kept, ByteSize(0));
    assert!(before > 2_500_000 && after < 700_000, "{before} {after}");
}

#[test]
fn file_of_an_earlier_version_keeps_its_space_for_later_pages() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("library.db"));
    fill(&config);
    let connection = Connection::open(file(&config)).unwrap();
    connection
        .execute_batch("PRAGMA auto_vacuum = NONE; VACUUM;")
        .unwrap();
    drop(connection);
    let (kept, before, after) = remove_large(&config);
    assert!(kept > ByteSize(2_000_000), "{kept}");
    assert_eq!(before, after);
    fill(&config);
    let size = fs::metadata(file(&config)).unwrap().len();
    assert!(size <= before + before / 20, "{size} {before}");
}

#[test]
fn new_file_without_pages_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("new/library.db"));
    let opened = prepared(&config, &profile());
    upsert_manual(opened.store.as_ref(), "pump.pdf");
    assert!(file(&config).exists());
    drop(opened);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    let opened = prepared(&config, &profile());
    upsert_manual(opened.store.as_ref(), "pump.pdf");
    put(opened.store.as_ref(), &[page("pump.pdf", 1, "")]);
    drop(opened);
    let opened = prepared(&config, &profile());
    let pump = ManualId::new("pump.pdf");
    opened.store.remove(&pump, &PageSet::all()).unwrap();
    drop(opened);
    assert!(file(&config).exists(), "it was there before");
}
