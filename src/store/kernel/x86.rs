//! x86-64 kernels of MaxSim: AVX2 with FMA and F16C, and AVX-512.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

use std::arch::x86_64::*;

use super::{Layout, Line, Precision, Simd, TILE, score, unpack_from};

/// MaxSim with AVX2.
///
/// # Safety
/// The processor has AVX2, FMA and F16C, and `page` is whole rows of the query's width, at least one.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn score_avx2(query: &Layout<f32>, page: &[u8], precision: Precision) -> f32 {
    // SAFETY: guaranteed by the caller.
    unsafe { score::<Avx2>(query, page, precision) }
}

/// MaxSim with AVX-512.
///
/// # Safety
/// The processor has AVX-512F, AVX2, FMA and F16C, and `page` is whole rows of the query's width, at least one.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn score_avx512(query: &Layout<f32>, page: &[u8], precision: Precision) -> f32 {
    // SAFETY: guaranteed by the caller.
    unsafe { score::<Avx512>(query, page, precision) }
}

/// Asks for the cache line with the first of these bytes.
#[inline(always)]
pub(super) fn prefetch(line: &[u8]) {
    // SAFETY: every x86-64 processor has the instruction, and it has no effect but on time.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
}

/// AVX2: a line is two registers of 8 floats.
struct Avx2;

// SAFETY of every block here: only `score_avx2` instantiates this, so the instructions are available; a line is 16 aligned
// floats.
impl Simd for Avx2 {
    type Step = f32;
    const DIMS: usize = 1;
    type Lanes = [__m256; 2];
    type Sums = [__m256; 2];

