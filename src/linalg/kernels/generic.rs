//! The kernels, over the operations of a register.
#![expect(
    unsafe_code,
    reason = "SIMD intrinsics and the raw loads that feed them"
)]

/// Operations of registers of floats. All are `unsafe`: the machine must have the instructions, and pointers must reach a whole
/// register. Of two numbers of which one is NaN, `max` and `min` return the second.
pub(super) trait Simd {
    /// A register.
    type V: Copy;
    /// Floats of a register.
    const LANES: usize;
    /// The same number in all lanes.
    unsafe fn splat(x: f32) -> Self::V;
    /// Reads a register.
    unsafe fn load(from: *const f32) -> Self::V;
    /// Writes a register.
    unsafe fn store(to: *mut f32, x: Self::V);
    /// Reads two registers in bf16: the lower halves of words, and the upper halves.
    unsafe fn widen(from: *const u32) -> [Self::V; 2];
    /// `a * b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Sum.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// Difference.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// Product.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// Quotient.
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// The larger.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// 2^n, where `x` is [`ROUND`] + n.
    unsafe fn power_of_2(x: Self::V) -> Self::V;
}

/// Adding it rounds to a whole number, in the lowest bits.
pub(super) const ROUND: f32 = 12_582_912.0;

/// The product of a tile: `out` (ROWS, registers) from `a` (steps, ROWS) and `b` (steps, registers).
///
/// # Safety
/// The pointers reach as much, and the machine has the instructions.
#[expect(
    clippy::needless_range_loop,
    reason = "with iterators the sums leave their registers: a sixth slower"
)]
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const ROWS: usize, const REGISTERS: usize, const BF16: bool>(
    steps: usize,
    a: *const f32,
    b: *const u32,
    out: *mut f32,
    add: bool,
) {
    // SAFETY: every pointer stays inside of what the caller guarantees.
    unsafe {
        let mut sums = [[S::splat(0.0); REGISTERS]; ROWS];
        let mut columns = [S::splat(0.0); REGISTERS];
        let (mut a, mut b) = (a, b);
        for _ in 0..steps {
            if BF16 {
                for pair in 0..REGISTERS / 2 {
                    let [first, second] = S::widen(b.add(pair * S::LANES));
                    columns[2 * pair] = first;
                    columns[2 * pair + 1] = second;
                }
                b = b.add(REGISTERS / 2 * S::LANES);
            } else {
                for register in 0..REGISTERS {
                    columns[register] = S::load(b.cast::<f32>().add(register * S::LANES));
                }
                b = b.add(REGISTERS * S::LANES);
            }
            for row in 0..ROWS {
                let x = S::splat(*a.add(row));
                for register in 0..REGISTERS {
                    sums[row][register] = S::fma(x, columns[register], sums[row][register]);
                }
            }
            a = a.add(ROWS);
        }
        for row in 0..ROWS {
            for register in 0..REGISTERS {
                let to = out.add((row * REGISTERS + register) * S::LANES);
                let sum = sums[row][register];
                S::store(to, if add { S::add(sum, S::load(to)) } else { sum });
            }
        }
    }
}

/// e^x with a relative error below 2e-7: 2^n * e^r with |r| <= ln 2 / 2 and a polynomial for e^r (Cephes, `expf.c`). Below -87
/// and above 88 as there; of NaN, NaN.
#[inline(always)]
unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // ln 2 in two parts, the first exact in a product with n.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const COEFFICIENTS: [f32; 5] = [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    // SAFETY: guaranteed by the caller.
    unsafe {
        let x = S::min(S::splat(88.0), S::max(S::splat(-87.0), x));
        let rounded = S::fma(x, S::splat(std::f32::consts::LOG2_E), S::splat(ROUND));
        let n = S::sub(rounded, S::splat(ROUND));
        let r = S::fma(n, S::splat(-LN_2[0]), x);
        let r = S::fma(n, S::splat(-LN_2[1]), r);
        let mut tail = S::splat(1.987_569_1e-4);
        for coefficient in COEFFICIENTS {
            tail = S::fma(tail, r, S::splat(coefficient));
        }
        let power = S::fma(S::mul(tail, r), r, S::add(r, S::splat(1.0)));
        S::mul(power, S::power_of_2(rounded))
    }
}

