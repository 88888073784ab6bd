//! MaxSim on 64-bit ARM, where NEON is always there.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

use std::arch::aarch64::*;

use super::{Lanes, Line};

/// A line in four registers of 4.
pub(super) struct Neon;

// SAFETY of every block here: NEON belongs to every aarch64 processor; a line is 16 floats.
impl Lanes for Neon {
    type Line = [float32x4_t; 4];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Line {
        unsafe { [vdupq_n_f32(value); 4] }
    }
    #[inline(always)]
    unsafe fn load(from: &Line) -> Self::Line {
        let from = from.0.as_ptr();
        unsafe {
            [
                vld1q_f32(from),
                vld1q_f32(from.add(4)),
                vld1q_f32(from.add(8)),
                vld1q_f32(from.add(12)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store(line: Self::Line, to: &mut Line) {
        for (i, four) in line.into_iter().enumerate() {
            unsafe { vst1q_f32(to.0.as_mut_ptr().add(4 * i), four) }
        }
    }
    #[inline(always)]
    unsafe fn add(mut sum: Self::Line, a: Self::Line, b: f32) -> Self::Line {
        for (sum, a) in sum.iter_mut().zip(a) {
            *sum = unsafe { vfmaq_n_f32(*sum, a, b) };
        }
        sum
    }
    #[inline(always)]
    unsafe fn max(mut a: Self::Line, b: Self::Line) -> Self::Line {
        for (a, b) in a.iter_mut().zip(b) {
            *a = unsafe { vmaxq_f32(*a, b) };
        }
        a
    }
}
