//! Attention over packed sequences.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops;

use super::cpu_ops::{Attend, has_cpu_ops};
use crate::qwen::PackedSequences;

/// Maximum number of attention scores at a time: full attention of a large page in one tile would take 600 MB and more.
pub const SCORE_TILE: usize = 1 << 22;

/// Values of head_dim that Metal's fused kernel supports.
const FUSED_HEAD_DIMS: [usize; 8] = [32, 64, 72, 80, 96, 128, 256, 512];

/// Query rows that Metal's fused kernel takes at a time; its blocks of keys are not longer.
const FUSED_BLOCK: usize = 32;

/// Attention of `q` (rows, heads, head_dim) to `k` and `v` (rows, num_key_value_heads, head_dim); returns (rows, heads *
/// head_dim). All are contiguous.
pub(super) fn attend([q, k, v]: [&Tensor; 3], sequences: &PackedSequences) -> Result<Tensor> {
    let (rows, heads, head_dim) = q.dims3()?;
    if has_cpu_ops(q) {
        return q.apply_op3_no_bwd(k, v, &Attend(sequences));
    }
    let mut outputs = Vec::with_capacity(sequences.groups.len());
    for group in &sequences.groups {
        // (count, len, heads, head_dim), a view.
        let slice = |x: &Tensor| {
            let rows = x.narrow(0, group.start, group.len * group.count)?;
            rows.reshape((group.count, group.len, x.dim(1)?, head_dim))
        };
        let out = batched(slice(q)?, slice(k)?, slice(v)?, sequences.causal)?;
        let out = out.transpose(1, 2)?.contiguous()?;
        outputs.push(out.reshape((group.count * group.len, heads * head_dim))?);
    }
    let output = Tensor::cat(&outputs, 0)?;
    debug_assert_eq!(output.dims(), [rows, heads * head_dim]);
    Ok(output)
}

/// Attention of sequences of one length, (sequences, rows, heads, head_dim), by the kernel that suits the device; returns
/// (sequences, heads, rows, head_dim).
fn batched(q: Tensor, mut k: Tensor, mut v: Tensor, causal: bool) -> Result<Tensor> {
    let head_dim = q.dim(3)?;
    let scale = 1.0 / (head_dim as f64).sqrt();
    let is_fused = q.device().is_metal() && FUSED_HEAD_DIMS.contains(&head_dim);
    if is_fused && causal {
        (k, v) = (zeros_behind(&k)?, zeros_behind(&v)?);
    }
    let [q, k, v] = [q, k, v].map(|x| x.transpose(1, 2));
    let (q, k, v) = (q?, k?, v?);
    match (q.device(), q.dtype()) {
        _ if is_fused => ops::sdpa(&q, &k, &v, None, causal, scale as f32, 1.0),
        // As the fused kernel: scores and sums in f32.
        (Device::Cpu, DType::BF16) => {
            let [q, k, v] = [q, k, v].map(|x| x.to_dtype(DType::F32));
            tiled([&q?, &k?, &v?], scale, causal)?.to_dtype(DType::BF16)
        }
        _ => tiled([&q, &k, &v], scale, causal),
    }
}

/// The same keys or values, (sequences, rows, heads, head_dim), with rows of zeros behind each sequence in memory.
///
/// Where the number of rows modulo 32 is 1 to 16, the causal kernel of candle 0.11 reads one block of 16 keys past the last
/// row (`kb_lim` in its `scaled_dot_product_attention.metal` lacks MLX's bound). Their weights are 0, but 0 x NaN is NaN.
fn zeros_behind(x: &Tensor) -> Result<Tensor> {
    let len = x.dim(1)?;
    let padding = len.next_multiple_of(FUSED_BLOCK) - len;
    x.pad_with_zeros(1, 0, padding)?.narrow(1, 0, len)
}

/// Rows of queries at a time with a causal mask: fewer compute fewer scores that are masked.
const CAUSAL_ROWS: usize = 256;