/// [`super::Kernels::soften`].
///
/// # Safety
/// `scores` are whole rows as wide as each of the others, and the machine has the instructions.
#[inline(always)]
pub(super) unsafe fn soften<S: Simd>(scores: &mut [f32], state: [&mut [f32]; 3]) {
    let [largest, sum, factor] = state;
    let width = largest.len();
    let keys = scores.len() / width;
    // SAFETY: guaranteed by the caller.
    unsafe {
        for first in (0..width).step_by(S::LANES) {
            let scores = scores.as_mut_ptr().add(first);
            let old = S::load(largest.as_ptr().add(first));
            let mut new = old;
            for key in 0..keys {
                new = S::max(S::load(scores.add(key * width)), new);
            }
            S::store(largest.as_mut_ptr().add(first), new);
            let shrink = exp::<S>(S::sub(old, new));
            S::store(factor.as_mut_ptr().add(first), shrink);
            let mut total = S::mul(S::load(sum.as_ptr().add(first)), shrink);
            for key in 0..keys {
                let score = scores.add(key * width);
                let weight = exp::<S>(S::sub(S::load(score), new));
                S::store(score, weight);
                total = S::add(total, weight);
            }
            S::store(sum.as_mut_ptr().add(first), total);
        }
    }
}

/// [`super::Kernels::scale`].
///
/// # Safety
/// `rows` are whole rows as wide as `factor`, and the machine has the instructions.
#[inline(always)]
pub(super) unsafe fn scale<S: Simd>(rows: &mut [f32], factor: &[f32]) {
    let width = factor.len();
    // SAFETY: guaranteed by the caller.
    unsafe {
        for first in (0..width).step_by(S::LANES) {
            let factor = S::load(factor.as_ptr().add(first));
            for row in (first..rows.len()).step_by(width) {
                let to = rows.as_mut_ptr().add(row);
                S::store(to, S::mul(S::load(to), factor));
            }
        }
    }
}

/// A function of a number. No closure, because closures are compiled without the instructions of their caller.
trait Function<S: Simd> {
    /// Its values.
    unsafe fn of(&self, x: S::V) -> S::V;
}

/// Applies a function to every float; the last ones in a register of their own.
#[inline(always)]
unsafe fn map<S: Simd>(values: &mut [f32], function: &impl Function<S>) {
    let rest = values.len() % S::LANES;
    let (whole, rest) = values.split_at_mut(values.len() - rest);
    // SAFETY: whole registers, and an array that holds one.
    unsafe {
        for first in (0..whole.len()).step_by(S::LANES) {
            let to = whole.as_mut_ptr().add(first);
            S::store(to, function.of(S::load(to)));
        }
        if !rest.is_empty() {
            let mut last = [rest[0]; super::MAX_COLUMNS];
            last[..rest.len()].copy_from_slice(rest);
            S::store(last.as_mut_ptr(), function.of(S::load(last.as_ptr())));
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }
}

/// `x / (1 + e^-y)`.
#[inline(always)]
unsafe fn times_sigmoid<S: Simd>(x: S::V, y: S::V) -> S::V {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let e = exp::<S>(S::sub(S::splat(0.0), y));
        S::div(x, S::add(S::splat(1.0), e))
    }
}

