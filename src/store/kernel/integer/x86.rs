//! x86-64 kernels of integer dot products: AVX-512 VNNI, AVX-VNNI, and AVX2 by pairs in 16 bits.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

use std::arch::x86_64::*;

use super::super::{Layout, Line, Precision, Simd, TILE, score};
use super::{DIMS, Four, STEPS, Transpose, unpack};

/// MaxSim with AVX-512 VNNI.
///
/// # Safety
/// The processor has AVX-512F, AVX-512 VNNI and AVX2, and `page` is whole int8 rows of the query's width, at least one.
#[target_feature(enable = "avx512f,avx512vnni,avx2")]
pub(super) unsafe fn score_avx512_vnni(query: &Layout<Four>, page: &[u8]) -> f32 {
    // SAFETY: guaranteed by the caller.
    unsafe { score::<Avx512Vnni>(query, page, Precision::Int8) }
}

/// MaxSim with AVX-VNNI.
///
/// # Safety
/// The processor has AVX-VNNI and AVX2, and `page` is whole int8 rows of the query's width, at least one.
#[target_feature(enable = "avxvnni,avx2")]
pub(super) unsafe fn score_avx_vnni(query: &Layout<Four>, page: &[u8]) -> f32 {
    // SAFETY: guaranteed by the caller.
    unsafe { score::<Avx256<true>>(query, page, Precision::Int8) }
}

/// MaxSim with AVX2.
///
/// # Safety
/// The processor has AVX2, and `page` is whole int8 rows of the query's width, at least one.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn score_avx2(query: &Layout<Four>, page: &[u8]) -> f32 {
    // SAFETY: guaranteed by the caller.
    unsafe { score::<Avx256<false>>(query, page, Precision::Int8) }
}

/// AVX-512 VNNI: a line is one register of 16 times four values.
struct Avx512Vnni;

// SAFETY of every block here: only `score_avx512_vnni` instantiates this, so the instructions are available; a line is 64
// aligned bytes.
impl Simd for Avx512Vnni {
    type Step = Four;
    const DIMS: usize = DIMS;
    type Lanes = __m512i;
    type Sums = __m512i;

    #[inline(always)]
    unsafe fn start(value: Four) -> Self::Sums {
        unsafe { _mm512_set1_epi32(i32::from_le_bytes(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: &Line<Four>) -> Self::Lanes {
        unsafe { _mm512_load_si512(from.0.as_ptr().cast()) }
    }
    #[inline(always)]
    unsafe fn add_products(sums: Self::Sums, lanes: Self::Lanes, value: Four) -> Self::Sums {
        unsafe {
            let value = _mm512_set1_epi32(i32::from_le_bytes(value));
            _mm512_dpbusd_epi32(sums, lanes, value)
        }
    }
    #[inline(always)]
    unsafe fn raise(best: &mut Line, sums: Self::Sums, scales: &Line) {
        unsafe {
            let scales = _mm512_load_ps(scales.0.as_ptr());
            let sums = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scales);
            let best = best.0.as_mut_ptr();
            _mm512_store_ps(best, _mm512_max_ps(_mm512_load_ps(best), sums));
        }
    }
    #[inline(always)]
    unsafe fn unpack(
        _precision: Precision,
        rows: &[&[u8]; TILE],
        _scales: &Line,
        tile: &mut [Line<Four>],
    ) {
        unsafe { unpack::<ByQuarters<true>>(rows, tile) }
    }
}

/// 256 bits, with AVX-VNNI or with AVX2 only: a line is two registers of 8 times four values.
struct Avx256<const VNNI: bool>;

// SAFETY of every block here: only `score_avx_vnni` and `score_avx2` instantiate this, so the instructions are available; a
// line is 64 aligned bytes.
impl<const VNNI: bool> Simd for Avx256<VNNI> {
    type Step = Four;
    const DIMS: usize = DIMS;
    type Lanes = [__m256i; 2];
    type Sums = [__m256i; 2];

    #[inline(always)]
    unsafe fn start(value: Four) -> Self::Sums {
        unsafe { [_mm256_set1_epi32(i32::from_le_bytes(value)); 2] }
    }
    #[inline(always)]
    unsafe fn load(from: &Line<Four>) -> Self::Lanes {
        let from: *const __m256i = from.0.as_ptr().cast();
        unsafe { [_mm256_load_si256(from), _mm256_load_si256(from.add(1))] }
    }
    #[inline(always)]
    unsafe fn add_products(mut sums: Self::Sums, lanes: Self::Lanes, value: Four) -> Self::Sums {
        unsafe {
            let value = _mm256_set1_epi32(i32::from_le_bytes(value));
            for (sum, lanes) in sums.iter_mut().zip(lanes) {
                *sum = if VNNI {
                    _mm256_dpbusd_avx_epi32(*sum, lanes, value)
                } else {
                    // The sign of the lanes moves to the value: 2 · 128 · 127 fits 16 bits.
                    let (unsigned, signed) =
                        (_mm256_abs_epi8(lanes), _mm256_sign_epi8(value, lanes));
                    let pairs = _mm256_maddubs_epi16(unsigned, signed);
                    _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
                };
            }
        }
        sums
    }
    #[inline(always)]
    unsafe fn raise(best: &mut Line, sums: Self::Sums, scales: &Line) {
        unsafe {
            for (half, sums) in sums.into_iter().enumerate() {
                let scales = _mm256_load_ps(scales.0.as_ptr().add(8 * half));
                let sums = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scales);
                let best = best.0.as_mut_ptr().add(8 * half);
                _mm256_store_ps(best, _mm256_max_ps(_mm256_load_ps(best), sums));
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
        unsafe { unpack::<ByQuarters<VNNI>>(rows, tile) }
    }
}

/// The transposition with AVX2: 4 x 4 steps within each quarter of a line. For VNNI it adds 128, which makes a value
/// unsigned.
struct ByQuarters<const VNNI: bool>;

impl<const VNNI: bool> Transpose for ByQuarters<VNNI> {
    #[inline(always)]
    unsafe fn transpose(rows: &[*const u8; TILE], lines: &mut [Line<Four>; STEPS]) {
        // SAFETY: guaranteed by the caller; stores go to aligned lines.
        unsafe {
            let offset = _mm256_set1_epi8(if VNNI { i8::MIN } else { 0 });
            // Rows 0-3 and 4-7, then 8-11 and 12-15.
            for half in 0..2 {
                let load = |row: usize| {
                    let low = _mm_loadu_si128(rows[8 * half + row].cast());
                    let high = _mm_loadu_si128(rows[8 * half + 4 + row].cast());
                    let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high);
                    _mm256_xor_si256(both, offset)
                };
                let [a, b, c, d] = [load(0), load(1), load(2), load(3)];
                let [ab, cd] = [_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d)];
                let [ab_high, cd_high] = [_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d)];
                let steps = [
                    _mm256_unpacklo_epi64(ab, cd),
                    _mm256_unpackhi_epi64(ab, cd),
                    _mm256_unpacklo_epi64(ab_high, cd_high),
                    _mm256_unpackhi_epi64(ab_high, cd_high),
                ];
                for (line, step) in lines.iter_mut().zip(steps) {
                    let to: *mut __m256i = line.0.as_mut_ptr().cast();
                    _mm256_store_si256(to.add(half), step);
                }
            }
        }
    }
}
