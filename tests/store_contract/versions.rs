//! Files of earlier and later schema versions.
//!
//! `tests/golden/stores` has one script per schema version: the tables as created by the program of that
//! version, and rows with scores that can be computed by hand. These files are independent of the current code.

use std::num::NonZeroUsize;
use std::path::Path;

use ingest::page::{ManualId, PageId};
use ingest::store::{
    CollectionSelector, Config, Error, Mode, Scope, Store, StoredPage, TextField, TextUpdate, TopK,
    VectorUpdate, collections, open,
};
use ingest::vectors::{MultiVector, PageVectors, PatchMap, Profile, TextVectors};
use rusqlite::Connection;

use crate::fixtures::{all, config, file, found, put};
use crate::sqlite::{check_integrity, filled, opened};

/// The schema versions and their scripts.
const STORES: [(u32, &str); 8] = [
    (1, include_str!("../golden/stores/v1.sql")),
    (2, include_str!("../golden/stores/v2.sql")),
    (3, include_str!("../golden/stores/v3.sql")),
    (4, include_str!("../golden/stores/v4.sql")),
    (5, include_str!("../golden/stores/v5.sql")),
    (6, include_str!("../golden/stores/v6.sql")),
    (7, include_str!("../golden/stores/v7.sql")),
    (8, include_str!("../golden/stores/v8.sql")),
];

/// Stored annotations.
const DESCRIBED: &str = r#"{"model":"qwen","described":{"rotation":0,"legible":true,"title":"Gearbox","summary":"An exploded view.","topics":["spare parts"],"figures":[{"label":"Fig. 1","says":"the shaft"}],"tables":[{"label":"","columns":["Pos."],"says":""}],"identifiers":[{"text":"K-77","confirmed":true}],"language":"en"}}"#;
const FAILED: &str =
    r#"{"model":"qwen","failed":{"class":"repetition","why":"it said the same again"}}"#;

/// What the last run did with the pump, which version 8 has.
const LAST_RUN: &str = r#","last_run":{"ended":1790000000,"seconds":{"render":0.5,"prepare":0.25,"embed":3.0,"store":0.125},"pages_per_second":0.5,"stored":2,"failed":1,"failures":[{"page":3,"reason":"it cannot be drawn"}]}}"#;

/// Creates a file from a script.
fn load(folder: &Path, script: &str) -> Config {
    let config = config(&folder.join("library.db"));
    Connection::open(file(&config))
        .unwrap()
        .execute_batch(script)
        .unwrap();
    config
}

fn multi_vector(rows: &[f32], dim: usize) -> MultiVector {
    MultiVector::new(rows.to_vec(), NonZeroUsize::new(dim).unwrap()).unwrap()
}

/// The pages of the first collection, in the order of a scan.
fn pages() -> [StoredPage; 3] {
    let pump = ManualId::new("pump.pdf");
    let update = |rows: &[f32], [columns, rows_of_cells]: [u16; 2], cells: &[u16]| {
        VectorUpdate::Replace(PageVectors {
            vectors: multi_vector(rows, 2),
            patches: PatchMap::new(columns, rows_of_cells, cells.to_vec(), cells.len()).unwrap(),
        })
    };
    let text = |text: &str| Some(text.to_owned());
    [
        StoredPage {
            id: PageId::new(&ManualId::new("Anleitung/wärmepumpe.pdf"), 3),
            origin: "o2".to_owned(),
            content: "c3".to_owned(),
            label: text("iii"),
            section: text("2 Störungen"),
            text: String::new(),
            description: None,
            blank: true,
            thumbnail: Vec::new(),
            vectors: update(&[0.0, 1.0], [1, 1], &[0]),
            text_vectors: TextUpdate::Keep,
        },
        StoredPage {
            id: PageId::new(&pump, 1),
            origin: "o1".to_owned(),
            content: "c1".to_owned(),
            label: text("i"),
            section: text("1 Faults"),
            text: "E-104: the pump is blocked.".to_owned(),
            description: text(DESCRIBED),
            blank: false,
            thumbnail: vec![0xff, 0xd8],
            vectors: update(&[1.0, 0.0, 0.0, 1.0], [2, 1], &[PatchMap::NO_CELL, 1]),
            text_vectors: TextUpdate::Keep,
        },
        StoredPage {
            id: PageId::new(&pump, 7),
            origin: "o1".to_owned(),
            content: "c7".to_owned(),
            label: None,
            section: None,
            text: "Reset the alarm.".to_owned(),
            description: text(FAILED),
            blank: false,
            thumbnail: vec![0xff, 0xd9],
            vectors: update(&[0.600_097_66, 0.799_804_7], [3, 4], &[11]),
            text_vectors: TextUpdate::Keep,
        },
    ]
}

