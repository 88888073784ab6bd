//! Weights as MLX arrays, with a LoRA adapter merged in, or quantized by MLX.

use mlx_rs::ops::concatenate;
use mlx_rs::{Array, Dtype};
use safetensors::Dtype as Stored;

use super::layers::{Linear, Matrix, Norm, Result as Mlx};
use super::thread::failed;
use super::{Device, Error};
use crate::checkpoint::{self, LoraDelta, RawTensor};
use crate::qwen::Vision;

/// The dtype to compute in on a device.
pub(super) fn dtype(device: Device) -> Dtype {
    match device {
        Device::Cpu => Dtype::Float32,
        Device::CpuBf16 | Device::Gpu => Dtype::Bfloat16,
    }
}

/// Checked weights, loaded one by one.
pub(super) struct Weights {
    checked: checkpoint::Weights,
    dtype: Dtype,
}

impl Weights {
    /// Weights to load in the dtype of a device.
    pub(super) fn new(checked: checkpoint::Weights, device: Device) -> Self {
        Self {
            checked,
            dtype: dtype(device),
        }
    }

    /// The dtype of weights and activations.
    pub(super) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Loads a tensor of floats, with the adapter merged in.
    fn tensor(&self, name: &str) -> Result<Array, Error> {
        let base = self.checked.raw(name)?;
        let delta = match &self.checked.lora {
            None => None,
            Some(lora) => lora.delta(name)?,
        };
        let load = || {
            let tensor = match delta {
                None => array(base)?,
                Some(delta) => merged(base, &delta)?,
            };
            let tensor = tensor.as_dtype(self.dtype)?;
            tensor.eval()?;
            Ok(tensor)
        };
        load().map_err(failed)
    }

    /// Loads the matrix of a linear layer or of an embedding.
    pub(super) fn matrix(&self, name: &str) -> Result<Matrix, Error> {
        let weight = format!("{name}.weight");
        let Some(quantization) = self.checked.quantizations.get(&weight) else {
            return self.tensor(&weight).map(Matrix::Dense);
        };
        let packed = array(self.checked.raw(&weight)?).map_err(failed)?;
        packed.eval().map_err(failed)?;
        Ok(Matrix::Quantized {
            weight: packed,
            scales: self.tensor(&format!("{name}.scales"))?,
            biases: self.tensor(&format!("{name}.biases"))?,
            quantization: *quantization,
        })
    }

    /// Loads a linear layer.
    pub(super) fn linear(&self, name: &str, bias: bool) -> Result<Linear, Error> {
        let bias = bias.then(|| self.tensor(&format!("{name}.bias")));
        Ok(Linear {
            weight: self.matrix(name)?,
            bias: bias.transpose()?,
        })
    }

    /// Loads the patch embedding: a convolution whose stride equals its kernel, so a matrix product. MLX checkpoints have
    /// channels last; our patches have channels first, as the original checkpoints.
    pub(super) fn patch_embed(&self, vision: &Vision) -> Result<Linear, Error> {
        let kernel = self.tensor("visual.patch_embed.proj.weight")?;
        let matrix = || {
            let channels_first = match kernel.shape()[4] == 3 {
                true => kernel.transpose_axes(&[0, 4, 1, 2, 3])?,
                false => kernel,
            };
            let matrix = channels_first.reshape(&[vision.hidden_size as i32, -1])?;
            matrix.eval()?;
            Ok(matrix)
        };
        Ok(Linear {
            weight: Matrix::Dense(matrix().map_err(failed)?),
            bias: match vision.deepstack {
                None => None,
                Some(_) => Some(self.tensor("visual.patch_embed.proj.bias")?),
            },
        })
    }

    /// Loads an RMS norm.
    pub(super) fn rms_norm(&self, name: &str, eps: f64) -> Result<Norm, Error> {
        Ok(Norm::Rms {
            weight: self.tensor(&format!("{name}.weight"))?,
            eps: eps as f32,
        })
    }

    /// Loads a layer norm with bias.
    pub(super) fn layer_norm(&self, name: &str, eps: f64) -> Result<Norm, Error> {
        Ok(Norm::Layer {
            weight: self.tensor(&format!("{name}.weight"))?,
            bias: self.tensor(&format!("{name}.bias"))?,
            eps: eps as f32,
        })
    }
}

/// Bytes of a tensor that are copied at a time.
const BLOCK: usize = 1 << 30;

/// Copies a tensor into MLX, in the dtype of its file.
fn array(raw: RawTensor) -> Mlx<Array> {
    let dtype = match raw.dtype {
        Stored::F32 => Dtype::Float32,
        Stored::F16 => Dtype::Float16,
        Stored::BF16 => Dtype::Bfloat16,
        Stored::U32 => Dtype::Uint32,
        other => {
            let what = format!("tensors of type {other:?} are not supported");
            return Err(mlx_rs::error::Exception::custom(what));
        }
    };
    let Some(rows) = raw.shape.first() else {
        return Array::from_slice(raw.bytes, &[raw.bytes.len() as i32]).view_dtype(dtype);
    };
    // MLX shapes are 32-bit, so bytes are copied in blocks of rows.
    let row = raw.bytes.len() / (*rows).max(1);
    let blocks = raw.bytes.chunks((BLOCK / row.max(1)).max(1) * row.max(1));
    let blocks: Vec<Array> = blocks
        .map(|bytes| {
            let shape = [(bytes.len() / row) as i32, row as i32];
            Array::from_slice(bytes, &shape).view_dtype(dtype)
        })
        .collect::<Mlx<_>>()?;
    let whole = match &blocks[..] {
        [one] => one.clone(),
        many => concatenate(many, 0)?,
    };
    let shape: Vec<i32> = raw.shape.iter().map(|&size| size as i32).collect();
    whole.reshape(&shape)
}

/// A tensor in f32 with its LoRA delta added.
fn merged(base: RawTensor, delta: &LoraDelta) -> Mlx<Array> {
    let to_f32 = |raw| array(raw)?.as_dtype(Dtype::Float32);
    let scale = Array::from_slice(&[delta.scale as f32], &[]);
    let product = to_f32(delta.b)?.matmul(to_f32(delta.a)?)?;
    to_f32(base)?.add(product.multiply(scale)?)
}
