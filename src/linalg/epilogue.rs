//! What follows a product: biases, an addend, an activation.

use rayon::prelude::*;

use super::kernels::Kernels;

/// Numbers of a task that computes each apart.
const CHUNK: usize = 1 << 14;

/// What follows a product, in this order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Epilogue<'a> {
    /// Biases of the matrices, (outputs) each, that are added.
    pub(crate) bias: [Option<&'a [f32]>; 2],
    /// Rows, (rows, outputs), that are added; none with a pair of matrices.
    pub(crate) addend: Option<&'a [f32]>,
    /// An activation.
    pub(crate) activation: Activation,
}

/// An activation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Activation {
    /// None.
    #[default]
    Identity,
    /// `x * sigmoid(linear * x + cubic * x^3)`.
    Gelu {
        /// Factor of x.
        linear: f32,
        /// Factor of x^3.
        cubic: f32,
    },
    /// `x * (1 + erf(x / sqrt 2)) / 2`, GELU itself.
    GeluErf,
    /// `silu(first) * second` of a pair of matrices (SwiGLU, Shazeer 2020).
    SwiGlu,
}

/// `gate` becomes `silu(gate) * up`.
pub(crate) fn swiglu(gate: &mut [f32], up: &[f32]) {
    let kernels = Kernels::best();
    let parts = gate.par_chunks_mut(CHUNK).zip(up.par_chunks(CHUNK));
    parts.for_each(|(gate, up)| kernels.swiglu(gate, up));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from -4 to 4.
    fn numbers(count: usize, factor: usize) -> Vec<f32> {
        let number = |i: usize| (i * factor % 257) as f32 / 32.0 - 4.0;
        (0..count).map(number).collect()
    }

    /// Values of erf from tables (Abramowitz & Stegun 1964, table 7.1).
    #[test]
    fn erf_equals_the_tables() {
        let table = [
            (0.0, 0.0),
            (0.1, 0.112_462_92),
            (0.5, 0.520_499_9),
            (1.0, 0.842_700_8),
            (1.5, 0.966_105_15),
            (2.0, 0.995_322_3),
            (3.0, 0.999_977_9),
            (9.0, 1.0),
        ];
        for kernels in Kernels::all() {
            for (x, erf) in table {
                let x = x * std::f64::consts::SQRT_2;
                let mut got = [x as f32, -x as f32];
                kernels.gelu_erf(&mut got);
                let want = [x * (1.0 + erf) / 2.0, -x * (1.0 - erf) / 2.0];
                for (got, want) in got.into_iter().zip(want) {
                    assert!(
                        (f64::from(got) - want).abs() < 1e-6 * x.max(1.0),
                        "{x}: {got}"
                    );
                }
            }
        }
    }

    #[test]
    fn long_gates_are_multiplied() {
        let (gate, up) = (numbers(50_003, 37), numbers(50_003, 61));
        let mut got = gate.clone();
        swiglu(&mut got, &up);
        let want = gate.iter().zip(&up).map(|(&gate, &up)| {
            let (gate, up) = (f64::from(gate), f64::from(up));
            gate / (1.0 + (-gate).exp()) * up
        });
        for (got, want) in got.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
        }
    }
}