    #[inline(always)]
    unsafe fn start(value: f32) -> Self::Sums {
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn load(from: &Line) -> Self::Lanes {
        let from = from.0.as_ptr();
        unsafe { [_mm256_load_ps(from), _mm256_load_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn add_products(sums: Self::Sums, lanes: Self::Lanes, value: f32) -> Self::Sums {
        unsafe {
            let value = _mm256_set1_ps(value);
            [
                _mm256_fmadd_ps(lanes[0], value, sums[0]),
                _mm256_fmadd_ps(lanes[1], value, sums[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn raise(best: &mut Line, sums: Self::Sums, _scales: &Line) {
        unsafe {
            let old = Self::load(best);
            let best = best.0.as_mut_ptr();
            _mm256_store_ps(best, _mm256_max_ps(old[0], sums[0]));
            _mm256_store_ps(best.add(8), _mm256_max_ps(old[1], sums[1]));
        }
    }
    #[inline(always)]
    unsafe fn unpack(precision: Precision, rows: &[&[u8]; TILE], scales: &Line, tile: &mut [Line]) {
        unsafe { unpack(precision, rows, scales, tile) }
    }
}

/// AVX-512: a line is one register of 16 floats.
struct Avx512;

// SAFETY of every block here: only `score_avx512` instantiates this, so the instructions are available; a line is 16
// aligned floats.
impl Simd for Avx512 {
    type Step = f32;
    const DIMS: usize = 1;
    type Lanes = __m512;
    type Sums = __m512;

    #[inline(always)]
    unsafe fn start(value: f32) -> Self::Sums {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: &Line) -> Self::Lanes {
        unsafe { _mm512_load_ps(from.0.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn add_products(sums: Self::Sums, lanes: Self::Lanes, value: f32) -> Self::Sums {
        unsafe { _mm512_fmadd_ps(lanes, _mm512_set1_ps(value), sums) }
    }
    #[inline(always)]
    unsafe fn raise(best: &mut Line, sums: Self::Sums, _scales: &Line) {
        unsafe { _mm512_store_ps(best.0.as_mut_ptr(), _mm512_max_ps(Self::load(best), sums)) }
    }
    #[inline(always)]
    unsafe fn unpack(precision: Precision, rows: &[&[u8]; TILE], scales: &Line, tile: &mut [Line]) {
        unsafe { unpack(precision, rows, scales, tile) }
    }
}

/// Decodes 8 dimensions at a time, then the rest.
///
/// # Safety
/// Each row has the bytes of `tile.len()` dimensions, and the processor has AVX2 and F16C.
#[inline(always)]
unsafe fn unpack(precision: Precision, rows: &[&[u8]; TILE], scales: &Line, tile: &mut [Line]) {
    let (eights, _) = tile.as_chunks_mut::<8>();
    let unpacked = eights.len() * 8;
    // SAFETY: the bytes of 8 dimensions are within each row; a line is 16 aligned floats.
    unsafe {
        let scales = [
            _mm256_load_ps(scales.0.as_ptr()),
            _mm256_load_ps(scales.0.as_ptr().add(8)),
        ];
        for (block, lines) in eights.iter_mut().enumerate() {
            match precision {
                Precision::F16 => {
                    let load = |row: &[u8]| _mm_loadu_si128(row.as_ptr().add(16 * block).cast());
                    let widen = |half, _| _mm256_cvtph_ps(half);
                    transpose(rows, load, widen, lines);
                }
                Precision::Int8 => {
                    let load = |row: &[u8]| {
                        _mm_cvtepi8_epi16(_mm_loadl_epi64(row.as_ptr().add(8 * block).cast()))
                    };
                    let widen = |unpacked, upper: bool| {
                        let floats = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(unpacked));
                        _mm256_mul_ps(floats, scales[usize::from(upper)])
                    };
                    transpose(rows, load, widen, lines);
                }
                Precision::OneBit => unpack_signs(rows.map(|row| row[block]), scales, lines),
            }
        }
    }
    unpack_from(unpacked, precision, rows, scales, tile);
}

/// Transposes 8 dimensions of 16 rows of 16-bit values by three rounds of interleaving within each half register (rows
/// 0-7 in the lower, 8-15 in the upper half), then widens each half to f32.
///
/// # Safety
/// The processor has AVX2; `load` and `widen` may be called.
#[inline(always)]
unsafe fn transpose(
    rows: &[&[u8]; TILE],
    load: impl Fn(&[u8]) -> __m128i,
    widen: impl Fn(__m128i, bool) -> __m256,
    lines: &mut [Line; 8],
) {
    // SAFETY: guaranteed by the caller; stores go to aligned lines.
    unsafe {
        let mut a = [_mm256_setzero_si256(); 8];
        for (r, a) in a.iter_mut().enumerate() {
            let low = _mm256_castsi128_si256(load(rows[r]));
            *a = _mm256_inserti128_si256::<1>(low, load(rows[r + 8]));
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
            let to = line.0.as_mut_ptr();
            _mm256_store_ps(to, widen(_mm256_castsi256_si128(eights), false));
            _mm256_store_ps(
                to.add(8),
                widen(_mm256_extracti128_si256::<1>(eights), true),
            );
        }
    }
}

/// Decodes the 8 sign bits of one byte of 16 rows: the scale if a bit is 1, otherwise its negative.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn unpack_signs(bytes: [u8; TILE], scales: [__m256; 2], lines: &mut [Line; 8]) {
    // SAFETY: guaranteed by the caller; stores go to aligned lines.
    unsafe {
        let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
        for (d, line) in lines.iter_mut().enumerate() {
            let bit = _mm_set1_epi8(1_u8.wrapping_shl(d as u32).cast_signed());
            let on = _mm_cmpeq_epi8(_mm_and_si128(bytes, bit), bit);
            let halves = [on, _mm_srli_si128::<8>(on)];
            for (half, (on, scale)) in halves.into_iter().zip(scales).enumerate() {
                let on = _mm256_castsi256_ps(_mm256_cvtepi8_epi32(on));
                let minus = _mm256_sub_ps(_mm256_setzero_ps(), scale);
                let to = line.0.as_mut_ptr().add(8 * half);
                _mm256_store_ps(to, _mm256_blendv_ps(minus, scale, on));
            }
        }
    }
}
