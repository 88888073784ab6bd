//! Token pooling equals colpali-engine: same clusters, same rows (`tests/golden/make_pooling.py`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use ingest::pooling::pool;
use ingest::vectors::{MultiVector, PageVectors, PatchMap};

/// Tolerance of rows, for another order of additions.
const TOLERANCE: f32 = 1e-6;

fn floats(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.to_dtype(DType::F32).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// A page with the given rows, each in a cell of its own.
fn page(rows: &Tensor) -> PageVectors {
    let (n, dim) = rows.dims2().unwrap();
    PageVectors {
        vectors: MultiVector::new(floats(rows), NonZeroUsize::new(dim).unwrap()).unwrap(),
        patches: PatchMap::new(n as u16, 1, (0..n as u16).collect(), n).unwrap(),
    }
}

#[test]
fn clusters_and_rows_equal_the_reference() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pooling.safetensors");
    let golden: HashMap<String, Tensor> =
        candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    for name in ["manual", "tiny0", "tiny1"] {
        let page = page(&golden[&format!("{name}.rows")]);
        for factor in [2, 3, 4] {
            let clusters = &golden[&format!("{name}.{factor}.clusters")];
            let clusters: Vec<u32> = clusters.to_vec1().unwrap();
            let theirs = &golden[&format!("{name}.{factor}.pooled")];
            let dim = theirs.dim(1).unwrap();
            let theirs = floats(theirs);
            let ours = pool(&page, factor).unwrap();
            assert_eq!(ours.vectors.len(), theirs.len() / dim, "{name} by {factor}");
            let mut found = Vec::new();
            for (row, cell) in ours.vectors.rows().zip(ours.patches.cells()) {
                // A pooled row has the cell of its first member, which identifies the cluster.
                let cluster = clusters[usize::from(*cell)] as usize;
                let first = clusters.iter().position(|&c| c as usize == cluster);
                assert_eq!(first, Some(usize::from(*cell)), "{name} by {factor}");
                found.push(cluster);
                let expected = &theirs[cluster * dim..][..dim];
                for (a, b) in row.iter().zip(expected) {
                    assert!(
                        (a - b).abs() <= TOLERANCE,
                        "{name} by {factor}: {a}, not {b}"
                    );
                }
            }
            found.sort_unstable();
            assert!(
                found.iter().copied().eq(0..theirs.len() / dim),
                "{name} by {factor}"
            );
        }
    }
}