/// [`super::Kernels::swiglu`].
///
/// # Safety
/// Both have as many floats, and the machine has the instructions.
#[inline(always)]
pub(super) unsafe fn swiglu<S: Simd>(gate: &mut [f32], up: &[f32]) {
    let whole = gate.len() / S::LANES * S::LANES;
    // SAFETY: whole registers, and arrays that hold one; the rest is guaranteed by the caller.
    unsafe {
        for first in (0..whole).step_by(S::LANES) {
            let to = gate.as_mut_ptr().add(first);
            let x = S::load(to);
            let up = S::load(up.as_ptr().add(first));
            S::store(to, S::mul(times_sigmoid::<S>(x, x), up));
        }
        let (gate, up) = (&mut gate[whole..], &up[whole..]);
        let mut last = [[0.0; super::MAX_COLUMNS]; 2];
        last[0][..gate.len()].copy_from_slice(gate);
        last[1][..up.len()].copy_from_slice(up);
        let x = S::load(last[0].as_ptr());
        let product = S::mul(times_sigmoid::<S>(x, x), S::load(last[1].as_ptr()));
        S::store(last[0].as_mut_ptr(), product);
        gate.copy_from_slice(&last[0][..gate.len()]);
    }
}

/// `x * sigmoid(linear * x + cubic * x^3)`.
struct Gelu {
    linear: f32,
    cubic: f32,
}

impl<S: Simd> Function<S> for Gelu {
    #[inline(always)]
    unsafe fn of(&self, x: S::V) -> S::V {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let (linear, cubic) = (S::splat(self.linear), S::splat(self.cubic));
            let slope = S::fma(S::mul(x, x), cubic, linear);
            times_sigmoid::<S>(x, S::mul(x, slope))
        }
    }
}

/// [`super::Kernels::gelu`].
///
/// # Safety
/// The machine has the instructions.
#[inline(always)]
pub(super) unsafe fn gelu<S: Simd>(x: &mut [f32], linear: f32, cubic: f32) {
    // SAFETY: guaranteed by the caller.
    unsafe { map::<S>(x, &Gelu { linear, cubic }) }
}

/// Coefficients of the rational approximation of erf in single precision (XLA, `ErfImpl32` of
/// `xla/hlo/builder/lib/math.cc`), highest power first.
const ERF_NUMERATOR: [f32; 5] = [
    0.000_229_050_65,
    0.003_408_291,
    0.050_955_694,
    0.185_208_32,
    std::f32::consts::FRAC_2_SQRT_PI,
];
const ERF_DENOMINATOR: [f32; 7] = [
    -1.179_160_3e-7,
    0.000_023_547_966,
    0.001_017_962_5,
    0.014_070_47,
    0.110_985_05,
    0.497_469_25,
    1.0,
];
/// From here on erf is 1 in single precision.
const ERF_LIMIT: f32 = 3.832_507;

/// Horner's rule, highest power first.
#[inline(always)]
unsafe fn polynomial<S: Simd, const N: usize>(coefficients: &[f32; N], x: S::V) -> S::V {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sum = S::splat(0.0);
        for &coefficient in coefficients {
            sum = S::fma(sum, x, S::splat(coefficient));
        }
        sum
    }
}

/// `x * (1 + erf(x / sqrt 2)) / 2`.
struct GeluErf;

impl<S: Simd> Function<S> for GeluErf {
    #[inline(always)]
    unsafe fn of(&self, x: S::V) -> S::V {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let (half, limit) = (S::splat(0.5), S::splat(ERF_LIMIT));
            let y = S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2));
            let y = S::min(limit, S::max(S::sub(S::splat(0.0), limit), y));
            let square = S::mul(y, y);
            let numerator = S::mul(y, polynomial::<S, 5>(&ERF_NUMERATOR, square));
            let erf = S::div(numerator, polynomial::<S, 7>(&ERF_DENOMINATOR, square));
            S::mul(x, S::fma(half, erf, half))
        }
    }
}

/// [`super::Kernels::gelu_erf`].
///
/// # Safety
/// The machine has the instructions.
#[inline(always)]
pub(super) unsafe fn gelu_erf<S: Simd>(x: &mut [f32]) {
    // SAFETY: guaranteed by the caller.
    unsafe { map::<S>(x, &GeluErf) }
}
