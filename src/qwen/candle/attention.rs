//! Attention over packed sequences, and the rotary embedding.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops;

use super::Hook;
use crate::qwen::PackedSequences;

/// Maximum number of attention scores at a time: full attention of a large page in one tile would take 600 MB and more.
pub const SCORE_TILE: usize = 1 << 22;

/// Values of head_dim that Metal's fused kernel supports.
const FUSED_HEAD_DIMS: [usize; 8] = [32, 64, 72, 80, 96, 128, 256, 512];

/// Attention of `q` (heads, rows, head_dim) to `k` and `v` (num_key_value_heads, rows, head_dim); returns (rows, heads *
/// head_dim).
pub(super) fn attend([q, k, v]: [&Tensor; 3], sequences: &PackedSequences) -> Result<Tensor> {
    let (heads, rows, head_dim) = q.dims3()?;
    let mut outputs = Vec::with_capacity(sequences.groups.len());
    for group in &sequences.groups {
        let slice = |x: &Tensor| {
            let x = x.narrow(1, group.start, group.len * group.count)?;
            let x = x.reshape((x.dim(0)?, group.count, group.len, head_dim))?;
            x.transpose(0, 1)?.contiguous()
        };
        let out = batched(&slice(q)?, &slice(k)?, &slice(v)?, sequences.causal)?;
        let out = out.transpose(1, 2)?.contiguous()?;
        outputs.push(out.reshape((group.count * group.len, heads * head_dim))?);
    }
    let output = Tensor::cat(&outputs, 0)?;
    debug_assert_eq!(output.dims(), [rows, heads * head_dim]);
    Ok(output)
}

