//! Layers shared by the vision tower and the decoder: linear, quantized linear, norms, MLPs, GELU.

use mlx_rs::error::Exception;
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::{addmm, erf, quantized_matmul, sigmoid, tanh};
use mlx_rs::{Array, fast};

use super::fused::swiglu;
use crate::checkpoint::Quantization;

pub(super) type Result<T> = std::result::Result<T, Exception>;

/// The weights of a linear layer.
pub(super) enum Matrix {
    /// (out, in).
    Dense(Array),
    /// Affine-quantized by MLX: each group of a row has a scale and a bias.
    Quantized {
        /// (out, in * bits / 32), packed into 32-bit words.
        weight: Array,
        /// (out, in / group_size).
        scales: Array,
        /// (out, in / group_size).
        biases: Array,
        /// Bits per element and elements per group.
        quantization: Quantization,
    },
}

/// A linear layer.
pub(super) struct Linear {
    pub(super) weight: Matrix,
    pub(super) bias: Option<Array>,
}

impl Linear {
    /// From (rows, in) to (rows, out).
    pub(super) fn forward(&self, x: &Array) -> Result<Array> {
        match (&self.weight, &self.bias) {
            (Matrix::Dense(weight), Some(bias)) => addmm(bias, x, weight.transpose()?, None, None),
            (Matrix::Dense(weight), None) => x.matmul(weight.transpose()?),
            (quantized, bias) => {
                let y = quantized.matmul(x)?;
                bias.as_ref().map_or(Ok(y.clone()), |bias| y.add(bias))
            }
        }
    }

    /// The layer that computes the first `count` numbers of the output.
    pub(super) fn first(&self, count: usize) -> Result<Self> {
        let first = |x: &Array| x.try_index(..count as i32);
        Ok(Self {
            weight: match &self.weight {
                Matrix::Dense(weight) => Matrix::Dense(first(weight)?),
                Matrix::Quantized {
                    weight,
                    scales,
                    biases,
                    quantization,
                } => Matrix::Quantized {
                    weight: first(weight)?,
                    scales: first(scales)?,
                    biases: first(biases)?,
                    quantization: *quantization,
                },
            },
            bias: self.bias.as_ref().map(first).transpose()?,
        })
    }
}

impl Matrix {
    /// Product with the transposed matrix, from (rows, in) to (rows, out).
    pub(super) fn matmul(&self, x: &Array) -> Result<Array> {
        match self {
            Self::Dense(weight) => x.matmul(weight.transpose()?),
            Self::Quantized {
                weight,
                scales,
                biases,
                quantization,
            } => {
                let (group_size, bits) = (quantization.group_size as i32, quantization.bits as i32);
                quantized_matmul(x, weight, scales, biases, true, group_size, bits)
            }
        }
    }

    /// Rows of the matrix by index, dequantized, (rows, in).
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

/// A norm of any family.
pub(super) enum Norm {
    /// RMS norm.
    Rms { weight: Array, eps: f32 },
    /// Layer norm.
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

/// An MLP of any family.
pub(super) enum Mlp {
    /// `down(silu(gate(x)) * up(x))`.
    Gated {
        gate: Linear,
        up: Linear,
        down: Linear,
    },
    /// `fc2(activation(fc1(x)))`.
    Plain {
        fc1: Linear,
        fc2: Linear,
        activation: fn(&Array) -> Result<Array>,
    },
}

impl Mlp {
    pub(super) fn forward(&self, x: &Array) -> Result<Array> {
        match self {
            Self::Gated { gate, up, down } => {
                down.forward(&swiglu(&gate.forward(x)?, &up.forward(x)?)?)
            }
            Self::Plain {
                fc1,
                fc2,
                activation,
            } => fc2.forward(&activation(&fc1.forward(x)?)?),
        }
    }
}

/// The sigmoid approximation of GELU that Qwen2-VL was trained with (Hendrycks & Gimpel 2016, §2).
pub(super) fn quick_gelu(x: &Array) -> Result<Array> {
    x.multiply(sigmoid(x.multiply(scalar(1.702, x)?)?)?)
}

/// The tanh approximation of GELU that Qwen3-VL was trained with (same paper).
pub(super) fn tanh_gelu(x: &Array) -> Result<Array> {
    let root = (2.0 / std::f32::consts::PI).sqrt();
    let cube = x
        .multiply(x)?
        .multiply(x)?
        .multiply(scalar(0.044_715, x)?)?;
    let tanh = tanh(x.add(cube)?.multiply(scalar(root, x)?)?)?;
    x.multiply(scalar(0.5, x)?)?
        .multiply(tanh.add(scalar(1.0, x)?)?)
}

/// Exact GELU, by the error function.
pub(super) fn gelu(x: &Array) -> Result<Array> {
    let half = x.multiply(scalar(0.5, x)?)?;
    let erf = erf(x.multiply(scalar(std::f32::consts::FRAC_1_SQRT_2, x)?)?)?;
    half.multiply(erf.add(scalar(1.0, x)?)?)
}

/// A scalar with the dtype of `like`: an f32 would promote the whole graph to f32.
pub(super) fn scalar(value: f32, like: &Array) -> Result<Array> {
    Array::from_slice(&[value], &[]).as_dtype(like.dtype())
}

/// The size of an axis.
pub(super) fn size(x: &Array, axis: usize) -> i32 {
    x.shape()[axis]
}

/// An array of indices or token ids, (count).
pub(super) fn indices(indices: &[u32]) -> Array {
    Array::from_slice(indices, &[indices.len() as i32])
}
