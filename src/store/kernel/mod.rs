//! SIMD kernels of MaxSim (AVX-512, AVX2, NEON, portable), selected at run time.
//!
//! A page is processed in tiles of 16 rows, decoded from their storage precision and transposed, so that each lane of a
//! register is one row. A block of query rows is then multiplied with the tile: one fused multiply-add per step and query
//! row, no horizontal sums, and a maximum per lane. The last tile repeats the last row, which changes no maximum.
//!
//! A step is one dimension as f32 ([`Blocks`]), or four dimensions as int8 ([`integer`]).
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

#[cfg(target_arch = "aarch64")]
mod arm;
pub(super) mod integer;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::precision::Precision;

/// Page rows of a tile.
const TILE: usize = 16;

/// Maximum query rows of a block, over all kernels.
const MAX_BLOCK_ROWS: usize = 12;

/// One cache line of 16 values of 4 bytes: one step of the rows of a tile.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line<T = f32>([T; TILE]);

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

/// A query of floats for the kernels of an instruction set.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    isa: Isa,
    layout: Layout<f32>,
}

impl Blocks {
    /// Lays out `query`, whose rows have `dim` floats.
    pub(super) fn new(isa: Isa, query: &[f32], dim: usize) -> Self {
        let rows = query.chunks_exact(dim).map(|row| QueryRow {
            start: 0.0,
            steps: row.to_vec(),
            unit: 1.0,
        });
        Self {
            isa,
            layout: Layout::new(isa.block_rows(), dim, &rows.collect::<Vec<_>>()),
        }
    }

    /// The instruction set of the layout.
    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    /// The width of a row.
    pub(super) fn dim(&self) -> usize {
        self.layout.dim
    }

    /// MaxSim with the stored rows of a page.
    ///
    /// # Panics
    /// If the bytes are not whole rows.
    pub(super) fn score(&self, page: &[u8], precision: Precision) -> f32 {
        self.layout.check(page, precision);
        // SAFETY: `Isa` proves that the instructions are available; the page is whole rows, checked above.
        unsafe {
            match self.isa.0 {
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => x86::score_avx512(&self.layout, page, precision),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => x86::score_avx2(&self.layout, page, precision),
                #[cfg(target_arch = "aarch64")]
                Kind::Neon => score::<arm::Neon>(&self.layout, page, precision),
                Kind::Portable => score::<portable::Portable>(&self.layout, page, precision),
            }
        }
    }
}

/// A row of a query: its maximum over the page rows is `unit` times the largest of `start` plus the products of `steps`.
struct QueryRow<S> {
    start: S,
    steps: Vec<S>,
    unit: f32,
}

/// A query, split into blocks of nearly equal height and stored step-major within a block.
#[derive(Clone, Debug)]
struct Layout<S> {
    dim: usize,
    /// The height of each block.
    heights: Vec<usize>,
    /// Values in the order block, step, row. The first step of a block is the starts of its rows.
    values: Vec<S>,
    /// The unit of each row.
    units: Vec<f32>,
}

impl<S: Copy> Layout<S> {
    /// Lays out rows of width `dim` in blocks of at most `block_rows`.
    fn new(block_rows: usize, dim: usize, rows: &[QueryRow<S>]) -> Self {
        let count = rows.len().div_ceil(block_rows);
        let heights: Vec<usize> = (0..count)
            .map(|b| rows.len() / count + usize::from(b < rows.len() % count))
            .collect();
        let mut values = Vec::new();
        let mut others = rows;
        for &height in &heights {
            let (block, rest) = others.split_at(height);
            others = rest;
            values.extend(block.iter().map(|row| row.start));
            for step in 0..block[0].steps.len() {
                values.extend(block.iter().map(|row| row.steps[step]));
            }
        }
        Self {
            dim,
            heights,
            values,
            units: rows.iter().map(|row| row.unit).collect(),
        }
    }

    /// Checks that a kernel may read a page.
    ///
    /// # Panics
    /// If its bytes are not whole rows.
    fn check(&self, page: &[u8], precision: Precision) {
        assert!(
            !page.is_empty() && page.len().is_multiple_of(precision.row_bytes(self.dim)),
            "incomplete rows"
        );
    }
}

/// SIMD operations of a kernel on 16 lanes in registers.
trait Simd {
    /// What one step multiplies: one f32, or four int8.
    type Step: Copy;
    /// Dimensions of a step.
    const DIMS: usize;
    /// A line in registers.
    type Lanes: Copy;
    /// 16 sums in registers.
    type Sums: Copy;

    /// Sums that start from a value.
    unsafe fn start(value: Self::Step) -> Self::Sums;
    /// Loads a line.
    unsafe fn load(from: &Line<Self::Step>) -> Self::Lanes;
    /// `sums + lanes * value`.
    unsafe fn add_products(sums: Self::Sums, lanes: Self::Lanes, value: Self::Step) -> Self::Sums;
    /// Raises `best` to the sums where those are larger. Integer sums are multiplied by the `scales` first; those of floats
    /// have them already.
    unsafe fn raise(best: &mut Line, sums: Self::Sums, scales: &Line);

