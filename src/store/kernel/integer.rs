//! MaxSim of int8 rows by integer dot products: four products a lane and instruction instead of one.
//!
//! The query is quantised, too: each row `q` becomes `q̂ = unit · n` with integers `|n| ≤ 127`, `unit = max |q| / 127`. A
//! number is off by `unit / 2` at most. Rows of a page have length 1, so by Cauchy-Schwarz a dot product is off by
//! `|(q - q̂) · p| ≤ ‖q - q̂‖ ≤ unit / 2 · √dim`, and the maximum of a row by no more.
//! The sums themselves are exact: `255 · 127 · dim` fits 31 bits up to a width of 66,000.
#![expect(
    unsafe_code,
    reason = "kernels are called with proof that they can run"
)]

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::{Layout, Line, Precision, QueryRow, TILE};
use crate::store::precision::MAX_INT8;

/// Dimensions that an instruction multiplies and adds in one lane.
const DIMS: usize = 4;

/// Bytes of a row that are transposed at a time.
const CHUNK: usize = 16;

/// Steps of a chunk.
const STEPS: usize = CHUNK / DIMS;

/// What one step multiplies: four values, as int8 or, for pages on x86, as uint8; or an int32 that sums start from.
type Four = [u8; DIMS];

/// Instruction set with integer dot products. Constructed by [`Isa::best`] and [`Isa::all`] only, so a value proves that
/// this machine has the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    DotProd,
}

impl Isa {
    /// All instruction sets of this machine that have a kernel, the fastest first.
    #[cfg(target_arch = "x86_64")]
    pub(in crate::store) fn all() -> Vec<Self> {
        let has_avx2 = is_x86_feature_detected!("avx2");
        let has_vnni = has_avx2 && is_x86_feature_detected!("avxvnni");
        let has_avx512 = has_avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vnni");
        let all = [
            (has_avx512, Kind::Avx512Vnni),
            (has_vnni, Kind::AvxVnni),
            (has_avx2, Kind::Avx2),
        ];
        let there = all.into_iter().filter(|(there, _)| *there);
        there.map(|(_, kind)| Self(kind)).collect()
    }

    /// All instruction sets of this machine that have a kernel.
    #[cfg(target_arch = "aarch64")]
    pub(in crate::store) fn all() -> Vec<Self> {
        let there = std::arch::is_aarch64_feature_detected!("dotprod");
        there.then_some(Self(Kind::DotProd)).into_iter().collect()
    }

    /// All instruction sets of this machine that have a kernel: none.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(in crate::store) fn all() -> Vec<Self> {
        Vec::new()
    }

    /// The fastest instruction set of this machine.
    pub(in crate::store) fn best() -> Option<Self> {
        Self::all().first().copied()
    }

    /// Its name.
    #[cfg(test)]
    pub(in crate::store) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Kind::DotProd => "dotprod",
        }
    }

    /// Maximum query rows of a block: as many as keep every sum in a register.
    fn block_rows(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni => super::MAX_BLOCK_ROWS,
            #[cfg(target_arch = "x86_64")]
            Kind::AvxVnni => 6,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => 4,
            #[cfg(target_arch = "aarch64")]
            Kind::DotProd => 6,
        }
    }

    /// What is added to the values of a page: VNNI multiplies unsigned values with signed ones.
    fn offset(self) -> i32 {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Vnni | Kind::AvxVnni => 128,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => 0,
            #[cfg(target_arch = "aarch64")]
            Kind::DotProd => 0,
        }
    }
}

/// A query of int8 values for the kernels of an instruction set.
#[derive(Clone, Debug)]
pub(in crate::store) struct IntegerBlocks {
    isa: Isa,
    layout: Layout<Four>,
}

impl IntegerBlocks {
    /// Quantises and lays out `query`, whose rows have `dim` floats.
    pub(in crate::store) fn new(isa: Isa, query: &[f32], dim: usize) -> Self {
        let rows: Vec<QueryRow<Four>> = query
            .chunks_exact(dim)
            .map(|row| quantized(row, isa.offset()))
            .collect();
        Self {
            isa,
            layout: Layout::new(isa.block_rows(), dim, &rows),
        }
    }

    /// MaxSim of the quantised query with the stored int8 rows of a page.
    ///
    /// # Panics
    /// If the bytes are not whole rows.
    pub(in crate::store) fn score(&self, page: &[u8]) -> f32 {
        self.layout.check(page, Precision::Int8);
        // SAFETY: `Isa` proves that the instructions are available; the page is whole rows, checked above.
        unsafe {
            match self.isa.0 {
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512Vnni => x86::score_avx512_vnni(&self.layout, page),
                #[cfg(target_arch = "x86_64")]
                Kind::AvxVnni => x86::score_avx_vnni(&self.layout, page),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => x86::score_avx2(&self.layout, page),
                #[cfg(target_arch = "aarch64")]
                Kind::DotProd => arm::score_dotprod(&self.layout, page),
            }
        }
    }
}

/// A row as integers. The sums start from what takes the `offset` of the page's values out again.
fn quantized(row: &[f32], offset: i32) -> QueryRow<Four> {
    let largest = row
        .iter()
        .fold(f32::MIN_POSITIVE, |largest, v| largest.max(v.abs()));
    let integers: Vec<i8> = row
        .iter()
        .map(|v| (v / largest * MAX_INT8).round() as i8)
        .collect();
    let sum: i32 = integers.iter().map(|&n| i32::from(n)).sum();
    let four = |four: &[i8]| std::array::from_fn(|i| four.get(i).map_or(0, |n| n.cast_unsigned()));
    QueryRow {
        start: (-offset * sum).to_le_bytes(),
        steps: integers.chunks(DIMS).map(four).collect(),
        unit: largest / MAX_INT8,
    }
}

/// The transposition of an instruction set.
trait Transpose {
    /// Transposes 4 steps of 16 rows, and adds what makes the values unsigned where they must be.
    ///
    /// # Safety
    /// There are 16 bytes at each pointer; the processor has the instructions.
    unsafe fn transpose(rows: &[*const u8; TILE], lines: &mut [Line<Four>; STEPS]);
}

/// Transposes all steps of 16 rows.
///
/// # Safety
/// Each row has the bytes of `tile.len()` steps, of which only the last may be incomplete; the processor has the
/// instructions of `T`.
#[inline(always)]
unsafe fn unpack<T: Transpose>(rows: &[&[u8]; TILE], tile: &mut [Line<Four>]) {
    let (chunks, rest) = tile.as_chunks_mut::<STEPS>();
    let whole = chunks.len() * CHUNK;
    // SAFETY: the bytes of whole chunks are within each row, those of the rest are copied.
    unsafe {
        for (chunk, lines) in chunks.iter_mut().enumerate() {
            T::transpose(&rows.map(|row| row.as_ptr().add(chunk * CHUNK)), lines);
        }
        if !rest.is_empty() {
            // What the rest contains beyond the row meets zeros of the query.
            let mut tails = [[0; CHUNK]; TILE];
            for (tail, row) in tails.iter_mut().zip(rows) {
                let there = &row[whole..row.len().min(whole + CHUNK)];
                tail[..there.len()].copy_from_slice(there);
            }
            let mut lines = [Line([[0; DIMS]; TILE]); STEPS];
            T::transpose(&tails.each_ref().map(|tail| tail.as_ptr()), &mut lines);
            rest.copy_from_slice(&lines[..rest.len()]);
        }
    }
}
