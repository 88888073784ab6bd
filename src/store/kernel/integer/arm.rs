//! Kernel of integer dot products for 64-bit ARM with `sdot` (every Apple processor, and servers since Neoverse N1).
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::super::{Layout, Line, Precision, Simd, TILE, score};
use super::{DIMS, Four, STEPS, Transpose, unpack};

/// MaxSim with `sdot`.
///
/// # Safety
/// The processor has the dot products, and `page` is whole int8 rows of the query's width, at least one.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn score_dotprod(query: &Layout<Four>, page: &[u8]) -> f32 {
    // SAFETY: guaranteed by the caller.
    unsafe { score::<DotProd>(query, page, Precision::Int8) }
}

/// A line is four registers of 4 times four values.
struct DotProd;

// SAFETY of every block here: only `score_dotprod` instantiates this, so the instructions are available; a line is 64 bytes.
impl Simd for DotProd {
    type Step = Four;
    const DIMS: usize = DIMS;
    type Lanes = [int8x16_t; 4];
    type Sums = [int32x4_t; 4];

    #[inline(always)]
    unsafe fn start(value: Four) -> Self::Sums {
        unsafe { [vdupq_n_s32(i32::from_le_bytes(value)); 4] }
    }
    #[inline(always)]
    unsafe fn load(from: &Line<Four>) -> Self::Lanes {
        let from: *const i8 = from.0.as_ptr().cast();
        std::array::from_fn(|four| unsafe { vld1q_s8(from.add(16 * four)) })
    }
    #[inline(always)]
    unsafe fn add_products(mut sums: Self::Sums, lanes: Self::Lanes, value: Four) -> Self::Sums {
        for (sum, lanes) in sums.iter_mut().zip(lanes) {
            // The intrinsic is not stable yet.
            unsafe {
                let value = vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(value)));
                asm!(
                    "sdot {sum:v}.4s, {lanes:v}.16b, {value:v}.16b",
                    sum = inout(vreg) *sum,
                    lanes = in(vreg) lanes,
                    value = in(vreg) value,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        }
        sums
    }
    #[inline(always)]
    unsafe fn raise(best: &mut Line, sums: Self::Sums, scales: &Line) {
        for (four, sums) in sums.into_iter().enumerate() {
            unsafe {
                let scales = vld1q_f32(scales.0.as_ptr().add(4 * four));
                let best = best.0.as_mut_ptr().add(4 * four);
                let sums = vmulq_f32(vcvtq_f32_s32(sums), scales);
                vst1q_f32(best, vmaxq_f32(vld1q_f32(best), sums));
            }
        }
    }
    #[inline(always)]
    unsafe fn unpack(
        _precision: Precision,
        rows: &[&[u8]; TILE],
        _scales: &Line,
        tile: &mut [Line<Four>],
    ) {
        unsafe { unpack::<ByQuarters>(rows, tile) }
    }
}

/// The transposition with NEON: 4 x 4 steps within each quarter of a line.
struct ByQuarters;

impl Transpose for ByQuarters {
    #[inline(always)]
    unsafe fn transpose(rows: &[*const u8; TILE], lines: &mut [Line<Four>; STEPS]) {
        // SAFETY: guaranteed by the caller; a line is 64 bytes.
        unsafe {
            for quarter in 0..4 {
                let load = |row: usize| vreinterpretq_u32_u8(vld1q_u8(rows[4 * quarter + row]));
                let [a, b, c, d] = [load(0), load(1), load(2), load(3)];
                let pairs = |low, high| (vreinterpretq_u64_u32(low), vreinterpretq_u64_u32(high));
                let (ab_even, cd_even) = pairs(vtrn1q_u32(a, b), vtrn1q_u32(c, d));
                let (ab_odd, cd_odd) = pairs(vtrn2q_u32(a, b), vtrn2q_u32(c, d));
                let steps = [
                    vzip1q_u64(ab_even, cd_even),
                    vzip1q_u64(ab_odd, cd_odd),
                    vzip2q_u64(ab_even, cd_even),
                    vzip2q_u64(ab_odd, cd_odd),
                ];
                for (line, step) in lines.iter_mut().zip(steps) {
                    let to: *mut u8 = line.0.as_mut_ptr().cast();
                    vst1q_u8(to.add(16 * quarter), vreinterpretq_u8_u64(step));
                }
            }
        }
    }
}
