//! SIMD kernels of MaxSim (AVX-512, AVX2, NEON, portable), selected at run time.
//!
//! A page is processed in tiles of 16 rows, decoded from their storage precision and transposed, so that each lane of a
//! register is one row. A block of query rows is then multiplied with the tile: one fused multiply-add per dimension and
//! query row, no horizontal sums, and a maximum per lane. The last tile repeats the last row, which changes no maximum.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::precision::Precision;

/// Page rows of a tile.
const TILE: usize = 16;

/// Maximum query rows of a block, over all kernels.
const MAX_BLOCK_ROWS: usize = 12;

/// One cache line of 16 floats: one dimension of the rows of a tile.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; TILE]);

/// Instruction set of a kernel. Constructed by [`Isa::best`] and [`Isa::all`] only, so a value proves that this machine has
/// the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

/// The vector extensions of this machine that have a kernel, the fastest first.
#[cfg(target_arch = "x86_64")]
fn vector_extensions() -> Vec<Kind> {
    let has_avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    match has_avx2 {
        true if is_x86_feature_detected!("avx512f") => vec![Kind::Avx512, Kind::Avx2],
        true => vec![Kind::Avx2],
        false => Vec::new(),
    }
}

/// The vector extensions of this machine that have a kernel: NEON is part of the architecture.
#[cfg(target_arch = "aarch64")]
fn vector_extensions() -> [Kind; 1] {
    [Kind::Neon]
}

/// The vector extensions of this machine that have a kernel: none.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn vector_extensions() -> [Kind; 0] {
    []
}

impl Isa {
    /// All instruction sets of this machine, the fastest first.
    pub(super) fn all() -> Vec<Self> {
        let all = vector_extensions().into_iter().chain([Kind::Portable]);
        all.map(Self).collect()
    }

    /// The fastest instruction set of this machine.
    pub(super) fn best() -> Self {
        Self::all()[0]
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
            Kind::Portable => "portable",
        }
    }

    /// Maximum query rows of a block: as many as keep every accumulator in a register.
    fn block_rows(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => MAX_BLOCK_ROWS,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => 6,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => 6,
            Kind::Portable => 2,
        }
    }
}

/// A query, split into blocks of nearly equal height and stored dimension-major within a block.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    isa: Isa,
    rows: usize,
    dim: usize,
    /// The height of each block.
    heights: Vec<usize>,
    /// Values in the order block, dimension, row.
    values: Vec<f32>,
}

impl Blocks {
    /// Lays out `query`, whose rows have `dim` floats.
    pub(super) fn new(isa: Isa, query: &[f32], dim: usize) -> Self {
        let rows = query.len() / dim;
        let count = rows.div_ceil(isa.block_rows());
        let heights: Vec<usize> = (0..count)
            .map(|b| rows / count + usize::from(b < rows % count))
            .collect();
        let mut values = Vec::with_capacity(rows * dim);
        let mut first = 0;
        for height in &heights {
            for d in 0..dim {
                values.extend((first..first + height).map(|row| query[row * dim + d]));
            }
            first += height;
        }
        Self {
            isa,
            rows,
            dim,
            heights,
            values,
        }
    }

    /// The instruction set of the layout.
    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    /// The width of a row.
    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// MaxSim with the stored rows of a page.
    ///
    /// # Panics
    /// If the bytes are not whole rows.
    pub(super) fn score(&self, page: &[u8], precision: Precision) -> f32 {
        assert!(
            !page.is_empty() && page.len().is_multiple_of(precision.row_bytes(self.dim)),
            "incomplete rows"
        );
        // SAFETY: `Isa` proves that the instructions are available; the page is whole rows, checked above.
        unsafe {
            match self.isa.0 {
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => x86::score_avx512(self, page, precision),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => x86::score_avx2(self, page, precision),
                #[cfg(target_arch = "aarch64")]
                Kind::Neon => score::<arm::Neon>(self, page, precision),
                Kind::Portable => score::<Portable>(self, page, precision),
            }
        }
    }
}

/// SIMD operations of a kernel on 16 floats in registers.
trait Simd {
    /// 16 floats in registers.
    type Vector: Copy;

