//! Attention over packed sequences, and the rotary embedding.

use mlx_rs::Array;
use mlx_rs::Dtype;
use mlx_rs::fast::{ScaledDotProductAttentionMask as Mask, scaled_dot_product_attention};
use mlx_rs::ops::concatenate;
use mlx_rs::ops::indexing::TryIndexOp;

use super::fused::rotate;
use super::hooks::Hook;
use super::layers::{Result, size};
use crate::qwen::PackedSequences;

/// Attention of `q` (rows, heads, head_dim) to `k` and `v` (rows, num_key_value_heads, head_dim); returns (rows, heads *
/// head_dim). Each group of sequences of one length is one call of the fused kernel.
pub(super) fn attend([q, k, v]: [&Array; 3], sequences: &PackedSequences) -> Result<Array> {
    let (rows, heads, head_dim) = (size(q, 0), size(q, 1), size(q, 2));
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut outputs = Vec::with_capacity(sequences.groups.len());
    for group in &sequences.groups {
        let (start, len, count) = (group.start as i32, group.len as i32, group.count as i32);
        // (count, heads, len, head_dim)
        let slice = |x: &Array| {
            let x = x.try_index((start..start + len * count, .., ..))?;
            x.reshape(&[count, len, size(&x, 1), head_dim])?
                .transpose_axes(&[0, 2, 1, 3])
        };
        let mask = sequences.causal.then_some(Mask::Causal);
        let out = scaled_dot_product_attention(slice(q)?, slice(k)?, slice(v)?, scale, mask, None)?;
        let out = out.transpose_axes(&[0, 2, 1, 3])?;
        outputs.push(out.reshape(&[count * len, heads * head_dim])?);
    }
    let output = concatenate(&outputs, 0)?;
    debug_assert_eq!(output.shape(), [rows, heads * head_dim]);
    Ok(output)
}

/// Cosines and sines of the rotary angles, (rows, 1, head_dim / 2), broadcast over heads.
#[derive(Clone)]
pub(super) struct RotaryEmbedding {
    cos: Array,
    sin: Array,
}

impl RotaryEmbedding {
    /// Computes the rotary embedding of `rows` rows of angles, in `dtype`.
    pub(super) fn new(angles: &[f32], rows: usize, dtype: Dtype) -> Result<Self> {
        let shape = [rows as i32, 1, (angles.len() / rows) as i32];
        let array = |function: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|&angle| function(angle)).collect();
            Array::from_slice(&values, &shape).as_dtype(dtype)
        };
        Ok(Self {
            cos: array(f32::cos)?,
            sin: array(f32::sin)?,
        })
    }

    /// The same rows in another order of their blocks.
    pub(super) fn reordered(&self, order: &Array) -> Result<Self> {
        Ok(Self {
            cos: reordered(&self.cos, order)?,
            sin: reordered(&self.sin, order)?,
        })
    }

    /// Passes both to `hook`.
    pub(super) fn capture(&self, hook: Hook) -> Result<()> {
        hook("lm.cos", 0, &self.cos)?;
        hook("lm.sin", 0, &self.sin)
    }

    /// Rotates the halves of each head of `x`, (rows, heads, head_dim), in the dtype of the angles.
    pub(super) fn apply(&self, x: &Array) -> Result<Array> {
        let halves = x.as_dtype(self.cos.dtype())?.split_equal(2, 2)?;
        let halves = rotate([&halves[0], &halves[1]], &self.cos, &self.sin)?;
        concatenate(&halves, 2)?.as_dtype(x.dtype())
    }
}

/// Reorders the rows of an array by blocks of equal size; `order` has the indices of the blocks.
pub(super) fn reordered(x: &Array, order: &Array) -> Result<Array> {
    let blocks = size(order, 0);
    let joined = x.reshape(&[blocks, -1])?;
    joined.take_axis(order, 0)?.reshape(x.shape())
}
