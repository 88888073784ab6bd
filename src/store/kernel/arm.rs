//! MaxSim on 64-bit ARM, where NEON is always there.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

use std::arch::aarch64::*;

use super::{Lanes, Line, Precision, TILE};

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
    #[inline(always)]
    unsafe fn unpack(
        kept: Precision,
        rows: &[&[u8]; TILE],
        scales: &Line,
        tile: &mut [Line],
    ) -> usize {
        let (eights, _) = tile.as_chunks_mut::<8>();
        let whole = eights.len() * 8;
        for (block, lines) in eights.iter_mut().enumerate() {
            // The bytes of these 8 dimensions lie within each row.
            unsafe {
                for half in [0, 8] {
                    let rows = &rows[half..half + 8];
                    match kept {
                        Precision::F16 => turn_halves(rows, 16 * block, lines, half),
                        Precision::Int8 => turn_whole(rows, 8 * block, scales, lines, half),
                        Precision::OneBit => signs(rows, block, scales, lines, half),
                    }
                }
            }
        }
        whole
    }
}

/// Turns 8 dimensions of 8 rows, as 16-bit numbers, by three rounds of interleaving.
///
/// # Safety
/// None but NEON.
#[inline(always)]
unsafe fn turn(mut a: [uint16x8_t; 8]) -> [uint16x8_t; 8] {
    // Zipping row i with row i + 4 three times is a transposition.
    for _ in 0..3 {
        let mut zipped = a;
        for i in 0..4 {
            // SAFETY: NEON belongs to every aarch64 processor.
            unsafe {
                zipped[2 * i] = vzip1q_u16(a[i], a[i + 4]);
                zipped[2 * i + 1] = vzip2q_u16(a[i], a[i + 4]);
            }
        }
        a = zipped;
    }
    a
}

/// 8 dimensions of 8 rows of half floats into 8 lanes of each line, from `lane` on.
///
/// # Safety
/// Each of the 8 rows has 16 bytes at `offset`; `lane` is 0 or 8.
#[inline(always)]
unsafe fn turn_halves(rows: &[&[u8]], offset: usize, lines: &mut [Line; 8], lane: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut a = [vdupq_n_u16(0); 8];
        for (a, row) in a.iter_mut().zip(rows) {
            *a = vreinterpretq_u16_u8(vld1q_u8(row.as_ptr().add(offset)));
        }
        for (line, eight) in lines.iter_mut().zip(turn(a)) {
            let to = line.0[lane..lane + 8].as_mut_ptr();
            let eight = vreinterpretq_f16_u16(eight);
            vst1q_f32(to, vcvt_f32_f16(vget_low_f16(eight)));
            vst1q_f32(to.add(4), vcvt_high_f32_f16(eight));
        }
    }
}

/// 8 dimensions of 8 rows of 8-bit numbers into 8 lanes of each line, from `lane` on.
///
/// # Safety
/// Each of the 8 rows has 8 bytes at `offset`; `lane` is 0 or 8.
#[inline(always)]
unsafe fn turn_whole(
    rows: &[&[u8]],
    offset: usize,
    scales: &Line,
    lines: &mut [Line; 8],
    lane: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut a = [vdupq_n_u16(0); 8];
        for (a, row) in a.iter_mut().zip(rows) {
            let eight = vld1_s8(row.as_ptr().add(offset).cast());
            *a = vreinterpretq_u16_s16(vmovl_s8(eight));
        }
        let scales = scales.0[lane..lane + 8].as_ptr();
        for (line, eight) in lines.iter_mut().zip(turn(a)) {
            let to = line.0[lane..lane + 8].as_mut_ptr();
            let eight = vreinterpretq_s16_u16(eight);
            let low = vcvtq_f32_s32(vmovl_s16(vget_low_s16(eight)));
            let high = vcvtq_f32_s32(vmovl_high_s16(eight));
            vst1q_f32(to, vmulq_f32(low, vld1q_f32(scales)));
            vst1q_f32(to.add(4), vmulq_f32(high, vld1q_f32(scales.add(4))));
        }
    }
}

/// The 8 signs in a byte of each of 8 rows, into 8 lanes of each line, from `lane` on.
///
/// # Safety
/// Each of the 8 rows has a byte at `offset`; `lane` is 0 or 8.
#[inline(always)]
unsafe fn signs(rows: &[&[u8]], offset: usize, scales: &Line, lines: &mut [Line; 8], lane: usize) {
    let bytes: [u8; 8] = std::array::from_fn(|row| rows[row][offset]);
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = vld1_u8(bytes.as_ptr());
        let scales = scales.0[lane..lane + 8].as_ptr();
        for (d, line) in lines.iter_mut().enumerate() {
            let to = line.0[lane..lane + 8].as_mut_ptr();
            // All bits of a lane where this one is set.
            let on = vmovl_s8(vreinterpret_s8_u8(vtst_u8(bytes, vdup_n_u8(1 << d))));
            for (at, on) in [vmovl_s16(vget_low_s16(on)), vmovl_high_s16(on)]
                .into_iter()
                .enumerate()
            {
                let scale = vld1q_f32(scales.add(4 * at));
                let signed = vbslq_f32(vreinterpretq_u32_s32(on), scale, vnegq_f32(scale));
                vst1q_f32(to.add(4 * at), signed);
            }
        }
    }
}
