//! The kernels of each instruction set, selected at run time, behind functions that check what they may reach.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

#[cfg(target_arch = "aarch64")]
mod arm;
mod generic;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

/// Maximum columns of a tile, over all instruction sets.
pub(super) const MAX_COLUMNS: usize = 32;

/// 16 floats, or 32 numbers in bf16, that fill a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u32; LINE]);

/// Words of 4 bytes of a line.
pub(super) const LINE: usize = 16;

/// Floats in whole cache lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffer(Vec<Line>);

impl Buffer {
    /// At least `floats` floats, all of them 0.
    pub(super) fn zeros(floats: usize) -> Self {
        Self(vec![Line([0; LINE]); floats.div_ceil(LINE)])
    }

    /// The words.
    pub(super) fn words(&self) -> &[u32] {
        let first = self.0.as_ptr().cast();
        // SAFETY: a line is `LINE` words without padding.
        unsafe { std::slice::from_raw_parts(first, self.0.len() * LINE) }
    }

    /// The words, to write.
    pub(super) fn words_mut(&mut self) -> &mut [u32] {
        let first = self.0.as_mut_ptr().cast();
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(first, self.0.len() * LINE) }
    }

    /// The floats.
    pub(super) fn floats(&self) -> &[f32] {
        let words = self.words();
        // SAFETY: every bit pattern is a float, of the same size and alignment.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len()) }
    }

    /// The floats, to write.
    pub(super) fn floats_mut(&mut self) -> &mut [f32] {
        let words = self.words_mut();
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len()) }
    }
}

/// The kernels of an instruction set. Values exist only where this machine has the instructions.
#[derive(Debug)]
pub(super) struct Kernels {
    /// Name of the instruction set.
    pub(super) name: &'static str,
    /// Rows of a tile.
    pub(super) rows: usize,
    /// Columns of a tile.
    pub(super) columns: usize,
    /// Floats of a register.
    pub(super) lanes: usize,
    tile: unsafe fn(usize, *const f32, *const f32, *mut f32, bool),
    tile_bf16: unsafe fn(usize, *const f32, *const u32, *mut f32, bool),
    soften: unsafe fn(&mut [f32], [&mut [f32]; 3]),
    scale: unsafe fn(&mut [f32], &[f32]),
    swiglu: unsafe fn(&mut [f32], &[f32]),
    gelu: unsafe fn(&mut [f32], f32, f32),
    gelu_erf: unsafe fn(&mut [f32]),
}

