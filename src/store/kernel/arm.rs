//! NEON kernel of MaxSim for 64-bit ARM, where NEON is always available.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

use std::arch::aarch64::*;

use super::{Line, Precision, Simd, TILE, unpack_from};

/// NEON: a line is four registers of 4 floats.
pub(super) struct Neon;

// SAFETY of every block here: every aarch64 processor has NEON; a line is 16 floats.
impl Simd for Neon {
    type Step = f32;
    const DIMS: usize = 1;
    type Lanes = [float32x4_t; 4];
    type Sums = [float32x4_t; 4];

    #[inline(always)]
    unsafe fn start(value: f32) -> Self::Sums {
        unsafe { [vdupq_n_f32(value); 4] }
    }
    #[inline(always)]
    unsafe fn load(from: &Line) -> Self::Lanes {
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
    unsafe fn add_products(mut sums: Self::Sums, lanes: Self::Lanes, value: f32) -> Self::Sums {
        for (sum, lanes) in sums.iter_mut().zip(lanes) {
            *sum = unsafe { vfmaq_n_f32(*sum, lanes, value) };
        }
        sums
    }
    #[inline(always)]
    unsafe fn raise(best: &mut Line, sums: Self::Sums, _scales: &Line) {
        for (four, sum) in best.0.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
            let four = four.as_mut_ptr();
            unsafe { vst1q_f32(four, vmaxq_f32(vld1q_f32(four), sum)) }
        }
    }
    #[inline(always)]
    unsafe fn unpack(precision: Precision, rows: &[&[u8]; TILE], scales: &Line, tile: &mut [Line]) {
        let (eights, _) = tile.as_chunks_mut::<8>();
        let unpacked = eights.len() * 8;
        for (block, lines) in eights.iter_mut().enumerate() {
            // The bytes of these 8 dimensions are within each row.
            unsafe {
                for half in [0, 8] {
                    let rows = &rows[half..half + 8];
                    match precision {
                        Precision::F16 => unpack_f16(rows, 16 * block, lines, half),
                        Precision::Int8 => unpack_int8(rows, 8 * block, scales, lines, half),
                        Precision::OneBit => unpack_signs(rows, block, scales, lines, half),
                    }
                }
            }
        }
        unpack_from(unpacked, precision, rows, scales, tile);
    }
}

/// Transposes 8 dimensions of 8 rows of 16-bit values by three rounds of interleaving.
///
/// # Safety
/// Requires NEON only.
#[inline(always)]
unsafe fn transpose(mut a: [uint16x8_t; 8]) -> [uint16x8_t; 8] {
    // Zipping row i with row i + 4 three times is a transposition.
    for _ in 0..3 {
        let mut zipped = a;
        for i in 0..4 {
            // SAFETY: every aarch64 processor has NEON.
            unsafe {
                zipped[2 * i] = vzip1q_u16(a[i], a[i + 4]);
                zipped[2 * i + 1] = vzip2q_u16(a[i], a[i + 4]);
            }
        }
        a = zipped;
    }
    a
}

/// Decodes 8 dimensions of 8 f16 rows into 8 lanes of each line, from `lane` on.
///
/// # Safety
/// Each of the 8 rows has 16 bytes at `offset`; `lane` is 0 or 8.
#[inline(always)]
unsafe fn unpack_f16(rows: &[&[u8]], offset: usize, lines: &mut [Line; 8], lane: usize) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut a = [vdupq_n_u16(0); 8];
        for (a, row) in a.iter_mut().zip(rows) {
            *a = vreinterpretq_u16_u8(vld1q_u8(row.as_ptr().add(offset)));
        }
        for (line, eight) in lines.iter_mut().zip(transpose(a)) {
            let to = line.0[lane..lane + 8].as_mut_ptr();
            let eight = vreinterpretq_f16_u16(eight);
            vst1q_f32(to, vcvt_f32_f16(vget_low_f16(eight)));
            vst1q_f32(to.add(4), vcvt_high_f32_f16(eight));
        }
    }
}

/// Decodes 8 dimensions of 8 int8 rows into 8 lanes of each line, from `lane` on.
///
/// # Safety
/// Each of the 8 rows has 8 bytes at `offset`; `lane` is 0 or 8.
#[inline(always)]
unsafe fn unpack_int8(
    rows: &[&[u8]],
    offset: usize,
    scales: &Line,
    lines: &mut [Line; 8],
    lane: usize,
) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut a = [vdupq_n_u16(0); 8];
        for (a, row) in a.iter_mut().zip(rows) {
            let eight = vld1_s8(row.as_ptr().add(offset).cast());
            *a = vreinterpretq_u16_s16(vmovl_s8(eight));
        }
        let scales = scales.0[lane..lane + 8].as_ptr();
        for (line, eight) in lines.iter_mut().zip(transpose(a)) {
            let to = line.0[lane..lane + 8].as_mut_ptr();
            let eight = vreinterpretq_s16_u16(eight);
            let low = vcvtq_f32_s32(vmovl_s16(vget_low_s16(eight)));
            let high = vcvtq_f32_s32(vmovl_high_s16(eight));
            vst1q_f32(to, vmulq_f32(low, vld1q_f32(scales)));
            vst1q_f32(to.add(4), vmulq_f32(high, vld1q_f32(scales.add(4))));
        }
    }
}

/// Decodes the 8 sign bits of one byte of 8 rows into 8 lanes of each line, from `lane` on.
///
/// # Safety
/// Each of the 8 rows has a byte at `offset`; `lane` is 0 or 8.
#[inline(always)]
unsafe fn unpack_signs(
    rows: &[&[u8]],
    offset: usize,
    scales: &Line,
    lines: &mut [Line; 8],
    lane: usize,
) {
    let bytes: [u8; 8] = std::array::from_fn(|row| rows[row][offset]);
    // SAFETY: guaranteed by the caller.
    unsafe {
        let bytes = vld1_u8(bytes.as_ptr());
        let scales = scales.0[lane..lane + 8].as_ptr();
        for (d, line) in lines.iter_mut().enumerate() {
            let to = line.0[lane..lane + 8].as_mut_ptr();
            // All bits of a lane are set if this bit is set.
            let on = vmovl_s8(vreinterpret_s8_u8(vtst_u8(bytes, vdup_n_u8(1 << d))));
            for (half, on) in [vmovl_s16(vget_low_s16(on)), vmovl_high_s16(on)]
                .into_iter()
                .enumerate()
            {
                let scale = vld1q_f32(scales.add(4 * half));
                let signed = vbslq_f32(vreinterpretq_u32_s32(on), scale, vnegq_f32(scale));
                vst1q_f32(to.add(4 * half), signed);
            }
        }
    }
}
