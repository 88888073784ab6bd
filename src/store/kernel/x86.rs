//! MaxSim on x86-64: AVX2 with FMA and F16C, and AVX-512.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

use std::arch::x86_64::*;

use super::{Blocks, Lanes, Line, TILE, score, unpack_from};

/// # Safety
/// The processor has AVX2, FMA and F16C, and `page` is whole rows of the query's width, at least one.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn score_avx2(query: &Blocks, page: &[u8]) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { score::<Avx2>(query, page) }
}

/// # Safety
/// The processor has AVX-512F, AVX2, FMA and F16C, and `page` is whole rows of the query's width, at least one.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn score_avx512(query: &Blocks, page: &[u8]) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { score::<Avx512>(query, page) }
}

/// A line in two registers of 8.
struct Avx2;

// SAFETY of every block here: only `score_avx2` instantiates this, so the instructions are there; a line is 16 aligned
// floats.
impl Lanes for Avx2 {
    type Line = [__m256; 2];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Line {
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn load(from: &Line) -> Self::Line {
        let from = from.0.as_ptr();
        unsafe { [_mm256_load_ps(from), _mm256_load_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(line: Self::Line, to: &mut Line) {
        let to = to.0.as_mut_ptr();
        unsafe {
            _mm256_store_ps(to, line[0]);
            _mm256_store_ps(to.add(8), line[1]);
        }
    }
    #[inline(always)]
    unsafe fn add(sum: Self::Line, a: Self::Line, b: f32) -> Self::Line {
        unsafe {
            let b = _mm256_set1_ps(b);
            [
                _mm256_fmadd_ps(a[0], b, sum[0]),
                _mm256_fmadd_ps(a[1], b, sum[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn max(a: Self::Line, b: Self::Line) -> Self::Line {
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn unpack(rows: &[*const u8; TILE], tile: &mut [Line]) {
        unsafe { unpack(rows, tile) }
    }
}

/// A line in one register of 16.
struct Avx512;

// SAFETY of every block here: only `score_avx512` instantiates this, so the instructions are there; a line is 16
// aligned floats.
impl Lanes for Avx512 {
    type Line = __m512;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Line {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: &Line) -> Self::Line {
        unsafe { _mm512_load_ps(from.0.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store(line: Self::Line, to: &mut Line) {
        unsafe { _mm512_store_ps(to.0.as_mut_ptr(), line) }
    }
    #[inline(always)]
    unsafe fn add(sum: Self::Line, a: Self::Line, b: f32) -> Self::Line {
        unsafe { _mm512_fmadd_ps(a, _mm512_set1_ps(b), sum) }
    }
    #[inline(always)]
    unsafe fn max(a: Self::Line, b: Self::Line) -> Self::Line {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn unpack(rows: &[*const u8; TILE], tile: &mut [Line]) {
        unsafe { unpack(rows, tile) }
    }
}

/// Unpacks 8 dimensions at a time; what is left over, one by one.
///
/// # Safety
/// Each row has `2 * tile.len()` readable bytes, and the processor has AVX2 and F16C.
#[inline(always)]
unsafe fn unpack(rows: &[*const u8; TILE], tile: &mut [Line]) {
    let whole = tile.len() / 8 * 8;
    let (eights, _) = tile.as_chunks_mut::<8>();
    for (block, lines) in eights.iter_mut().enumerate() {
        // SAFETY: the 16 bytes of these 8 dimensions lie within each row.
        unsafe { turn(rows, 16 * block, lines) }
    }
    // SAFETY: the caller's promise.
    unsafe { unpack_from(whole, rows, tile) }
}

/// Turns 8 dimensions of 16 rows: as 16-bit numbers, by three rounds of interleaving within each half register (rows
/// 0-7 in the lower, 8-15 in the upper half), then widens.
///
/// # Safety
/// Each row has 16 readable bytes at `offset`, and the processor has AVX2 and F16C.
#[inline(always)]
unsafe fn turn(rows: &[*const u8; TILE], offset: usize, lines: &mut [Line; 8]) {
    // SAFETY: the caller's promise; loads are unaligned ones, stores go to aligned lines.
    unsafe {
        let mut a = [_mm256_setzero_si256(); 8];
        for (r, a) in a.iter_mut().enumerate() {
            let low = _mm_loadu_si128(rows[r].add(offset).cast());
            let high = _mm_loadu_si128(rows[r + 8].add(offset).cast());
            *a = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high);
        }
        // Zipping row i with row i + 4 three times is a transposition.
        for _ in 0..3 {
            let mut zipped = a;
            for i in 0..4 {
                zipped[2 * i] = _mm256_unpacklo_epi16(a[i], a[i + 4]);
                zipped[2 * i + 1] = _mm256_unpackhi_epi16(a[i], a[i + 4]);
            }
            a = zipped;
        }
        for (line, eights) in lines.iter_mut().zip(a) {
            widen(eights, line);
        }
    }
}

/// # Safety
/// The processor has AVX2 and F16C.
#[inline(always)]
unsafe fn widen(half: __m256i, line: &mut Line) {
    let to = line.0.as_mut_ptr();
    // SAFETY: the caller's promise; a line is 16 aligned floats.
    unsafe {
        _mm256_store_ps(to, _mm256_cvtph_ps(_mm256_castsi256_si128(half)));
        let upper = _mm256_extracti128_si256::<1>(half);
        _mm256_store_ps(to.add(8), _mm256_cvtph_ps(upper));
    }
}
