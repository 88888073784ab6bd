//! The inner loop of MaxSim, once for each kind of processor; chosen at run time.
//!
//! A page is taken in tiles of 16 rows, unpacked from what a store keeps and turned so that the 16 rows lie side by side in registers.
//! A block of query rows then runs over the tile: one multiply-add a dimension and query row, no sums across lanes, and
//! the maximum is lane by lane. The last tile repeats the last row, which changes no maximum.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::precision::Precision;

/// Rows of a page that a tile holds.
const TILE: usize = 16;

/// The most query rows that any kernel takes at once.
const MOST: usize = 12;

/// 16 floats of one cache line: one dimension of the rows of a tile.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; TILE]);

/// A kind of processor, as far as the kernels tell them apart. Values come from [`Isa::best`] and [`Isa::all`] only,
/// so a value is proof that this machine has the instructions.
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

impl Isa {
    /// All that this machine can run, the fastest first.
    pub(super) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            if is_x86_feature_detected!("avx512f") {
                all.push(Self(Kind::Avx512));
            }
            all.push(Self(Kind::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        all.push(Self(Kind::Neon));
        all.push(Self(Kind::Portable));
        all
    }

    /// The fastest that this machine can run.
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

    /// Query rows at once: as many as leave every sum in a register.
    fn most(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => MOST,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => 6,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => 6,
            Kind::Portable => 2,
        }
    }
}

/// A query cut into blocks of nearly equal height; within a block, the rows lie side by side for each dimension.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    isa: Isa,
    rows: usize,
    dim: usize,
    /// The height of each block.
    heights: Vec<usize>,
    /// Block by block, dimension by dimension, row by row.
    values: Vec<f32>,
}

impl Blocks {
    /// Lays out `query`, whose rows have `dim` floats.
    pub(super) fn new(isa: Isa, query: &[f32], dim: usize) -> Self {
        let rows = query.len() / dim;
        let count = rows.div_ceil(isa.most());
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

    /// The processor it is laid out for.
    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    /// The width of a row.
    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// MaxSim with the rows of a page as a store keeps them.
    ///
    /// # Panics
    /// When the bytes are no whole rows.
    pub(super) fn score(&self, page: &[u8], kept: Precision) -> f32 {
        assert!(
            !page.is_empty() && page.len().is_multiple_of(kept.row_bytes(self.dim)),
            "cut rows"
        );
        // SAFETY: `Isa` proves that the instructions are there; the page is whole rows, checked above.
        unsafe {
            match self.isa.0 {
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => x86::score_avx512(self, page, kept),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => x86::score_avx2(self, page, kept),
                #[cfg(target_arch = "aarch64")]
                Kind::Neon => score::<arm::Neon>(self, page, kept),
                Kind::Portable => score::<Portable>(self, page, kept),
            }
        }
    }
}

/// What a kernel needs of a processor: 16 floats in registers.
trait Lanes {
    /// 16 floats.
    type Line: Copy;

    /// The same number 16 times.
    unsafe fn splat(value: f32) -> Self::Line;
    /// Reads a line.
    unsafe fn load(from: &Line) -> Self::Line;
    /// Writes a line.
    unsafe fn store(line: Self::Line, to: &mut Line);
    /// `sum + a * b`.
    unsafe fn add(sum: Self::Line, a: Self::Line, b: f32) -> Self::Line;
    /// The larger of each pair.
    unsafe fn max(a: Self::Line, b: Self::Line) -> Self::Line;

