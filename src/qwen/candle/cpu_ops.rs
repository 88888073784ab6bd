//! Operations of the CPU in f32, in place and on all threads: candle computes element by element on one thread, with one
//! exponential at a time. Beside products, a layer spends its time on these.

use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use rayon::prelude::*;

/// Whether these operations take `x`.
pub(super) fn has_cpu_ops(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// Adds a bias, (width), to each row of (rows, width).
pub(super) struct AddBias;

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        rows: &mut CpuStorage,
        rows_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        let (rows, bias) = (floats_mut(rows, rows_layout)?, floats(bias, bias_layout)?);
        rows.par_chunks_exact_mut(bias.len()).for_each(|row| {
            for (x, b) in row.iter_mut().zip(bias) {
                *x += b;
            }
        });
        Ok(())
    }
}

/// Replaces the gate's rows by `silu(gate + gate_bias) * (up + up_bias)`.
pub(super) struct SwiGlu {
    pub(super) gate_bias: Option<Vec<f32>>,
    pub(super) up_bias: Option<Vec<f32>>,
}

impl InplaceOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &mut CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<()> {
        let width = *gate_layout.dims().last().unwrap_or(&1);
        let (gate, up) = (floats_mut(gate, gate_layout)?, floats(up, up_layout)?);
        let zeros = vec![0.0; width];
        let gate_bias = self.gate_bias.as_ref().unwrap_or(&zeros);
        let up_bias = self.up_bias.as_ref().unwrap_or(&zeros);
        let rows = gate
            .par_chunks_exact_mut(width)
            .zip(up.par_chunks_exact(width));
        rows.for_each(|(gate, up)| {
            for (((x, b), u), c) in gate.iter_mut().zip(gate_bias).zip(up).zip(up_bias) {
                let gate = *x + b;
                *x = gate / (1.0 + exp(-gate)) * (u + c);
            }
        });
        Ok(())
    }
}

/// Replaces each row of scores by its softmax.
pub(super) struct Softmax {
    /// Factor of the scores.
    pub(super) scale: f32,
    /// The position of the first query and the number of queries if they attend to earlier keys only; rows of further heads
    /// follow.
    pub(super) causal: Option<[usize; 2]>,
}

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, scores: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let width = *layout.dims().last().unwrap_or(&1);
        let rows = floats_mut(scores, layout)?
            .par_chunks_exact_mut(width)
            .enumerate();
        rows.for_each(|(row, scores)| {
            let visible = match self.causal {
                Some([start, queries]) => (start + row % queries + 1).min(width),
                None => width,
            };
            let (visible, future) = scores.split_at_mut(visible);
            softmax(visible, self.scale);
            future.fill(0.0);
        });
        Ok(())
    }
}

/// Numbers that are reduced side by side, as many as a vector register holds.
const LANES: usize = 8;

/// Softmax of scores times `scale`, in place.
pub(crate) fn softmax(scores: &mut [f32], scale: f32) {
    let mut largest = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = scores.as_chunks::<LANES>();
    for chunk in chunks {
        for (largest, &x) in largest.iter_mut().zip(chunk) {
            *largest = if x > *largest { x } else { *largest };
        }
    }
    let largest = largest
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max);
    let weight = |x: f32| exp((x - largest) * scale);
    let mut sums = [0.0; LANES];
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *x = weight(*x);
            *sum += *x;
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for x in rest {
        *x = weight(*x);
        sum += *x;
    }
    let factor = 1.0 / sum;
    scores.iter_mut().for_each(|x| *x *= factor);
}

/// e^x with a relative error below 2e-7, in operations that compilers vectorise: 2^n * e^r with |r| <= ln 2 / 2 and a
/// polynomial for e^r (Cephes, `expf.c`). Below -87 and above 88 as there.
fn exp(x: f32) -> f32 {
    // Adding it rounds to a whole number, in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first exact in a product with n.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2[0] - n * LN_2[1];
    let coefficients = [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    let tail = coefficients
        .into_iter()
        .fold(1.987_569_1e-4, |sum, c| sum * r + c);
    let power = (rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32 + 127) << 23;
    (tail * r * r + r + 1.0) * f32::from_bits(power as u32)
}

/// The values of a contiguous f32 tensor.
fn floats<'s>(storage: &'s CpuStorage, layout: &Layout) -> Result<&'s [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("expected contiguous f32 values"),
    }
}

/// The values of a contiguous f32 tensor, to write.
fn floats_mut<'s>(storage: &'s mut CpuStorage, layout: &Layout) -> Result<&'s mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("expected contiguous f32 values"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_that_of_the_standard_library() {
        let error = |x: f32| (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs();
        let worst = (-8700..=8800)
            .map(|x| error(x as f32 / 100.0))
            .fold(0.0, f64::max);
        assert!(worst < 2e-7, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(f32::NAN).is_nan());
        assert!((1e38..f32::INFINITY).contains(&exp(f32::INFINITY)));
    }

    #[test]
    fn softmax_equals_its_definition() {
        for width in [1, 7, 8, 19, 64] {
            let scores: Vec<f32> = (0..width).map(|i| (i * 37 % 23) as f32 - 11.0).collect();
            let exps: Vec<f64> = scores.iter().map(|&x| (f64::from(x) * 0.5).exp()).collect();
            let sum: f64 = exps.iter().sum();
            let mut got = scores;
            softmax(&mut got, 0.5);
            for (got, want) in got.iter().zip(&exps) {
                assert!((f64::from(*got) - want / sum).abs() < 1e-6);
            }
        }
        let mut spoiled = [1.0, f32::NAN, 2.0];
        softmax(&mut spoiled, 1.0);
        assert!(spoiled.iter().all(|x| x.is_nan()));
    }
}
