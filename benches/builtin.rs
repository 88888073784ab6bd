//! Benchmark of the built-in model: A4 pages of running text, and a query.
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on should panic"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ingest::embed::{Embedder, builtin};
use ingest::page::Size;
use ingest::patch::{GrayPage, Prepared};
use safetensors::SafeTensors;

/// An A4 page at 107 dpi, two thirds of which are covered by the crop of the parity test.
fn page() -> Prepared {
    let file = SafeTensors::deserialize(include_bytes!("../tests/golden/builtin/crop.safetensors"))
        .unwrap();
    let crop = file.tensor("pixels").unwrap();
    let (height, width) = (crop.shape()[0], crop.shape()[1]);
    let size = Size::new(881, 1247);
    let mut pixels = vec![255; 881 * 1247];
    for (y, line) in pixels.chunks_exact_mut(881).enumerate() {
        let printed = (80..1160).contains(&y) && y / 120 % 4 != 3;
        for (x, p) in line[20..860].iter_mut().enumerate().filter(|_| printed) {
            *p = crop.data()[y % height * width + x % width];
        }
    }
    Prepared::Gray(GrayPage { size, pixels })
}

fn pages(c: &mut Criterion) {
    let mut model = builtin::open().unwrap();
    let batch = [page(), page(), page(), page()];
    let mut group = c.benchmark_group("built-in");
    group.sample_size(10).throughput(Throughput::Elements(4));
    group.bench_function("four pages", |b| {
        b.iter(|| model.embed_pages(&batch).unwrap());
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("a page", |b| {
        b.iter(|| model.embed_pages(&batch[..1]).unwrap());
    });
    group.bench_function("a query", |b| {
        b.iter(|| {
            model
                .embed_query("What does the error E-104 mean?")
                .unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, pages);
criterion_main!(benches);
