//! Benchmarks of MaxSim against one sgemm of the same shape, of exact search in memory, and of the SQLite store: insert, scan,
//! search in 1,000 pages.
#![expect(clippy::print_stderr, reason = "a benchmark prints its figures")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on should panic"
)]

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use half::f16;
use ingest::page::{ManualId, PageId, PageSet};
use ingest::store::maxsim::PreparedQuery;
use ingest::store::{
    Address, CollectionSelector, Config, ManualCard, Mode, Opened, Precision, Scope, Store,
    StoredPage, TextField, TextUpdate, TopK, VectorUpdate, open,
};
use ingest::vectors::{MultiVector, PageVectors, PatchMap, Profile};
use rayon::prelude::*;

/// Rows of a query and a page of ColQwen2.5.
const QUERY_ROWS: usize = 20;
const PAGE_ROWS: usize = 768;
const DIM: usize = 128;

/// Multiplications and additions of one page.
const FLOP: f64 = 2.0 * (QUERY_ROWS * PAGE_ROWS * DIM) as f64;

fn rows(n: usize, seed: u64) -> MultiVector {
    wide_rows(n, DIM, seed)
}

fn wide_rows(n: usize, dim: usize, seed: u64) -> MultiVector {
    let mut state = seed.wrapping_add(7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let mut all: Vec<f32> = Vec::with_capacity(n * dim);
    for _ in 0..n {
        let row: Vec<f32> = (0..dim).map(|_| next()).collect();
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        all.extend(row.iter().map(|v| v / length));
    }
    MultiVector::new(all, NonZeroUsize::new(dim).unwrap())
        .unwrap()
        .rounded_to_f16()
}

fn f16_bytes(page: &MultiVector) -> Vec<u8> {
    let bytes = |&v: &f32| f16::from_f32(v).to_le_bytes();
    page.as_slice().iter().flat_map(bytes).collect()
}

/// Memory layout of the products: page rows or query rows contiguous.
#[derive(Clone, Copy)]
enum Layout {
    Pages,
    Queries,
}

/// All dot products of page and query rows, one thread, by the `gemm` crate.
fn sgemm(page: &MultiVector, query: &MultiVector, layout: Layout, out: &mut [f32]) {
    let (columns, rows) = match layout {
        Layout::Pages => (PAGE_ROWS as isize, 1),
        Layout::Queries => (1, QUERY_ROWS as isize),
    };
    // SAFETY: the shapes and strides are those of the three slices.
    #[expect(unsafe_code, reason = "gemm takes pointers")]
    unsafe {
        gemm::gemm(
            PAGE_ROWS,
            QUERY_ROWS,
            DIM,
            out.as_mut_ptr(),
            columns,
            rows,
            false,
            page.as_slice().as_ptr(),
            1,
            DIM as isize,
            query.as_slice().as_ptr(),
            DIM as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn best_of(times: usize, mut work: impl FnMut()) -> Duration {
    let run = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..times).map(run).min().unwrap()
}

fn max_sim(c: &mut Criterion) {
    let (query, page) = (rows(QUERY_ROWS, 1), rows(PAGE_ROWS, 2));
    let bytes = f16_bytes(&page);
    let prepared = PreparedQuery::new(&query);
    let mut out = vec![0.0; QUERY_ROWS * PAGE_ROWS];
    let mut group = c.benchmark_group("maxsim 20x768x128");
    group.throughput(Throughput::Elements(FLOP as u64));
    group.bench_function(prepared.kernel(), |b| {
        b.iter(|| prepared.score(black_box(&bytes), Precision::F16));
    });
    for (name, layout) in [("sgemm", Layout::Pages), ("sgemm turned", Layout::Queries)] {
        group.bench_function(name, |b| {
            b.iter(|| sgemm(black_box(&page), &query, layout, &mut out));
        });
    }
    group.finish();
    // Interleaved, so that load on the machine slows all of them equally.
    let mut best = [Duration::MAX; 3];
    for _ in 0..500 {
        let ours = best_of(5, || {
            black_box(prepared.score(black_box(&bytes), Precision::F16)).unwrap();
        });
        let [row_major, transposed] = [Layout::Pages, Layout::Queries]
            .map(|layout| best_of(5, || sgemm(black_box(&page), &query, layout, &mut out)));
        for (best, time) in best.iter_mut().zip([ours, row_major, transposed]) {
            *best = time.min(*best);
        }
    }
    let [ours, row_major, transposed] = best.map(|time| FLOP / time.as_secs_f64() / 1e9);
    eprintln!(
        "MaxSim 20x768x128, one thread, {}: {ours:.1} GFLOP/s from f16; one sgemm of the same shape from f32: \
         {row_major:.1}, turned {transposed:.1} GFLOP/s; share of the faster {:.0} %\n",
        prepared.kernel(),
        100.0 * ours / row_major.max(transposed)
    );
}

/// Time of exact search among 10,000 pages of 750 rows in memory, on all cores; measured with fewer, larger than any cache.
fn exact_search(_: &mut Criterion) {
    const PAGES: usize = 1_000;
    for dim in [128, 320] {
        let query = PreparedQuery::new(&wide_rows(QUERY_ROWS, dim, 1));
        let page = wide_rows(750, dim, 2);
        for precision in [Precision::F16, Precision::Int8] {
            let page = precision.encode(&page);
            let pages = page.repeat(PAGES);
            let mut times: Vec<f64> = (0..9)
                .map(|_| {
                    let start = Instant::now();
                    let scores = pages.par_chunks(page.len());
                    let scores = scores.map(|page| query.estimate(page, precision).unwrap());
                    black_box(scores.sum::<f32>());
                    start.elapsed().as_secs_f64()
                })
                .collect();
            times.sort_by(f64::total_cmp);
            eprintln!(
                "exact search, 10,000 pages of 750 x {dim}, {}: {:.0} ms",
                precision.name(),
                times[4] * 1e3 * 10_000.0 / PAGES as f64
            );
        }
    }
}

fn profile() -> Profile {
    Profile {
        id: "bench".to_owned(),
        model: "bench".to_owned(),
        dim: DIM as u32,
        pool_factor: 1,
    }
}

fn page(number: u32) -> StoredPage {
    let cells = (0..PAGE_ROWS as u16).collect();
    StoredPage {
        id: PageId::new(&ManualId::new("bench.pdf"), number),
        origin: "origin".to_owned(),
        content: format!("content {number}"),
        label: None,
        section: None,
        text: format!("page {number} says that the pump is blocked; ").repeat(40),
        description: None,
        blank: false,
        thumbnail: vec![7; 20_000],
        text_vectors: TextUpdate::Keep,
        vectors: VectorUpdate::Replace(PageVectors {
            vectors: rows(PAGE_ROWS, u64::from(number)),
            patches: PatchMap::new(24, 32, cells, PAGE_ROWS).unwrap(),
        }),
    }
}

fn upsert_manual(store: &dyn Store) {
    let card = ManualCard {
        id: ManualId::new("bench.pdf"),
        path: "bench.pdf".into(),
        file: String::new(),
        render: String::new(),
        pages: 1_000,
    };
    store.upsert_manual(&card).unwrap();
}

fn library(folder: &tempfile::TempDir) -> Opened {
    let config = Config::new(Address::File(folder.path().join("library.db")));
    let open_store = open(&config, CollectionSelector::Last, Mode::Write).unwrap();
    open_store.store.prepare(&profile()).unwrap();
    upsert_manual(open_store.store.as_ref());
    open_store
}

fn sqlite(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let store = library(&folder).store;
    let batch: Vec<StoredPage> = (1..=32).map(page).collect();
    let mut group = c.benchmark_group("sqlite, pages of 768x128");
    group.sample_size(10);
    group.throughput(Throughput::Elements(32));
    group.bench_function("insert 32", |b| {
        b.iter(|| {
            store
                .remove(&batch[0].id.manual, &PageSet::starting_at(1))
                .unwrap();
            upsert_manual(store.as_ref());
            store.upsert(&batch).unwrap()
        });
    });
    group.bench_function("scan 32", |b| {
        b.iter(|| store.scan(&Scope::default()).unwrap().count());
    });
    for first in (1..=1_000).step_by(50) {
        let pages: Vec<StoredPage> = (first..first + 50).map(page).collect();
        store.upsert(&pages).unwrap();
    }
    let query = rows(QUERY_ROWS, 0);
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("search 1000", |b| {
        b.iter(|| {
            store
                .visual(&query, &Scope::default(), TopK::new(10))
                .unwrap()
        });
    });
    group.bench_function("words 1000", |b| {
        b.iter(|| {
            store
                .text(
                    TextField::TextLayer,
                    "blocked pump 17",
                    &Scope::default(),
                    TopK::new(10),
                )
                .unwrap()
        });
    });
    group.bench_function("list 1000", |b| {
        b.iter(|| store.fingerprints(&ManualId::new("bench.pdf")).unwrap());
    });
    group.finish();
}

criterion_group!(benches, max_sim, exact_search, sqlite);
criterion_main!(benches);