impl Kernels {
    /// The fastest of this machine.
    pub(super) fn best() -> &'static Self {
        static BEST: OnceLock<&'static Kernels> = OnceLock::new();
        BEST.get_or_init(|| Self::all()[0])
    }

    /// All of this machine, the fastest first.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn all() -> Vec<&'static Self> {
        let mut all = Vec::new();
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            if is_x86_feature_detected!("avx512f") {
                all.push(&x86::AVX512);
            }
            all.push(&x86::AVX2);
        }
        all.push(&portable::PORTABLE);
        all
    }

    /// All of this machine, the fastest first: NEON is part of the architecture.
    #[cfg(target_arch = "aarch64")]
    pub(super) fn all() -> Vec<&'static Self> {
        vec![&arm::NEON, &portable::PORTABLE]
    }

    /// All of this machine.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(super) fn all() -> Vec<&'static Self> {
        vec![&portable::PORTABLE]
    }

    /// `out`, (rows, columns) of a tile, becomes or (`add`) grows by the product of `steps` steps of `a` (steps, rows) and `b`
    /// (steps, columns).
    pub(super) fn tile(&self, steps: usize, (a, b): (&[f32], &[f32]), out: &mut [f32], add: bool) {
        self.check(steps, a, out);
        assert!(b.len() >= steps * self.columns, "a short panel");
        // SAFETY: the lengths were checked, and the machine has the instructions.
        unsafe { (self.tile)(steps, a.as_ptr(), b.as_ptr(), out.as_mut_ptr(), add) }
    }

    /// As [`Kernels::tile`], `b` in bf16: of each pair of registers, a word holds a number of the first in its lower half and one
    /// of the second in its upper half.
    pub(super) fn tile_bf16(
        &self,
        steps: usize,
        (a, b): (&[f32], &[u32]),
        out: &mut [f32],
        add: bool,
    ) {
        self.check(steps, a, out);
        assert!(b.len() >= steps * self.columns / 2, "a short panel");
        // SAFETY: the lengths were checked, and the machine has the instructions.
        unsafe { (self.tile_bf16)(steps, a.as_ptr(), b.as_ptr(), out.as_mut_ptr(), add) }
    }

    fn check(&self, steps: usize, a: &[f32], out: &[f32]) {
        assert!(a.len() >= steps * self.rows, "short rows");
        assert!(out.len() >= self.rows * self.columns, "a short tile");
    }

    /// Online softmax (Milakov and Gimelshein 2018) of further scores, (keys, columns), each column a query: replaces them by
    /// weights relative to the largest score so far, updates `largest` and `sum`, and sets `factor` to what earlier weights are to
    /// be multiplied by; all three have `columns` numbers.
    pub(super) fn soften(&self, scores: &mut [f32], state: [&mut [f32]; 3]) {
        let is_whole = |x: &&mut [f32]| x.len() == self.columns;
        assert!(state.iter().all(is_whole) && scores.len().is_multiple_of(self.columns));
        // SAFETY: the lengths were checked, and the machine has the instructions.
        unsafe { (self.soften)(scores, state) }
    }

    /// Multiplies each column of rows of `columns` numbers by a factor of its own.
    pub(super) fn scale(&self, rows: &mut [f32], factor: &[f32]) {
        assert!(factor.len() == self.columns && rows.len().is_multiple_of(self.columns));
        // SAFETY: the lengths were checked, and the machine has the instructions.
        unsafe { (self.scale)(rows, factor) }
    }

    /// `gate` becomes `silu(gate) * up`.
    pub(super) fn swiglu(&self, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len(), "gates of another length");
        // SAFETY: the lengths were checked, and the machine has the instructions.
        unsafe { (self.swiglu)(gate, up) }
    }

    /// `x` becomes `x * sigmoid(linear * x + cubic * x^3)`: both approximations of GELU.
    pub(super) fn gelu(&self, x: &mut [f32], linear: f32, cubic: f32) {
        // SAFETY: the machine has the instructions.
        unsafe { (self.gelu)(x, linear, cubic) }
    }

    /// `x` becomes `x * (1 + erf(x / sqrt 2)) / 2`: GELU itself (Hendrycks & Gimpel 2016).
    pub(super) fn gelu_erf(&self, x: &mut [f32]) {
        // SAFETY: the machine has the instructions.
        unsafe { (self.gelu_erf)(x) }
    }
}

/// Instantiates the generic kernels for an instruction set: tiles of some rows and some registers.
macro_rules! kernels {
    ($table:ident, $name:literal, $simd:ty, $rows:literal x $registers:literal $(, $features:literal)?) => {
        #[doc = concat!("The kernels of ", $name, ".")]
        pub(super) static $table: super::Kernels = {
            use super::generic;
            type S = $simd;

            $(#[target_feature(enable = $features)])?
            unsafe fn tile(steps: usize, a: *const f32, b: *const f32, out: *mut f32, add: bool) {
                // SAFETY: guaranteed by the caller, as below.
                unsafe { generic::tile::<S, $rows, $registers, false>(steps, a, b.cast(), out, add) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn tile_bf16(steps: usize, a: *const f32, b: *const u32, out: *mut f32, add: bool) {
                unsafe { generic::tile::<S, $rows, $registers, true>(steps, a, b, out, add) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn soften(scores: &mut [f32], state: [&mut [f32]; 3]) {
                unsafe { generic::soften::<S>(scores, state) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn scale(rows: &mut [f32], factor: &[f32]) {
                unsafe { generic::scale::<S>(rows, factor) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn swiglu(gate: &mut [f32], up: &[f32]) {
                unsafe { generic::swiglu::<S>(gate, up) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn gelu(x: &mut [f32], linear: f32, cubic: f32) {
                unsafe { generic::gelu::<S>(x, linear, cubic) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn gelu_erf(x: &mut [f32]) {
                unsafe { generic::gelu_erf::<S>(x) }
            }
            super::Kernels {
                name: $name,
                rows: $rows,
                columns: $registers * <S as generic::Simd>::LANES,
                lanes: <S as generic::Simd>::LANES,
                tile,
                tile_bf16,
                soften,
                scale,
                swiglu,
                gelu,
                gelu_erf,
            }
        };
    };
}
use kernels;