/// Plain attention, a tile of scores at a time: whole heads, or rows of one head. Query heads that share a key head are
/// folded into its rows.
fn tiled([q, k, v]: [&Tensor; 3], scale: f64, causal: bool) -> Result<Tensor> {
    let (batch, heads, len, head_dim) = q.dims4()?;
    let all = batch * k.dim(1)?;
    let queries_per_key = batch * heads / all;
    let q = q
        .contiguous()?
        .reshape((all, queries_per_key, len, head_dim))?;
    let [k, v] = [k, v].map(|x| x.contiguous()?.reshape((all, len, head_dim)));
    let (k, v) = (k?, v?);
    let step = (SCORE_TILE / (queries_per_key * len * len).max(1)).clamp(1, all);
    let row_step = (SCORE_TILE / (queries_per_key * len).max(1)).max(16);
    let row_step = match causal {
        true => row_step.min(CAUSAL_ROWS),
        false => row_step,
    };
    let mut outputs = Vec::with_capacity(all.div_ceil(step));
    for first in (0..all).step_by(step) {
        let count = step.min(all - first);
        let [q, k, v] = [&q, &k, &v].map(|x| x.narrow(0, first, count));
        let (q, k, v) = (q?, k?.transpose(1, 2)?, v?);
        let mut tiles = Vec::with_capacity(len.div_ceil(row_step));
        for start in (0..len).step_by(row_step) {
            let rows = row_step.min(len - start);
            let keys = if causal { start + rows } else { len };
            let tile = q.narrow(2, start, rows)?;
            let tile = tile.reshape((count, queries_per_key * rows, head_dim))?;
            let scores = tile.matmul(&k.narrow(2, 0, keys)?)?;
            let weights = softmax(scores, scale, causal.then_some([start, rows]))?;
            let output = weights.matmul(&v.narrow(1, 0, keys)?)?;
            tiles.push(output.reshape((count, queries_per_key, rows, head_dim))?);
        }
        outputs.push(Tensor::cat(&tiles, 2)?);
    }
    Tensor::cat(&outputs, 0)?.reshape((batch, heads, len, head_dim))
}

/// Softmax of scores times `scale`; `causal`: the position of the first query and the number of queries of a head.
fn softmax(scores: Tensor, scale: f64, causal: Option<[usize; 2]>) -> Result<Tensor> {
    let mut scores = (scores * scale)?;
    if let Some([start, rows]) = causal {
        scores = mask_future(&scores, start, rows)?;
    }
    ops::softmax_last_dim(&scores)
}

