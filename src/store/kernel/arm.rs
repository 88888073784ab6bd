//! MaxSim on 64-bit ARM, where NEON is always there.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

use std::arch::aarch64::*;

use super::{Lanes, Line, TILE, unpack_from};

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
    unsafe fn unpack(rows: &[*const u8; TILE], tile: &mut [Line]) {
        let whole = tile.len() / 8 * 8;
        let (eights, _) = tile.as_chunks_mut::<8>();
        for (block, lines) in eights.iter_mut().enumerate() {
            // The 16 bytes of these 8 dimensions lie within each row.
            unsafe {
                turn(&rows[..8], 16 * block, lines, 0);
                turn(&rows[8..], 16 * block, lines, 8);
            }
        }
        unsafe { unpack_from(whole, rows, tile) }
    }
}

/// Turns 8 dimensions of 8 rows, as 16-bit numbers by three rounds of interleaving, then widens them into 8 lanes of
/// each line, from `lane` on.
///
/// # Safety
/// Each of the 8 rows has 16 readable bytes at `offset`; `lane` is 0 or 8.
#[inline(always)]
unsafe fn turn(rows: &[*const u8], offset: usize, lines: &mut [Line; 8], lane: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut a = [vdupq_n_u16(0); 8];
        for (a, row) in a.iter_mut().zip(rows) {
            *a = vreinterpretq_u16_u8(vld1q_u8(row.add(offset)));
        }
        // Zipping row i with row i + 4 three times is a transposition.
        for _ in 0..3 {
            let mut zipped = a;
            for i in 0..4 {
                zipped[2 * i] = vzip1q_u16(a[i], a[i + 4]);
                zipped[2 * i + 1] = vzip2q_u16(a[i], a[i + 4]);
            }
            a = zipped;
        }
        for (line, eight) in lines.iter_mut().zip(a) {
            let to = line.0[lane..lane + 8].as_mut_ptr();
            let eight = vreinterpretq_f16_u16(eight);
            vst1q_f32(to, vcvt_f32_f16(vget_low_f16(eight)));
            vst1q_f32(to.add(4), vcvt_high_f32_f16(eight));
        }
    }
}
