//! Registers of Arm: NEON.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

use std::arch::aarch64::*;

use super::generic::{ROUND, Simd};
use super::kernels;

kernels!(NEON, "neon", Neon, 6 x 4);

/// 4 floats.
struct Neon;

// SAFETY of every block here: NEON is part of the architecture; the caller guarantees what pointers reach.
impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: float32x4_t) {
        unsafe { vst1q_f32(to, x) }
    }
    #[inline(always)]
    unsafe fn widen(from: *const u32) -> [float32x4_t; 2] {
        unsafe {
            let words = vld1q_u32(from);
            let [low, high] = [
                vshlq_n_u32::<16>(words),
                vandq_u32(words, vdupq_n_u32(0xffff_0000)),
            ];
            [vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high)]
        }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn power_of_2(x: float32x4_t) -> float32x4_t {
        unsafe {
            let bias = vdupq_n_u32(127_u32.wrapping_sub(ROUND.to_bits()));
            let exponent = vaddq_u32(vreinterpretq_u32_f32(x), bias);
            vreinterpretq_f32_u32(vshlq_n_u32::<23>(exponent))
        }
    }
}
