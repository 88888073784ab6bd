//! Fixtures: small pages, stores and helpers.

use std::num::NonZeroUsize;
use std::path::Path;

use ingest::page::{ManualId, PageId};
use ingest::store::{
    Address, CollectionSelector, Config, ManualCard, Mode, Opened, Scope, Store, StoredPage,
    TextField, TextUpdate, TopK, VectorUpdate, WriteOutcome, open, text_digest,
};
use ingest::vectors::{MultiVector, PageVectors, PatchMap, Profile, TextQuery, TextVectors};

pub(crate) const DIM: usize = 24;

/// Profile and width of text vectors; 1-bit rows need no padding for it.
pub(crate) const TEXT_PROFILE: &str = "text-model-1";
const TEXT_WIDTH: usize = 64;

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

/// Text vectors of `n` rows with consecutive tokens. Their values are signs, which every precision keeps as they are.
pub(crate) fn text_vectors(n: usize, seed: u64, first_token: u32) -> TextVectors {
    let rows = rows(n, TEXT_WIDTH, seed);
    let scale = 1.0 / (TEXT_WIDTH as f32).sqrt();
    let signs = rows.as_slice().iter().map(|v| scale.copysign(*v));
    TextVectors {
        vectors: MultiVector::new(signs.collect(), rows.width()).unwrap(),
        tokens: (first_token..).take(n).collect(),
    }
}

/// A page of `pump.pdf` with text vectors.
pub(crate) fn text_page(number: u32, vectors: Option<TextVectors>) -> StoredPage {
    let text = format!("text {number}");
    StoredPage {
        text_vectors: TextUpdate::Replace {
            digest: text_digest(TEXT_PROFILE, &text),
            vectors,
            words_read: String::new(),
        },
        ..page("pump.pdf", number, &text)
    }
}

/// A query of `n` rows with consecutive tokens.
pub(crate) fn text_query(n: usize, seed: u64, first_token: u32) -> TextQuery {
    TextQuery {
        known: 1.0,
        profile: TEXT_PROFILE,
        vectors: rows(n, TEXT_WIDTH, seed),
        tokens: (first_token..).take(n).collect(),
        shares: vec![1.0; n],
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

pub(crate) fn scope(manuals: &[&str], pages: &str) -> Scope {
    Scope {
        manuals: manuals.iter().map(|name| ManualId::new(name)).collect(),
        pages: pages.parse().unwrap(),
    }
}
