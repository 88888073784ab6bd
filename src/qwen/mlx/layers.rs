//! The layers that vision tower and language model are made of.

use mlx_rs::error::Exception;
use mlx_rs::ops::{addmm, erf, quantized_matmul, sigmoid, tanh};
use mlx_rs::{Array, fast};

use crate::checkpoint::Quantization;

pub(super) type Result<T> = std::result::Result<T, Exception>;

/// The weights of a linear layer.
pub(super) enum Matrix {
    /// (to, from).
    Dense(Array),
    /// Some bits a number; each group of a row has a scale and a bias (MLX, affine).
    Quantized {
        /// (to, from * bits / 32), 32-bit words.
        weight: Array,
        /// (to, from / group).
        scales: Array,
        /// (to, from / group).
        biases: Array,
        /// Bits of a number, numbers of a group.
        quantization: Quantization,
    },
}

/// A linear layer.
pub(super) struct Linear {
    pub(super) weight: Matrix,
    pub(super) bias: Option<Array>,
}

impl Linear {
    /// From (rows, from) to (rows, to).
    pub(super) fn forward(&self, x: &Array) -> Result<Array> {
        match (&self.weight, &self.bias) {
            (Matrix::Dense(weight), Some(bias)) => addmm(bias, x, weight.transpose()?, None, None),
            (Matrix::Dense(weight), None) => x.matmul(weight.transpose()?),
            (packed, bias) => {
                let y = packed.product(x)?;
                bias.as_ref().map_or(Ok(y.clone()), |bias| y.add(bias))
            }
        }
    }
}

impl Matrix {
    /// From (rows, from) to (rows, to).
    pub(super) fn product(&self, x: &Array) -> Result<Array> {
        match self {
            Self::Dense(weight) => x.matmul(weight.transpose()?),
            Self::Quantized {
                weight,
                scales,
                biases,
                quantization,
            } => {
                let (group, bits) = (quantization.group_size as i32, quantization.bits as i32);
                quantized_matmul(x, weight, scales, biases, true, group, bits)
            }
        }
    }

    /// Some of its rows, (rows, from).
    pub(super) fn rows(&self, rows: &Array) -> Result<Array> {
        match self {
            Self::Dense(weight) => weight.take_axis(rows, 0),
            Self::Quantized {
                weight,
                scales,
                biases,
                quantization,
            } => mlx_rs::ops::dequantize(
                weight.take_axis(rows, 0)?,
                scales.take_axis(rows, 0)?,
                &biases.take_axis(rows, 0)?,
                quantization.group_size as i32,
                quantization.bits as i32,
            ),
        }
    }
}

/// A norm of either family.
pub(super) enum Norm {
    /// By the root of the mean square.
    Rms { weight: Array, eps: f32 },
    /// By mean and variance.
    Layer {
        weight: Array,
        bias: Array,
        eps: f32,
    },
}

impl Norm {
    pub(super) fn forward(&self, x: &Array) -> Result<Array> {
        match self {
            Self::Rms { weight, eps } => fast::rms_norm(x, Some(weight), *eps),
            Self::Layer { weight, bias, eps } => fast::layer_norm(x, weight, bias, *eps),
        }
    }
}

/// An MLP of either family.
pub(super) enum Mlp {
    /// `down(silu(gate(x)) * up(x))`.
    Gated {
        gate: Linear,
        up: Linear,
        down: Linear,
    },
    /// `fc2(bend(fc1(x)))`.
    Plain {
        fc1: Linear,
        fc2: Linear,
        bend: fn(&Array) -> Result<Array>,
    },
}

impl Mlp {
    pub(super) fn forward(&self, x: &Array) -> Result<Array> {
        match self {
            Self::Gated { gate, up, down } => {
                let gate = gate.forward(x)?;
                let gate = gate.multiply(sigmoid(&gate)?)?;
                down.forward(&gate.multiply(up.forward(x)?)?)
            }
            Self::Plain { fc1, fc2, bend } => fc2.forward(&bend(&fc1.forward(x)?)?),
        }
    }
}

/// The sigmoid approximation of GELU that Qwen2-VL was trained with (Hendrycks & Gimpel 2016, §2).
pub(super) fn quick_gelu(x: &Array) -> Result<Array> {
    x.multiply(sigmoid(x.multiply(number(1.702, x)?)?)?)
}

/// The approximation by the hyperbolic tangent that Qwen3-VL was trained with (same paper).
pub(super) fn tanh_gelu(x: &Array) -> Result<Array> {
    let root = (2.0 / std::f32::consts::PI).sqrt();
    let cube = x
        .multiply(x)?
        .multiply(x)?
        .multiply(number(0.044_715, x)?)?;
    let share = tanh(x.add(cube)?.multiply(number(root, x)?)?)?;
    x.multiply(number(0.5, x)?)?
        .multiply(share.add(number(1.0, x)?)?)
}

/// GELU by the error function.
pub(super) fn gelu(x: &Array) -> Result<Array> {
    let half = x.multiply(number(0.5, x)?)?;
    let share = erf(x.multiply(number(std::f32::consts::FRAC_1_SQRT_2, x)?)?)?;
    half.multiply(share.add(number(1.0, x)?)?)
}

/// A number of the type of an array: as f32 it would make the whole graph f32.
fn number(value: f32, like: &Array) -> Result<Array> {
    Array::from_slice(&[value], &[]).as_dtype(like.dtype())
}

/// The size of an axis.
pub(super) fn size(x: &Array, axis: usize) -> i32 {
    x.shape()[axis]
}

/// Numbers for MLX, (count).
pub(super) fn numbers(numbers: &[u32]) -> Array {
    Array::from_slice(numbers, &[numbers.len() as i32])
}
