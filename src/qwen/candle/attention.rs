//! Attention over packed sequences: pages stand one behind the other in the rows of a tensor, with no padding between.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops;

use crate::qwen::PackedSequences;

/// Most scores held at a time: the full attention of a large page in one piece would take 600 MB and more.
pub const SCORE_TILE: usize = 1 << 22;

/// Widths of a head that Metal's fused kernel knows.
const FUSED: [usize; 8] = [32, 64, 72, 80, 96, 128, 256, 512];

/// Attention of `q` (heads, rows, head) to `k` and `v` (fewer heads, rows, head); returns (rows, heads * head).
pub(super) fn attend([q, k, v]: [&Tensor; 3], packed: &PackedSequences) -> Result<Tensor> {
    let (heads, rows, head) = q.dims3()?;
    let mut seen = Vec::with_capacity(packed.groups.len());
    for group in &packed.groups {
        let cut = |x: &Tensor| {
            let x = x.narrow(1, group.start, group.len * group.count)?;
            let x = x.reshape((x.dim(0)?, group.count, group.len, head))?;
            x.transpose(0, 1)?.contiguous()
        };
        let out = stacked(&cut(q)?, &cut(k)?, &cut(v)?, packed.causal)?;
        let out = out.transpose(1, 2)?.contiguous()?;
        seen.push(out.reshape((group.count * group.len, heads * head))?);
    }
    let seen = Tensor::cat(&seen, 0)?;
    debug_assert_eq!(seen.dims(), [rows, heads * head]);
    Ok(seen)
}

/// Attention of sequences of one length, (sequences, heads, rows, head): the kernel is chosen here.
fn stacked(q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Result<Tensor> {
    let head = q.dim(3)?;
    let scale = 1.0 / (head as f64).sqrt();
    match q.device() {
        Device::Metal(_) if FUSED.contains(&head) => {
            ops::sdpa(q, k, v, None, causal, scale as f32, 1.0)
        }
        _ => tiled(&(q * scale)?, k, v, causal),
    }
}

/// Plain attention, some rows at a time. Query heads that share a key head are folded into its rows.
fn tiled(q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Result<Tensor> {
    let (batch, heads, len, head) = q.dims4()?;
    let shared = k.dim(1)?;
    let queries_per_key = heads / shared;
    let q = q.reshape((batch, shared, queries_per_key, len, head))?;
    let turned = k.transpose(2, 3)?;
    let step = (SCORE_TILE / (batch * heads * len).max(1)).clamp(16, len.max(16));
    let mut tiles = Vec::with_capacity(len.div_ceil(step));
    for start in (0..len).step_by(step) {
        let rows = step.min(len - start);
        let keys = if causal { start + rows } else { len };
        let tile = q.narrow(3, start, rows)?;
        let tile = tile.reshape((batch, shared, queries_per_key * rows, head))?;
        let mut scores = tile.matmul(&turned.narrow(3, 0, keys)?.contiguous()?)?;
        if causal {
            scores = hide(&scores, queries_per_key, start, rows)?;
        }
        let share = ops::softmax_last_dim(&scores)?;
        let seen = share.matmul(&v.narrow(2, 0, keys)?.contiguous()?)?;
        tiles.push(seen.reshape((batch, shared, queries_per_key, rows, head))?);
    }
    Tensor::cat(&tiles, 3)?.reshape((batch, heads, len, head))
}

/// Hides from the rows `start..start + rows` what stands behind them.
fn hide(scores: &Tensor, queries_per_key: usize, start: usize, rows: usize) -> Result<Tensor> {
    let (batch, shared, _, keys) = scores.dims4()?;
    let hidden: Vec<f32> = (0..rows * keys)
        .map(|i| {
            if i % keys > start + i / keys {
                f32::NEG_INFINITY
            } else {
                0.0
            }
        })
        .collect();
    let hidden = Tensor::from_vec(hidden, (rows, keys), &Device::Cpu)?
        .to_dtype(scores.dtype())?
        .to_device(scores.device())?;
    scores
        .reshape((batch, shared, queries_per_key, rows, keys))?
        .broadcast_add(&hidden)?
        .reshape((batch, shared, queries_per_key * rows, keys))
}

/// Turns the halves of each head by an angle a row: `x` is (heads, rows, head), `cos` and `sin` (rows, head / 2).
pub(super) fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let dtype = x.dtype();
    let wide = x.to_dtype(cos.dtype())?.unsqueeze(0)?.contiguous()?;
    candle_nn::rotary_emb::rope(&wide, cos, sin)?
        .squeeze(0)?
        .to_dtype(dtype)
}

/// Cosines and sines of `rows` rows of angles.
pub(super) fn cos_sin(
    angles: &[f32],
    rows: usize,
    device: &Device,
    dtype: DType,
) -> Result<[Tensor; 2]> {
    let tensor = |turn: fn(f32) -> f32| {
        let values: Vec<f32> = angles.iter().map(|&angle| turn(angle)).collect();
        Tensor::from_vec(values, (rows, angles.len() / rows), &Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(device)
    };
    Ok([tensor(f32::cos)?, tensor(f32::sin)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attention row by row, as the definition has it.
    fn plain(q: &Tensor, k: &Tensor, v: &Tensor, packed: &PackedSequences) -> Vec<Vec<f32>> {
        let all = |x: &Tensor| x.to_vec3::<f32>().unwrap();
        let (q, k, v) = (all(q), all(k), all(v));
        let queries_per_key = q.len() / k.len();
        let mut out = vec![Vec::new(); q[0].len()];
        for group in &packed.groups {
            for sequence in 0..group.count {
                let start = group.start + sequence * group.len;
                for row in start..start + group.len {
                    let end = if packed.causal {
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
                        let shares: Vec<f32> = (start..end)
                            .map(|j| (dot(&q[head][row], &k[j]) / scale).exp())
                            .collect();
                        let sum: f32 = shares.iter().sum();
                        out[row].extend((0..v[0].len()).map(|c| {
                            let seen: f32 =
                                (start..end).zip(&shares).map(|(j, s)| s * v[j][c]).sum();
                            seen / sum
                        }));
                    }
                }
            }
        }
        out
    }

    fn differ(heads: usize, shared: usize, lengths: &[usize], causal: bool) -> f32 {
        let rows: usize = lengths.iter().sum();
        let noise = |heads| Tensor::randn(0f32, 1.0, (heads, rows, 8), &Device::Cpu).unwrap();
        let (q, k, v) = (noise(heads), noise(shared), noise(shared));
        let packed = PackedSequences::new(lengths.iter().copied(), causal);
        let got = attend([&q, &k, &v], &packed)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap();
        let pairs = got
            .into_iter()
            .flatten()
            .zip(plain(&q, &k, &v, &packed).into_iter().flatten());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn attention_equals_its_definition() {
        assert!(differ(4, 4, &[16, 16, 8, 8, 8, 3], false) < 1e-5);
        assert!(differ(4, 2, &[5, 9, 9, 40], true) < 1e-5);
        assert!(differ(2, 1, &[1], true) < 1e-5);
    }

    #[test]
    fn large_pages_are_cut_into_tiles() {
        let long = 1100;
        assert!(long * long * 4 > SCORE_TILE);
        assert!(differ(4, 2, &[long], true) < 1e-5);
        assert!(differ(4, 4, &[long], false) < 1e-5);
    }
}