/// Applies the causal mask to the scores of the rows `start..start + rows` of each head, (heads, queries_per_key * rows, keys).
fn mask_future(scores: &Tensor, start: usize, rows: usize) -> Result<Tensor> {
    let keys = scores.dim(2)?;
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
        .reshape(((), rows, keys))?
        .broadcast_add(&mask)?
        .reshape(scores.dims())
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
        let all = |x: &Tensor| x.transpose(0, 1).unwrap().to_vec3::<f32>().unwrap();
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
        let noise = |heads| Tensor::randn(0f32, 1.0, (rows, heads, 8), &Device::Cpu).unwrap();
        let (q, k, v) = (noise(heads), noise(key_heads), noise(key_heads));
        let sequences = PackedSequences::new(lengths.iter().copied(), causal);
        let want = definition(&q, &k, &v, &sequences).concat();
        let difference = |dtype: DType| {
            let [q, k, v] = [&q, &k, &v].map(|x| x.to_dtype(dtype).unwrap());
            let got = attend([&q, &k, &v], &sequences).unwrap();
            let got = got.flatten_all().unwrap().to_dtype(DType::F32).unwrap();
            let got = got.to_vec1::<f32>().unwrap();
            let pairs = got.iter().zip(&want);
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        // f64 takes the operations that GPUs take.
        difference(DType::F32).max(difference(DType::F64))
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

    /// What candle's causal kernel computes of one head of one sequence of keys and values, (sequences, heads, rows,
    /// head_dim): blocks of 32 queries and `block` keys, with its bounds, its masks and its reads past the last key, straight
    /// from memory.
    fn causal_kernel(
        q: &[Vec<f32>],
        [k, v]: [&Tensor; 2],
        at: [usize; 2],
        block: usize,
    ) -> Vec<Vec<f32>> {
        let (len, head_dim) = (q.len(), q[0].len());
        let row = |x: &Tensor, key: usize| -> Vec<f32> {
            let is_safe = key / block == len / block && !len.is_multiple_of(block);
            if is_safe && key >= len {
                return vec![0.0; head_dim];
            }
            let (storage, layout) = x.storage_and_layout();
            let candle_core::Storage::Cpu(storage) = &*storage else {
                panic!("not on the CPU");
            };
            let stride = layout.stride();
            assert_eq!(stride[3], 1);
            let start =
                layout.start_offset() + at[0] * stride[0] + at[1] * stride[1] + key * stride[2];
            let values = storage.as_slice::<f32>().unwrap();
            let value = |i| values.get(i).copied().unwrap_or(f32::NAN);
            (start..start + head_dim).map(value).collect()
        };
        let attend = |query: usize| {
            let end = ((query / FUSED_BLOCK + 1) * FUSED_BLOCK).div_ceil(block) * block;
            let score = |key: usize| match key > query {
                true => f32::NEG_INFINITY,
                false => q[query].iter().zip(row(k, key)).map(|(a, b)| a * b).sum(),
            };
            let scores: Vec<f32> = (0..end).map(score).collect();
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f32> = scores.iter().map(|score| (score - max).exp()).collect();
            let mut sum = vec![0.0; head_dim];
            for (key, weight) in weights.iter().enumerate() {
                for (sum, value) in sum.iter_mut().zip(row(v, key)) {
                    *sum += weight * value / weights.iter().sum::<f32>();
                }
            }
            sum
        };
        (0..len).map(attend).collect()
    }

    /// Sequences of keys or values, (sequences, rows, heads, 8), with NaN behind each in memory.
    fn nan_behind(count: usize, len: usize, heads: usize) -> Tensor {
        let rows = Tensor::randn(0f32, 1.0, (count, len, heads, 8), &Device::Cpu).unwrap();
        let nan = Tensor::full(f32::NAN, (count, 64, heads, 8), &Device::Cpu).unwrap();
        let joined = Tensor::cat(&[rows, nan], 1).unwrap();
        joined.narrow(1, 0, len).unwrap()
    }

    #[test]
    fn causal_kernel_reads_zeros_behind_the_last_key() {
        let is_finite = |rows: &[Vec<f32>]| rows.iter().flatten().all(|x| x.is_finite());
        let lengths = (1..=100)
            .map(|len| (1, len, 1))
            .chain([(2, 43, 2), (3, 64, 2), (1, 75, 2)]);
        for ((count, len, heads), block) in lengths.flat_map(|shape| [(shape, 16), (shape, 32)]) {
            let [k, v] = [(); 2].map(|()| nan_behind(count, len, heads));
            let view = |x: &Tensor| x.transpose(1, 2).unwrap();
            let padded = [&k, &v].map(|x| view(&zeros_behind(x).unwrap()));
            let plain = [&k, &v].map(view);
            for at in [[0, 0], [count - 1, heads - 1]] {
                let of = |x: &Tensor| {
                    x.get(at[0])
                        .unwrap()
                        .narrow(1, at[1], 1)
                        .unwrap()
                        .contiguous()
                        .unwrap()
                };
                let q = nan_behind(1, len, 1);
                let queries = q.reshape((len, 8)).unwrap().to_vec2::<f32>().unwrap();
                // The kernel above has no scale; the definition divides by the root of the width.
                let scaled = (q.reshape((len, 1, 8)).unwrap() * 8f64.sqrt()).unwrap();
                let sequences = PackedSequences::new([len], true);
                let want = definition(&scaled, &of(&k), &of(&v), &sequences);
                let got = causal_kernel(&queries, [&padded[0], &padded[1]], at, block);
                let pairs = got.iter().flatten().zip(want.iter().flatten());
                let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(is_finite(&got) && difference < 1e-5, "{len}: {difference}");
                // The fault that this guards against.
                let overruns = block == 16 && (1..=16).contains(&(len % 32));
                let unguarded = causal_kernel(&queries, [&plain[0], &plain[1]], at, block);
                assert_eq!(is_finite(&unguarded), !overruns, "{len}");
            }
        }
    }
}