    /// Broadcasts a value to 16 lanes.
    unsafe fn splat(value: f32) -> Self::Vector;
    /// Loads a line.
    unsafe fn load(from: &Line) -> Self::Vector;
    /// Stores a line.
    unsafe fn store(line: Self::Vector, to: &mut Line);
    /// `sum + a * b`.
    unsafe fn mul_add(sum: Self::Vector, a: Self::Vector, b: f32) -> Self::Vector;
    /// Maximum per lane.
    unsafe fn max(a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// Decodes and transposes the first dimensions of 16 rows into a tile, as many as fit whole vectors; returns their number.
    /// `scales` has the scale of each row.
    ///
    /// # Safety
    /// Each row has the bytes of `tile.len()` dimensions.
    #[inline(always)]
    unsafe fn unpack(
        _precision: Precision,
        _rows: &[&[u8]; TILE],
        _scales: &Line,
        _tile: &mut [Line],
    ) -> usize {
        0
    }
}

/// MaxSim of a page.
///
/// # Safety
/// The processor has the instructions of `L`, and `page` is whole rows of the query's width, at least one.
#[inline(always)]
unsafe fn score<L: Simd>(query: &Blocks, page: &[u8], precision: Precision) -> f32 {
    let width = precision.row_bytes(query.dim);
    let last = page.len() / width - 1;
    let mut tile = vec![Line([0.0; TILE]); query.dim];
    let mut best = vec![Line([f32::NEG_INFINITY; TILE]); query.rows];
    for first in (0..=last).step_by(TILE) {
        let row = |lane: usize| &page[(first + lane).min(last) * width..][..width];
        let rows: [&[u8]; TILE] = std::array::from_fn(row);
        let scales = Line(rows.map(|row| precision.scale(row, query.dim)));
        // SAFETY: the rows are whole.
        unsafe {
            let unpacked = L::unpack(precision, &rows, &scales, &mut tile);
            unpack_from(unpacked, precision, &rows, &scales, &mut tile);
            score_tile::<L>(query, &tile, &mut best);
        }
    }
    let best = best
        .iter()
        .map(|line| line.0.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    best.sum()
}

/// Decodes the dimensions from `first` on, one at a time.
#[inline(always)]
fn unpack_from(
    first: usize,
    precision: Precision,
    rows: &[&[u8]; TILE],
    scales: &Line,
    tile: &mut [Line],
) {
    for (d, line) in tile.iter_mut().enumerate().skip(first) {
        for ((value, row), &scale) in line.0.iter_mut().zip(rows).zip(&scales.0) {
            *value = precision.number(row, d, scale);
        }
    }
}

/// Scores all blocks of the query against a tile.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn score_tile<L: Simd>(query: &Blocks, tile: &[Line], best: &mut [Line]) {
    let (mut values, mut best) = (&query.values[..], best);
    for &height in &query.heights {
        let (block, others) = values.split_at(height * query.dim);
        let (mine, rest) = best.split_at_mut(height);
        (values, best) = (others, rest);
        // SAFETY: guaranteed by the caller.
        unsafe {
            match height {
                1 => score_block::<L, 1>(block, tile, mine),
                2 => score_block::<L, 2>(block, tile, mine),
                3 => score_block::<L, 3>(block, tile, mine),
                4 => score_block::<L, 4>(block, tile, mine),
                5 => score_block::<L, 5>(block, tile, mine),
                6 => score_block::<L, 6>(block, tile, mine),
                7 => score_block::<L, 7>(block, tile, mine),
                8 => score_block::<L, 8>(block, tile, mine),
                9 => score_block::<L, 9>(block, tile, mine),
                10 => score_block::<L, 10>(block, tile, mine),
                11 => score_block::<L, 11>(block, tile, mine),
                _ => score_block::<L, MAX_BLOCK_ROWS>(block, tile, mine),
            }
        }
    }
}

/// Updates `best` with the dot products of `N` query rows and the 16 rows of a tile.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn score_block<L: Simd, const N: usize>(block: &[f32], tile: &[Line], best: &mut [Line]) {
    let (block, _) = block.as_chunks::<N>();
    // SAFETY: guaranteed by the caller; everything here is within slices.
    unsafe {
        let mut sums = [L::splat(0.0); N];
        for (query, line) in block.iter().zip(tile) {
            let line = L::load(line);
            for (sum, &value) in sums.iter_mut().zip(query) {
                *sum = L::mul_add(*sum, line, value);
            }
        }
        for (sum, best) in sums.into_iter().zip(best) {
            L::store(L::max(L::load(best), sum), best);
        }
    }
}

/// Portable kernel: plain arrays, vectorised by the compiler.
struct Portable;

impl Simd for Portable {
    type Vector = [f32; TILE];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Vector {
        [value; TILE]
    }
    #[inline(always)]
    unsafe fn load(from: &Line) -> Self::Vector {
        from.0
    }
    #[inline(always)]
    unsafe fn store(line: Self::Vector, to: &mut Line) {
        to.0 = line;
    }
    #[inline(always)]
    unsafe fn mul_add(mut sum: Self::Vector, a: Self::Vector, b: f32) -> Self::Vector {
        for (sum, a) in sum.iter_mut().zip(a) {
            *sum += a * b;
        }
        sum
    }
    #[inline(always)]
    unsafe fn max(mut a: Self::Vector, b: Self::Vector) -> Self::Vector {
        for (a, b) in a.iter_mut().zip(b) {
            *a = a.max(b);
        }
        a
    }
}
