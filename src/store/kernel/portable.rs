//! Kernel of MaxSim for any processor.
#![expect(unsafe_code, reason = "the trait is of SIMD intrinsics")]

use super::{Line, Precision, Simd, TILE, unpack_from};

/// Plain arrays, vectorised by the compiler.
pub(super) struct Portable;

impl Simd for Portable {
    type Step = f32;
    const DIMS: usize = 1;
    type Lanes = [f32; TILE];
    type Sums = [f32; TILE];

    #[inline(always)]
    unsafe fn start(value: f32) -> Self::Sums {
        [value; TILE]
    }
    #[inline(always)]
    unsafe fn load(from: &Line) -> Self::Lanes {
        from.0
    }
    #[inline(always)]
    unsafe fn add_products(mut sums: Self::Sums, lanes: Self::Lanes, value: f32) -> Self::Sums {
        for (sum, lane) in sums.iter_mut().zip(lanes) {
            *sum += lane * value;
        }
        sums
    }
    #[inline(always)]
    unsafe fn raise(best: &mut Line, sums: Self::Sums, _scales: &Line) {
        for (best, sum) in best.0.iter_mut().zip(sums) {
            *best = best.max(sum);
        }
    }
    #[inline(always)]
    unsafe fn unpack(precision: Precision, rows: &[&[u8]; TILE], scales: &Line, tile: &mut [Line]) {
        unpack_from(0, precision, rows, scales, tile);
    }
}
