//! Registers of x86-64: AVX2 with FMA, and AVX-512.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

use std::arch::x86_64::*;

use super::generic::{ROUND, Simd};
use super::kernels;

kernels!(AVX2, "avx2", Avx2, 6 x 2, "avx2,fma");
kernels!(AVX512, "avx512", Avx512, 12 x 2, "avx512f,avx2,fma");

/// 8 floats.
struct Avx2;

// SAFETY of every block here: the caller guarantees the instructions and what pointers reach.
impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m256) {
        unsafe { _mm256_storeu_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn widen(from: *const u32) -> [__m256; 2] {
        unsafe {
            let words = _mm256_loadu_si256(from.cast());
            let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            let [low, high] = [
                _mm256_slli_epi32::<16>(words),
                _mm256_and_si256(words, upper),
            ];
            [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]
        }
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn power_of_2(x: __m256) -> __m256 {
        unsafe {
            let bias = _mm256_set1_epi32(127_i32.wrapping_sub(ROUND.to_bits() as i32));
            let exponent = _mm256_add_epi32(_mm256_castps_si256(x), bias);
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }
}

/// 16 floats.
struct Avx512;

// SAFETY of every block here: as above.
impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m512) {
        unsafe { _mm512_storeu_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn widen(from: *const u32) -> [__m512; 2] {
        unsafe {
            let words = _mm512_loadu_si512(from.cast());
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            let [low, high] = [
                _mm512_slli_epi32::<16>(words),
                _mm512_and_si512(words, upper),
            ];
            [_mm512_castsi512_ps(low), _mm512_castsi512_ps(high)]
        }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn power_of_2(x: __m512) -> __m512 {
        unsafe {
            let bias = _mm512_set1_epi32(127_i32.wrapping_sub(ROUND.to_bits() as i32));
            let exponent = _mm512_add_epi32(_mm512_castps_si512(x), bias);
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        }
    }
}
