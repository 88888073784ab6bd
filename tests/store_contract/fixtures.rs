//! Fixtures: small pages, stores and helpers.

use std::num::NonZeroUsize;
use std::path::Path;

use ingest::page::{ManualId, PageId};
use ingest::store::{
    Address, CollectionSelector, Config, ManualCard, Mode, Opened, Scope, Store, StoredPage,
    TextField, TextUpdate, TopK, VectorUpdate, WriteOutcome, open,
};
use ingest::vectors::{MultiVector, PageVectors, PatchMap, Profile};

pub(crate) const DIM: usize = 24;

pub(crate) fn profile() -> Profile {
    Profile {
        id: "p24".to_owned(),
        model: "tiny".to_owned(),
        dim: DIM as u32,
        pool_factor: 1,
    }
}

/// Pseudo-random unit rows, deterministic by seed.
pub(crate) fn rows(n: usize, dim: usize, seed: u64) -> MultiVector {
    let mut state = seed.wrapping_add(7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let mut all: Vec<f32> = Vec::new();
    for _ in 0..n {
        let row: Vec<f32> = (0..dim).map(|_| next()).collect();
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        all.extend(row.iter().map(|v| v / length));
    }
    MultiVector::new(all, NonZeroUsize::new(dim).unwrap())
        .unwrap()
        .rounded_to_f16()
}

pub(crate) fn vectors(n: usize, dim: usize, seed: u64) -> PageVectors {
    let mut cells: Vec<u16> = (0..7 * 11).cycle().take(n).collect();
    cells[0] = PatchMap::NO_CELL;
    PageVectors {
        vectors: rows(n, dim, seed),
        patches: PatchMap::new(7, 11, cells, n).unwrap(),
    }
}

pub(crate) fn page(manual: &str, number: u32, text: &str) -> StoredPage {
    let seed = u64::from(number) * 31 + manual.len() as u64;
    StoredPage {
        id: PageId::new(&ManualId::new(manual), number),
        origin: format!("origin of {manual}"),
        content: format!("content {number}"),
        label: None,
        section: None,
        text: text.to_owned(),
        description: None,
        blank: false,
        thumbnail: vec![number as u8; 9],
        vectors: VectorUpdate::Replace(vectors(3 + number as usize % 30, DIM, seed)),
        text_vectors: TextUpdate::Keep,
    }
}

pub(crate) fn upsert_manual(store: &dyn Store, manual: &str) {
    let card = ManualCard {
        id: ManualId::new(manual),
        path: format!("/shelf/{manual}").into(),
        file: "0123abcd".to_owned(),
        render: "150 dpi".to_owned(),
        pages: 40,
    };
    store.upsert_manual(&card).unwrap();
}

pub(crate) fn config(url: &Path) -> Config {
    Config::new(Address::File(url.to_owned()))
}

/// The path of a file store.
pub(crate) fn file(config: &Config) -> &Path {
    match &config.url {
        Address::File(path) => path,
        Address::Servers(_) => panic!("a server"),
    }
}

/// Opens a store for writing and prepares it for pages of `profile`.
pub(crate) fn prepared(config: &Config, profile: &Profile) -> Opened {
    let opened = open(config, CollectionSelector::Profile(profile), Mode::Write).unwrap();
    opened.store.prepare(profile).unwrap();
    opened
}

pub(crate) fn put(store: &dyn Store, pages: &[StoredPage]) {
    for (id, outcome) in store.upsert(pages).unwrap() {
        assert_eq!(outcome, Ok(WriteOutcome::Stored), "{id}");
    }
}

pub(crate) fn numbers(store: &dyn Store, manual: &str) -> Vec<u32> {
    let fingerprints = store.fingerprints(&ManualId::new(manual)).unwrap();
    fingerprints.iter().map(|page| page.number).collect()
}

pub(crate) fn all(store: &dyn Store) -> Vec<StoredPage> {
    let pages = store.scan(&Scope::default()).unwrap();
    pages.collect::<Result<_, _>>().unwrap()
}

pub(crate) fn found(store: &dyn Store, words: &str) -> Vec<u32> {
    let hits = store
        .text(
            TextField::TextLayer,
            words,
            &Scope::default(),
            TopK::new(10),
        )
        .unwrap();
    hits.iter().map(|hit| hit.id.number).collect()
}

pub(crate) fn scope(manual: Option<&str>, pages: &str) -> Scope {
    Scope {
        manual: manual.map(ManualId::new),
        pages: pages.parse().unwrap(),
    }
}