    /// Unpacks the first dimensions of 16 rows into a tile, as many as it can at once; tells how many. The scales are those
    /// of the rows.
    ///
    /// # Safety
    /// Each row has the bytes of `tile.len()` dimensions.
    #[inline(always)]
    unsafe fn unpack(
        _kept: Precision,
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
unsafe fn score<L: Lanes>(query: &Blocks, page: &[u8], kept: Precision) -> f32 {
    let width = kept.row_bytes(query.dim);
    let last = page.len() / width - 1;
    let mut tile = vec![Line([0.0; TILE]); query.dim];
    let mut best = vec![Line([f32::NEG_INFINITY; TILE]); query.rows];
    for first in (0..=last).step_by(TILE) {
        let row = |lane: usize| &page[(first + lane).min(last) * width..][..width];
        let rows: [&[u8]; TILE] = std::array::from_fn(row);
        let scales = Line(rows.map(|row| kept.scale(row, query.dim)));
        // SAFETY: each row is whole.
        unsafe {
            let done = L::unpack(kept, &rows, &scales, &mut tile);
            unpack_from(done, kept, &rows, &scales, &mut tile);
            against_tile::<L>(query, &tile, &mut best);
        }
    }
    let best = best
        .iter()
        .map(|line| line.0.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    best.sum()
}

/// Unpacks the dimensions from `first` on, one by one.
#[inline(always)]
fn unpack_from(
    first: usize,
    kept: Precision,
    rows: &[&[u8]; TILE],
    scales: &Line,
    tile: &mut [Line],
) {
    for (d, line) in tile.iter_mut().enumerate().skip(first) {
        for ((value, row), &scale) in line.0.iter_mut().zip(rows).zip(&scales.0) {
            *value = kept.number(row, d, scale);
        }
    }
}

/// Runs all blocks of the query over a tile.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn against_tile<L: Lanes>(query: &Blocks, tile: &[Line], best: &mut [Line]) {
    let (mut values, mut best) = (&query.values[..], best);
    for &height in &query.heights {
        let (block, others) = values.split_at(height * query.dim);
        let (mine, rest) = best.split_at_mut(height);
        (values, best) = (others, rest);
        // SAFETY: the caller's promise.
        unsafe {
            match height {
                1 => block_of::<L, 1>(block, tile, mine),
                2 => block_of::<L, 2>(block, tile, mine),
                3 => block_of::<L, 3>(block, tile, mine),
                4 => block_of::<L, 4>(block, tile, mine),
                5 => block_of::<L, 5>(block, tile, mine),
                6 => block_of::<L, 6>(block, tile, mine),
                7 => block_of::<L, 7>(block, tile, mine),
                8 => block_of::<L, 8>(block, tile, mine),
                9 => block_of::<L, 9>(block, tile, mine),
                10 => block_of::<L, 10>(block, tile, mine),
                11 => block_of::<L, 11>(block, tile, mine),
                _ => block_of::<L, MOST>(block, tile, mine),
            }
        }
    }
}

/// The dot products of `N` query rows with the 16 rows of a tile, kept where they are larger than `best`.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn block_of<L: Lanes, const N: usize>(block: &[f32], tile: &[Line], best: &mut [Line]) {
    let (block, _) = block.as_chunks::<N>();
    // SAFETY: the caller's promise; everything here is within slices.
    unsafe {
        let mut sums = [L::splat(0.0); N];
        for (query, line) in block.iter().zip(tile) {
            let line = L::load(line);
            for (sum, &value) in sums.iter_mut().zip(query) {
                *sum = L::add(*sum, line, value);
            }
        }
        for (sum, best) in sums.into_iter().zip(best) {
            L::store(L::max(L::load(best), sum), best);
        }
    }
}

/// Any processor, by what the compiler makes of plain arrays.
struct Portable;

impl Lanes for Portable {
    type Line = [f32; TILE];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Line {
        [value; TILE]
    }
    #[inline(always)]
    unsafe fn load(from: &Line) -> Self::Line {
        from.0
    }
    #[inline(always)]
    unsafe fn store(line: Self::Line, to: &mut Line) {
        to.0 = line;
    }
    #[inline(always)]
    unsafe fn add(mut sum: Self::Line, a: Self::Line, b: f32) -> Self::Line {
        for (sum, a) in sum.iter_mut().zip(a) {
            *sum += a * b;
        }
        sum
    }
    #[inline(always)]
    unsafe fn max(mut a: Self::Line, b: Self::Line) -> Self::Line {
        for (a, b) in a.iter_mut().zip(b) {
            *a = a.max(b);
        }
        a
    }
}
