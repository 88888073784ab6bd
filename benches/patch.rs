//! Benchmark of preprocessing an A4 page at 150 dpi, for a Qwen vision tower and for the built-in model.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ingest::page::{PageImage, Size};
use ingest::patch::{PatchSpec, Prepare};

fn page() -> PageImage {
    let size = Size::new(1240, 1754);
    let noise = (0..size.area() as u32 * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
    PageImage::new(size, noise.collect()).expect("the pixels fit the size")
}

fn prepare(criterion: &mut Criterion) {
    let page = page();
    let mut group = criterion.benchmark_group("prepare an A4 page at 150 dpi");
    group.throughput(Throughput::Elements(1));
    let cases = [
        (
            "qwen, 768 tokens",
            Prepare::Qwen(PatchSpec::qwen(3136, 768 * 28 * 28)),
        ),
        ("gray, 1.1 megapixels", Prepare::Gray { pixels: 1_100_000 }),
    ];
    for (name, spec) in cases {
        group.bench_function(name, |bencher| {
            bencher.iter(|| spec.prepare(black_box(&page)))
        });
    }
    group.finish();
}

criterion_group!(benches, prepare);
criterion_main!(benches);
