//! The rotary embedding, and the order of rows.

use candle_core::{DType, Device, Result, Tensor};

use super::Hook;
use super::cpu_ops::{Rotate, has_cpu_ops};

/// Cosines and sines of the rotary angles, (rows, 1, head_dim / 2).
#[derive(Clone)]
pub(super) struct RotaryEmbedding {
    cos: Tensor,
    sin: Tensor,
}

impl RotaryEmbedding {
    /// Computes the rotary embedding of `rows` rows of angles, in `dtype` on `device`.
    pub(super) fn new(angles: &[f32], rows: usize, device: &Device, dtype: DType) -> Result<Self> {
        let tensor = |function: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|&angle| function(angle)).collect();
            Tensor::from_vec(values, (rows, 1, angles.len() / rows), &Device::Cpu)?
                .to_dtype(dtype)?
                .to_device(device)
        };
        Ok(Self {
            cos: tensor(f32::cos)?,
            sin: tensor(f32::sin)?,
        })
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.cos.dims()[0]
    }

    /// Concatenates the rows of several rotary embeddings.
    pub(super) fn concat<'a>(all: impl Iterator<Item = &'a Self>) -> Result<Self> {
        let (cos, sin): (Vec<_>, Vec<_>) = all.map(|one| (&one.cos, &one.sin)).unzip();
        Ok(Self {
            cos: Tensor::cat(&cos, 0)?,
            sin: Tensor::cat(&sin, 0)?,
        })
    }

    /// The same rows in another order.
    pub(super) fn reordered(&self, order: &RowOrder) -> Result<Self> {
        Ok(Self {
            cos: order.apply(&self.cos)?,
            sin: order.apply(&self.sin)?,
        })
    }

    /// Passes both to `hook`.
    pub(super) fn capture(&self, hook: Hook) -> Result<()> {
        hook("lm.cos", 0, &self.cos.squeeze(1)?);
        hook("lm.sin", 0, &self.sin.squeeze(1)?);
        Ok(())
    }

    /// Rotates the halves of each head of `x`, (rows, heads, head_dim), in the dtype of the angles.
    pub(super) fn apply(&self, x: Tensor) -> Result<Tensor> {
        if has_cpu_ops(&x) {
            x.inplace_op3(&self.cos, &self.sin, &Rotate)?;
            return Ok(x);
        }
        let dtype = x.dtype();
        // Each row is a batch of its own, since candle's CPU threads share the work by batches.
        let x = x.to_dtype(self.cos.dtype())?.unsqueeze(1)?;
        candle_nn::rotary_emb::rope_thd(&x, &self.cos, &self.sin)?
            .squeeze(1)?
            .to_dtype(dtype)
    }
}

/// A permutation of blocks of rows.
pub(super) struct RowOrder {
    /// Indices of blocks.
    pub(super) indices: Tensor,
}

impl RowOrder {
    /// Reorders the rows of a contiguous tensor.
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let blocks = self.indices.dim(0)?;
        let shape = (blocks, x.elem_count() / blocks);
        x.reshape(shape)?
            .index_select(&self.indices, 0)?
            .reshape(x.dims())
    }
}
