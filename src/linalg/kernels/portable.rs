//! Registers of any processor: arrays, vectorised by the compiler.
#![expect(unsafe_code, reason = "the trait is of SIMD intrinsics")]

use super::generic::{ROUND, Simd};
use super::kernels;

kernels!(PORTABLE, "portable", Portable, 4 x 2);

/// 4 floats.
struct Portable;

/// Applies a function lane by lane.
#[inline(always)]
fn each(a: [f32; 4], b: [f32; 4], function: impl Fn(f32, f32) -> f32) -> [f32; 4] {
    [
        function(a[0], b[0]),
        function(a[1], b[1]),
        function(a[2], b[2]),
        function(a[3], b[3]),
    ]
}

// SAFETY of every block here: the caller guarantees what pointers reach.
impl Simd for Portable {
    type V = [f32; 4];
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        unsafe { from.cast::<[f32; 4]>().read() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: [f32; 4]) {
        unsafe { to.cast::<[f32; 4]>().write(x) }
    }
    #[inline(always)]
    unsafe fn widen(from: *const u32) -> [[f32; 4]; 2] {
        let words = unsafe { from.cast::<[u32; 4]>().read() };
        [
            words.map(|word| f32::from_bits(word << 16)),
            words.map(|word| f32::from_bits(word & 0xffff_0000)),
        ]
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        // Not fused: without the instruction, that is a call of a slow function.
        each(each(a, b, |a, b| a * b), c, |product, c| product + c)
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn power_of_2(x: [f32; 4]) -> [f32; 4] {
        let bias = 127_u32.wrapping_sub(ROUND.to_bits());
        x.map(|x| f32::from_bits(x.to_bits().wrapping_add(bias) << 23))
    }
}