/// Attention of sequences of one length, (sequences, heads, rows, head_dim), by the kernel that suits the device.
fn batched(q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Result<Tensor> {
    let head_dim = q.dim(3)?;
    let scale = 1.0 / (head_dim as f64).sqrt();
    match q.device() {
        Device::Metal(_) if FUSED_HEAD_DIMS.contains(&head_dim) => {
            ops::sdpa(q, k, v, None, causal, scale as f32, 1.0)
        }
        _ => tiled(&(q * scale)?, k, v, causal),
    }
}

/// Plain attention, a tile of rows at a time. Query heads that share a key head are folded into its rows.
fn tiled(q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Result<Tensor> {
    let (batch, heads, len, head_dim) = q.dims4()?;
    let key_heads = k.dim(1)?;
    let queries_per_key = heads / key_heads;
    let q = q.reshape((batch, key_heads, queries_per_key, len, head_dim))?;
    let k = k.transpose(2, 3)?;
    let step = (SCORE_TILE / (batch * heads * len).max(1)).clamp(16, len.max(16));
    let mut tiles = Vec::with_capacity(len.div_ceil(step));
    for start in (0..len).step_by(step) {
        let rows = step.min(len - start);
        let keys = if causal { start + rows } else { len };
        let tile = q.narrow(3, start, rows)?;
        let tile = tile.reshape((batch, key_heads, queries_per_key * rows, head_dim))?;
        let mut scores = tile.matmul(&k.narrow(3, 0, keys)?.contiguous()?)?;
        if causal {
            scores = mask_future(&scores, queries_per_key, start, rows)?;
        }
        let weights = ops::softmax_last_dim(&scores)?;
        let output = weights.matmul(&v.narrow(2, 0, keys)?.contiguous()?)?;
        tiles.push(output.reshape((batch, key_heads, queries_per_key, rows, head_dim))?);
    }
    Tensor::cat(&tiles, 3)?.reshape((batch, heads, len, head_dim))
}

/// Applies the causal mask to the scores of the rows `start..start + rows`.
fn mask_future(
    scores: &Tensor,
    queries_per_key: usize,
    start: usize,
    rows: usize,
) -> Result<Tensor> {
    let (batch, key_heads, _, keys) = scores.dims4()?;
    let mask: Vec<f32> = (0..rows * keys)
        .map(|i| {
            if i % keys > start + i / keys {
                f32::NEG_INFINITY
            } else {
                0.0
            }
        })
        .collect();
    let mask = Tensor::from_vec(mask, (rows, keys), &Device::Cpu)?
        .to_dtype(scores.dtype())?
        .to_device(scores.device())?;
    scores
        .reshape((batch, key_heads, queries_per_key, rows, keys))?
        .broadcast_add(&mask)?
        .reshape((batch, key_heads, queries_per_key * rows, keys))
}

/// Cosines and sines of the rotary angles, (rows, head_dim / 2).
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
            Tensor::from_vec(values, (rows, angles.len() / rows), &Device::Cpu)?
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

    /// Passes both to `hook`.
    pub(super) fn capture(&self, hook: Hook) {
        hook("lm.cos", 0, &self.cos);
        hook("lm.sin", 0, &self.sin);
    }

    /// Rotates the halves of each head of `x`, (heads, rows, head_dim), in the dtype of the angles.
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let dtype = x.dtype();
        let x = x.to_dtype(self.cos.dtype())?.unsqueeze(0)?.contiguous()?;
        candle_nn::rotary_emb::rope(&x, &self.cos, &self.sin)?
            .squeeze(0)?
            .to_dtype(dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attention row by row, by definition.
    fn definition(
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        sequences: &PackedSequences,
    ) -> Vec<Vec<f32>> {
        let all = |x: &Tensor| x.to_vec3::<f32>().unwrap();
        let (q, k, v) = (all(q), all(k), all(v));
        let queries_per_key = q.len() / k.len();
        let mut out = vec![Vec::new(); q[0].len()];
        for group in &sequences.groups {
            for sequence in 0..group.count {
                let start = group.start + sequence * group.len;
                for row in start..start + group.len {
                    let end = if sequences.causal {
                        row + 1
                    } else {
                        start + group.len
                    };
                    for head in 0..q.len() {
                        let (k, v) = (&k[head / queries_per_key], &v[head / queries_per_key]);
                        let dot = |a: &[f32], b: &[f32]| -> f32 {
                            a.iter().zip(b).map(|(x, y)| x * y).sum()
                        };
                        let scale = (q[head][row].len() as f32).sqrt();
                        let weights: Vec<f32> = (start..end)
                            .map(|j| (dot(&q[head][row], &k[j]) / scale).exp())
                            .collect();
                        let sum: f32 = weights.iter().sum();
                        out[row].extend((0..v[0].len()).map(|c| {
                            let weighted = (start..end).zip(&weights).map(|(j, w)| w * v[j][c]);
                            weighted.sum::<f32>() / sum
                        }));
                    }
                }
            }
        }
        out
    }

    fn max_difference(heads: usize, key_heads: usize, lengths: &[usize], causal: bool) -> f32 {
        let rows: usize = lengths.iter().sum();
        let noise = |heads| Tensor::randn(0f32, 1.0, (heads, rows, 8), &Device::Cpu).unwrap();
        let (q, k, v) = (noise(heads), noise(key_heads), noise(key_heads));
        let sequences = PackedSequences::new(lengths.iter().copied(), causal);
        let got = attend([&q, &k, &v], &sequences)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap();
        let pairs = got
            .into_iter()
            .flatten()
            .zip(definition(&q, &k, &v, &sequences).into_iter().flatten());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn attention_equals_its_definition() {
        assert!(max_difference(4, 4, &[16, 16, 8, 8, 8, 3], false) < 1e-5);
        assert!(max_difference(4, 2, &[5, 9, 9, 40], true) < 1e-5);
        assert!(max_difference(2, 1, &[1], true) < 1e-5);
    }

    #[test]
    fn tiled_attention_equals_its_definition() {
        let long = 1100;
        assert!(long * long * 4 > SCORE_TILE);
        assert!(max_difference(4, 2, &[long], true) < 1e-5);
        assert!(max_difference(4, 4, &[long], false) < 1e-5);
    }
}
