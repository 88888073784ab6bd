//! Vectors as wide as those of ColQwen3: 320 numbers, and whole ones of 2,560.

use ingest::store::{Index, Precision, Scope, Store, StoredPage, TopK, VectorUpdate};
use ingest::vectors::{Profile, max_sim};

use crate::fixtures::{all, config, page, prepared, profile, put, rows, upsert_manual, vectors};
use crate::weaviate;

/// Pages of a store.
const PAGES: u32 = 24;

fn wide(dim: usize) -> Profile {
    Profile {
        id: format!("p{dim}"),
        dim: dim as u32,
        ..profile()
    }
}

/// Fills an empty store with pages, and checks that they are ranked by MaxSim of what it kept.
fn check(store: &dyn Store, dim: usize) {
    upsert_manual(store, "pump.pdf");
    let page = |n| StoredPage {
        vectors: VectorUpdate::Replace(vectors(8, dim, 70 + u64::from(n))),
        ..page("pump.pdf", n, "")
    };
    put(store, &(1..=PAGES).map(page).collect::<Vec<_>>());
    let kept = all(store);
    assert_eq!(kept.len(), PAGES as usize);
    let query = rows(4, dim, 7);
    let score = |page: &StoredPage| match &page.vectors {
        VectorUpdate::Replace(new) => max_sim(&query, &new.vectors),
        VectorUpdate::Keep => panic!("{} has no vectors", page.id),
    };
    let mut expected: Vec<(f32, u32)> = kept
        .iter()
        .map(|page| (score(page), page.id.number))
        .collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0));
    let exact = TopK {
        exact: true,
        ..TopK::new(PAGES as usize)
    };
    for top_k in [TopK::new(PAGES as usize), exact] {
        let hits = store.visual(&query, &Scope::default(), top_k).unwrap();
        assert_eq!(hits.len(), expected.len());
        for (hit, (score, number)) in hits.iter().zip(&expected) {
            assert_eq!(hit.id.number, *number, "{dim}");
            assert!(
                (hit.score - score).abs() < 1e-3,
                "{} is not {score}",
                hit.score
            );
        }
    }
}

#[test]
fn wide_vectors_are_ranked_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    for (dim, precision, first_stage) in [
        (320, Precision::F16, Some(4)),
        (320, Precision::OneBit, None),
        (2560, Precision::Int8, None),
        (2560, Precision::F16, Some(4)),
    ] {
        let name = format!("{dim}-{}", precision.name());
        let mut config = config(&folder.path().join(name));
        config.precision = Some(precision);
        config.first_stage = first_stage;
        check(&*prepared(&config, &wide(dim)).store, dim);
    }
}

#[test]
fn wide_vectors_are_ranked_in_weaviate() {
    for (dim, index) in [
        (320, Index::Raw),
        (320, Index::Muvera),
        (2560, Index::Raw),
        (2560, Index::Muvera),
    ] {
        let mut config = weaviate::config(&format!("Wide{dim}_{index:?}"));
        config.index = Some(index);
        check(&*prepared(&config, &wide(dim)).store, dim);
    }
}
