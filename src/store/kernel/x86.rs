//! x86-64 kernels of MaxSim: AVX2 with FMA and F16C, and AVX-512.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

use std::arch::x86_64::*;

use super::{Blocks, Line, Precision, Simd, TILE, score};

/// MaxSim with AVX2.
///
/// # Safety
/// The processor has AVX2, FMA and F16C, and `page` is whole rows of the query's width, at least one.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn score_avx2(query: &Blocks, page: &[u8], precision: Precision) -> f32 {
    // SAFETY: guaranteed by the caller.
    unsafe { score::<Avx2>(query, page, precision) }
}

/// MaxSim with AVX-512.
///
/// # Safety
/// The processor has AVX-512F, AVX2, FMA and F16C, and `page` is whole rows of the query's width, at least one.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn score_avx512(query: &Blocks, page: &[u8], precision: Precision) -> f32 {
    // SAFETY: guaranteed by the caller.
    unsafe { score::<Avx512>(query, page, precision) }
}

/// AVX2: a line is two registers of 8 floats.
struct Avx2;

// SAFETY of every block here: only `score_avx2` instantiates this, so the instructions are available; a line is 16 aligned
// floats.
impl Simd for Avx2 {
    type Vector = [__m256; 2];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Vector {
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn load(from: &Line) -> Self::Vector {
        let from = from.0.as_ptr();
        unsafe { [_mm256_load_ps(from), _mm256_load_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(line: Self::Vector, to: &mut Line) {
        let to = to.0.as_mut_ptr();
        unsafe {
            _mm256_store_ps(to, line[0]);
            _mm256_store_ps(to.add(8), line[1]);
        }
    }
    #[inline(always)]
    unsafe fn mul_add(sum: Self::Vector, a: Self::Vector, b: f32) -> Self::Vector {
        unsafe {
            let b = _mm256_set1_ps(b);
            [
                _mm256_fmadd_ps(a[0], b, sum[0]),
                _mm256_fmadd_ps(a[1], b, sum[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn max(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn unpack(
        precision: Precision,
        rows: &[&[u8]; TILE],
        scales: &Line,
        tile: &mut [Line],
    ) -> usize {
        unsafe { unpack(precision, rows, scales, tile) }
    }
}

/// AVX-512: a line is one register of 16 floats.
struct Avx512;

// SAFETY of every block here: only `score_avx512` instantiates this, so the instructions are available; a line is 16
// aligned floats.
impl Simd for Avx512 {
    type Vector = __m512;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Vector {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: &Line) -> Self::Vector {
        unsafe { _mm512_load_ps(from.0.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store(line: Self::Vector, to: &mut Line) {
        unsafe { _mm512_store_ps(to.0.as_mut_ptr(), line) }
    }
    #[inline(always)]
    unsafe fn mul_add(sum: Self::Vector, a: Self::Vector, b: f32) -> Self::Vector {
        unsafe { _mm512_fmadd_ps(a, _mm512_set1_ps(b), sum) }
    }
    #[inline(always)]
    unsafe fn max(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn unpack(
        precision: Precision,
        rows: &[&[u8]; TILE],
        scales: &Line,
        tile: &mut [Line],
    ) -> usize {
        unsafe { unpack(precision, rows, scales, tile) }
    }
}

/// Decodes 8 dimensions at a time; returns the number of decoded dimensions.
///
/// # Safety
/// Each row has the bytes of `tile.len()` dimensions, and the processor has AVX2 and F16C.
#[inline(always)]
unsafe fn unpack(
    precision: Precision,
    rows: &[&[u8]; TILE],
    scales: &Line,
    tile: &mut [Line],
) -> usize {
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
    unpacked
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