/// The text vectors of the pump's pages, which version 6 has: two rows of eight signs, and none; and those of the third
/// page, which version 7 has: one row, for a word that was read.
fn text_updates() -> [TextUpdate; 3] {
    let side = 1.0 / 8_f32.sqrt();
    let rows = [
        [side; 8],
        [side, side, side, side, -side, -side, -side, -side],
    ];
    let vectors = |rows: &[[f32; 8]], tokens: &[u32]| {
        Some(TextVectors {
            vectors: multi_vector(rows.as_flattened(), 8),
            tokens: tokens.to_vec(),
        })
    };
    let update = |digest: &str, vectors, words_read: &str| TextUpdate::Replace {
        digest: digest.to_owned(),
        vectors,
        words_read: words_read.to_owned(),
    };
    [
        update("m:d3", vectors(&rows[..1], &[100]), "pump"),
        update("m:d1", vectors(&rows, &[100, 200]), ""),
        update("m:d7", None, ""),
    ]
}

/// Checks the list, scan and searches of the first collection.
fn check_pages(store: &dyn Store, version: u32) {
    let manuals: Vec<String> = store
        .manuals()
        .unwrap()
        .iter()
        .map(|manual| serde_json::to_string(manual).unwrap())
        .collect();
    assert_eq!(
        manuals,
        [
            r#"{"id":"Anleitung/wärmepumpe.pdf","path":"/shelf/wärmepumpe.pdf","file":"f22e","render":"picture","pages":3,"stored":1,"blank":1,"bytes":4,"described":0}"#,
            r#"{"id":"pump.pdf","path":"/shelf/pump.pdf","file":"f11e","render":"pdfium-8149 150 dpi, at most 16 MP","pages":40,"stored":2,"blank":0,"bytes":BYTES,"described":DESCRIBED}"#,
        ]
        .map(|manual| manual.replace("BYTES", if version < 6 { "12" } else { "14" }))
        .map(|manual| manual.replace("DESCRIBED", if version == 1 { "0" } else { "1" }))
        .map(|manual| match version {
            ..7 => manual,
            _ => manual.replace(r#""bytes":4"#, r#""bytes":5"#),
        })
        .map(|manual| match version {
            8.. => manual.replace(r#""described":1}"#, &format!(r#""described":1{LAST_RUN}"#)),
            _ => manual,
        })
    );
    let mut expected = pages();
    if version == 1 {
        // Version 1 has no descriptions.
        expected.iter_mut().for_each(|page| page.description = None);
    }
    let first = match version {
        ..6 => 3,
        6 => 1,
        _ => 0,
    };
    for (page, update) in expected.iter_mut().zip(text_updates()).skip(first) {
        page.text_vectors = update;
    }
    assert_eq!(all(store), expected);
    let query = multi_vector(&[1.0, 0.0], 2);
    let hits = store
        .visual(&query, &Scope::default(), TopK::new(9))
        .unwrap();
    let hits: Vec<(String, f32)> = hits
        .into_iter()
        .map(|hit| (hit.id.to_string(), hit.score))
        .collect();
    assert_eq!(
        hits,
        [
            ("pump.pdf, page 1".to_owned(), 1.0),
            ("pump.pdf, page 7".to_owned(), 0.600_097_66),
            ("Anleitung/wärmepumpe.pdf, page 3".to_owned(), 0.0),
        ]
    );
    assert_eq!(found(store, "e-104"), [1]);
    assert_eq!(found(store, "e104"), [1], "version {version}");
    assert_eq!(found(store, "alarm"), [7]);
    let pumps: &[u32] = if version < 7 { &[1] } else { &[3, 1] };
    assert_eq!(found(store, "pump"), pumps, "version {version}");
}

#[test]
fn files_of_every_version_are_read_and_written() {
    for (version, script) in STORES {
        let folder = tempfile::tempdir().unwrap();
        let config = load(folder.path(), script);
        let read = opened(&config, Mode::Read).unwrap();
        let profile = Profile {
            id: "p2".to_owned(),
            model: "tiny".to_owned(),
            dim: 2,
            pool_factor: 1,
        };
        assert_eq!(read.profile, Some(profile));
        check_pages(read.store.as_ref(), version);
        let write = opened(&config, Mode::Write).unwrap();
        let described = StoredPage {
            description: Some(DESCRIBED.replace("Gearbox", "Impeller")),
            vectors: VectorUpdate::Keep,
            ..pages()[2].clone()
        };
        put(write.store.as_ref(), &[described]);
        let hits = write
            .store
            .text(
                TextField::Description,
                "impeller",
                &Scope::default(),
                TopK::new(9),
            )
            .unwrap();
        assert_eq!(hits.len(), 1, "version {version}");
        assert_eq!(hits[0].id, pages()[2].id);
        drop((read, write));
        check_integrity(&config);
    }
}

#[test]
fn descriptions_are_found_in_a_file_of_the_current_version() {
    let folder = tempfile::tempdir().unwrap();
    let config = load(folder.path(), STORES[STORES.len() - 1].1);
    let store = opened(&config, Mode::Read).unwrap().store;
    for word in ["gearbox", "exploded", "spare", "shaft", "pos", "k-77"] {
        let hits = store
            .text(
                TextField::Description,
                word,
                &Scope::default(),
                TopK::new(9),
            )
            .unwrap();
        assert_eq!(hits.len(), 1, "{word}");
        assert_eq!(hits[0].description.as_deref(), Some(DESCRIBED));
    }
}

#[test]
fn compressed_and_pooled_vectors_keep_their_scores() {
    for (version, script) in &STORES[2..] {
        let folder = tempfile::tempdir().unwrap();
        let config = load(folder.path(), script);
        let profile = |id: &str, model: &str, dim, pool_factor| Profile {
            id: id.to_owned(),
            model: model.to_owned(),
            dim,
            pool_factor,
        };
        let bits = profile("p9", "bits", 9, 1);
        let pooled = profile("p8-pool3", "small", 8, 3);
        assert_eq!(
            collections(&config).unwrap(),
            [profile("p2", "tiny", 2, 1), bits.clone(), pooled.clone()]
        );
        // 127 whole steps of f16(1 / 127); one of nine numbers of the same size.
        for (profile, score) in [(pooled, 0.999_938_96), (bits, 1.0 / 3.0)] {
            let store = open(&config, CollectionSelector::Profile(&profile), Mode::Read)
                .unwrap()
                .store;
            let dim = profile.dim as usize;
            let first: Vec<f32> = (0..dim).map(|d| f32::from(d == 0)).collect();
            let hits = store
                .visual(&multi_vector(&first, dim), &Scope::default(), TopK::new(9))
                .unwrap();
            assert_eq!(hits.len(), 1);
            let off = (hits[0].score - score).abs();
            assert!(
                off < 1e-6,
                "version {version}, {}: {}",
                profile.id,
                hits[0].score
            );
        }
    }
}

#[test]
fn new_file_has_the_current_schema() {
    let tables = |config: &Config| -> Vec<(String, String)> {
        Connection::open(file(config))
            .unwrap()
            .prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    };
    let number = |config: &Config, name: &str| -> i64 {
        let connection = Connection::open(file(config)).unwrap();
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .unwrap()
    };
    let [old, new] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let old = load(old.path(), STORES[STORES.len() - 1].1);
    let new = config(&new.path().join("library.db"));
    filled(&new);
    assert_eq!(tables(&new), tables(&old));
    for name in ["user_version", "application_id", "page_size"] {
        assert_eq!(number(&new, name), number(&old, name), "{name}");
    }
}

#[test]
fn newer_version_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("library.db"));
    filled(&config);
    Connection::open(file(&config))
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    for mode in [Mode::Read, Mode::Write] {
        let error = opened(&config, mode);
        assert!(matches!(
            error,
            Err(Error::TooNew {
                found: 99,
                known: 8,
                ..
            })
        ));
    }
}