    /// Decodes and transposes all steps of 16 rows into a tile. `scales` has the scale of each row.
    ///
    /// # Safety
    /// Each row has the bytes of `tile.len()` steps, of which only the last may be incomplete.
    unsafe fn unpack(
        precision: Precision,
        rows: &[&[u8]; TILE],
        scales: &Line,
        tile: &mut [Line<Self::Step>],
    );
}

/// MaxSim of a page.
///
/// # Safety
/// The processor has the instructions of `L`, and `page` is whole rows of the query's width, at least one.
#[inline(always)]
unsafe fn score<L: Simd>(query: &Layout<L::Step>, page: &[u8], precision: Precision) -> f32
where
    L::Step: Default,
{
    let width = precision.row_bytes(query.dim);
    let last = page.len() / width - 1;
    let mut tile = vec![Line([L::Step::default(); TILE]); query.dim.div_ceil(L::DIMS)];
    let mut best = vec![Line([f32::NEG_INFINITY; TILE]); query.units.len()];
    for first in (0..=last).step_by(TILE) {
        let row = |lane: usize| &page[(first + lane).min(last) * width..][..width];
        let rows: [&[u8]; TILE] = std::array::from_fn(row);
        let scales = Line(rows.map(|row| precision.scale(row, query.dim)));
        let next = page.chunks(TILE * width).nth(first / TILE + 1);
        // SAFETY: the rows are whole.
        unsafe {
            L::unpack(precision, &rows, &scales, &mut tile);
            score_tile::<L>(query, &tile, &scales, next.unwrap_or_default(), &mut best);
        }
    }
    let row = |(best, unit): (&Line, &f32)| {
        unit * best.0.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    };
    best.iter().zip(&query.units).map(row).sum()
}

/// Asks for a cache line that is read soon.
#[inline(always)]
fn prefetch(line: Option<&[u8]>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(line) = line {
        x86::prefetch(line);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
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

/// Scores all blocks of the query against a tile; `next` is the bytes of the tile after it.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn score_tile<L: Simd>(
    query: &Layout<L::Step>,
    tile: &[Line<L::Step>],
    scales: &Line,
    mut next: &[u8],
    best: &mut [Line],
) {
    let (mut values, mut best) = (&query.values[..], best);
    for &height in &query.heights {
        let (block, others) = values.split_at(height * (tile.len() + 1));
        let (mine, rest) = best.split_at_mut(height);
        (values, best) = (others, rest);
        // SAFETY: guaranteed by the caller.
        unsafe {
            match height {
                1 => score_block::<L, 1>(block, tile, scales, next, mine),
                2 => score_block::<L, 2>(block, tile, scales, next, mine),
                3 => score_block::<L, 3>(block, tile, scales, next, mine),
                4 => score_block::<L, 4>(block, tile, scales, next, mine),
                5 => score_block::<L, 5>(block, tile, scales, next, mine),
                6 => score_block::<L, 6>(block, tile, scales, next, mine),
                7 => score_block::<L, 7>(block, tile, scales, next, mine),
                8 => score_block::<L, 8>(block, tile, scales, next, mine),
                9 => score_block::<L, 9>(block, tile, scales, next, mine),
                10 => score_block::<L, 10>(block, tile, scales, next, mine),
                11 => score_block::<L, 11>(block, tile, scales, next, mine),
                _ => score_block::<L, MAX_BLOCK_ROWS>(block, tile, scales, next, mine),
            }
        }
        next = &[];
    }
}

/// Updates `best` with the dot products of `N` query rows and the 16 rows of a tile. A step asks for one line of `next`: rows
/// are read side by side, too many streams for the processor to foresee, and all lines at once wait for each other.
///
/// # Safety
/// The processor has the instructions of `L`.
#[inline(always)]
unsafe fn score_block<L: Simd, const N: usize>(
    block: &[L::Step],
    tile: &[Line<L::Step>],
    scales: &Line,
    next: &[u8],
    best: &mut [Line],
) {
    let mut ahead = next.chunks(size_of::<Line>());
    let (block, _) = block.as_chunks::<N>();
    let Some((starts, steps)) = block.split_first() else {
        return;
    };
    // SAFETY: guaranteed by the caller; everything here is within slices.
    unsafe {
        let mut sums = starts.map(|start| L::start(start));
        for (query, line) in steps.iter().zip(tile) {
            prefetch(ahead.next());
            let lanes = L::load(line);
            for (sums, &value) in sums.iter_mut().zip(query) {
                *sums = L::add_products(*sums, lanes, value);
            }
        }
        for (best, sums) in best.iter_mut().zip(sums) {
            L::raise(best, sums, scales);
        }
    }
}
