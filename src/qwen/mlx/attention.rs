//! Attention over packed sequences, and rotary positions.

use mlx_rs::Array;
use mlx_rs::Dtype;
use mlx_rs::fast::{ScaledDotProductAttentionMask as Mask, scaled_dot_product_attention};
use mlx_rs::ops::concatenate;
use mlx_rs::ops::indexing::TryIndexOp;

use super::hooks::Hook;
use super::layers::{Result, size};
use crate::qwen::PackedSequences;

/// Attention of `q` (rows, heads, head) to `k` and `v` (rows, fewer heads, head); returns (rows, heads * head).
/// Sequences of one length are one call of the fused kernel.
pub(super) fn attend([q, k, v]: [&Array; 3], packed: &PackedSequences) -> Result<Array> {
    let (rows, heads, head) = (size(q, 0), size(q, 1), size(q, 2));
    let scale = 1.0 / (head as f32).sqrt();
    let mut seen = Vec::with_capacity(packed.groups.len());
    for group in &packed.groups {
        let (start, len, count) = (group.start as i32, group.len as i32, group.count as i32);
        // (count, heads, len, head)
        let cut = |x: &Array| {
            let x = x.try_index((start..start + len * count, .., ..))?;
            x.reshape(&[count, len, size(&x, 1), head])?
                .transpose_axes(&[0, 2, 1, 3])
        };
        let mask = packed.causal.then_some(Mask::Causal);
        let out = scaled_dot_product_attention(cut(q)?, cut(k)?, cut(v)?, scale, mask, None)?;
        let out = out.transpose_axes(&[0, 2, 1, 3])?;
        seen.push(out.reshape(&[count * len, heads * head])?);
    }
    let seen = concatenate(&seen, 0)?;
    debug_assert_eq!(seen.shape(), [rows, heads * head]);
    Ok(seen)
}

/// Cosines and sines of angles, (rows, 1, head / 2), to be broadcast over heads.
pub(super) struct Turns {
    cos: Array,
    sin: Array,
}

impl Turns {
    /// `rows` rows of angles; kept in `dtype`.
    pub(super) fn new(angles: &[f32], rows: usize, dtype: Dtype) -> Result<Self> {
        let shape = [rows as i32, 1, (angles.len() / rows) as i32];
        let array = |turn: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|&angle| turn(angle)).collect();
            Array::from_slice(&values, &shape).as_dtype(dtype)
        };
        Ok(Self {
            cos: array(f32::cos)?,
            sin: array(f32::sin)?,
        })
    }

    /// Shows both to who watches, (rows, head / 2).
    pub(super) fn show(&self, cos: &'static str, sin: &'static str, hook: Hook) -> Result<()> {
        hook(cos, 0, &self.cos)?;
        hook(sin, 0, &self.sin)
    }

    /// Turns the halves of each head of `x` (rows, heads, head), in the type of the angles.
    pub(super) fn rotate(&self, x: &Array) -> Result<Array> {
        let halves = x.as_dtype(self.cos.dtype())?.split_equal(2, 2)?;
        let (a, b) = (&halves[0], &halves[1]);
        let first = a.multiply(&self.cos)?.subtract(b.multiply(&self.sin)?)?;
        let second = b.multiply(&self.cos)?.add(a.multiply(&self.sin)?)?;
        concatenate(&[first, second], 2)?.as_dtype(x.dtype())
    }
}
