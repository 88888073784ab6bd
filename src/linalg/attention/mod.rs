//! Attention without a matrix of scores (FlashAttention, Dao et al. 2022), a query a lane.
//!
//! For some keys at a time and one register's width of queries, scores are the product of keys (rows) and queries (columns):
//! (keys, queries). Their weights have the layout of a panel, so the output, (head_dim, queries), is the product of transposed
//! values and weights, by the same kernel.

mod keys;

use rayon::prelude::*;

use super::kernels::{Buffer, Kernels, MAX_COLUMNS};
use keys::{Keys, Strided};

/// Keys at a time: with their values they stay in the second cache, their scores in the first.
const KEYS: usize = 240;
/// Queries of a head that meet the same keys while those are in the cache, and rows of a task.
const QUERIES: usize = 128;

/// The shape of attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention<'a> {
    /// Heads of queries.
    pub(crate) heads: usize,
    /// Heads of keys and values; several heads of queries share one.
    pub(crate) key_heads: usize,
    /// Numbers of a head.
    pub(crate) head_dim: usize,
    /// Rows of each sequence; rows attend only within theirs.
    pub(crate) lengths: &'a [usize],
    /// Whether rows attend only to themselves and earlier rows.
    pub(crate) causal: bool,
}

/// Scaled dot-product attention of `q`, (rows, heads, head_dim), to `k` and `v`, (rows, key_heads, head_dim): (rows, heads,
/// head_dim).
///
/// # Panics
/// If the slices do not have that shape.
pub(crate) fn attend(q: &[f32], k: &[f32], v: &[f32], shape: Attention<'_>) -> Vec<f32> {
    attend_with(Kernels::best(), [q, k, v], shape)
}

fn attend_with(
    kernels: &'static Kernels,
    [q, k, v]: [&[f32]; 3],
    shape: Attention<'_>,
) -> Vec<f32> {
    let rows: usize = shape.lengths.iter().sum();
    let width = shape.heads * shape.head_dim;
    let key_width = shape.key_heads * shape.head_dim;
    assert!(
        q.len() == rows * width && k.len() == rows * key_width && v.len() == k.len(),
        "queries, keys or values of another shape"
    );
    let sequences = sequences(shape.lengths);
    let packed: Vec<Keys> = sequences
        .par_iter()
        .flat_map(|&(start, len)| {
            let of = move |head| {
                let part = Strided {
                    start: start * key_width + head * shape.head_dim,
                    stride: key_width,
                    len,
                };
                Keys::pack(kernels, [k, v], part, shape.head_dim)
            };
            (0..shape.key_heads).into_par_iter().map(of)
        })
        .collect();
    let mut out = vec![0.0; rows * width];
    let mut tasks = Vec::new();
    let mut rest = out.as_mut_slice();
    for (&(start, len), keys) in sequences.iter().zip(packed.chunks_exact(shape.key_heads)) {
        for first in (0..len).step_by(QUERIES) {
            let count = QUERIES.min(len - first);
            let (part, later) = rest.split_at_mut(count * width);
            rest = later;
            tasks.push((
                first,
                &q[(start + first) * width..][..count * width],
                keys,
                part,
            ));
        }
    }
    tasks.into_par_iter().for_each_init(
        || Scratch::new(kernels, shape.head_dim),
        |scratch, (first, q, keys, out)| {
            for head in 0..shape.heads {
                let keys = &keys[head * shape.key_heads / shape.heads];
                let queries = Queries {
                    q,
                    first,
                    head,
                    shape,
                };
                scratch.attend(kernels, &queries, keys, out);
            }
        },
    );
    out
}

/// The first row and the rows of each sequence.
fn sequences(lengths: &[usize]) -> Vec<(usize, usize)> {
    let start = lengths.iter().scan(0, |end, len| {
        let start = *end;
        *end += len;
        Some(start)
    });
    start.zip(lengths.iter().copied()).collect()
}

/// Queries of a head.
struct Queries<'a> {
    /// (rows, heads, head_dim).
    q: &'a [f32],
    /// Position of the first row in its sequence.
    first: usize,
    head: usize,
    shape: Attention<'a>,
}

/// What a panel of queries has seen so far.
struct Panel {
    /// (head_dim, queries).
    queries: Buffer,
    /// (head_dim, queries), relative to the largest score.
    sums: Buffer,
    largest: [f32; MAX_COLUMNS],
    total: [f32; MAX_COLUMNS],
}

/// Buffers of a task.
struct Scratch {
    panels: Vec<Panel>,
    scores: Buffer,
}

impl Scratch {
    fn new(kernels: &Kernels, head_dim: usize) -> Self {
        let columns = kernels.columns;
        let panel = |_| Panel {
            queries: Buffer::zeros(head_dim * columns),
            sums: Buffer::zeros(head_dim.next_multiple_of(kernels.rows) * columns),
            largest: [0.0; MAX_COLUMNS],
            total: [0.0; MAX_COLUMNS],
        };
        Self {
            panels: (0..QUERIES.div_ceil(columns)).map(panel).collect(),
            scores: Buffer::zeros(KEYS.next_multiple_of(kernels.rows) * columns),
        }
    }

    fn attend(&mut self, kernels: &Kernels, queries: &Queries<'_>, keys: &Keys, out: &mut [f32]) {
        let shape = queries.shape;
        let rows = queries.q.len() / (shape.heads * shape.head_dim);
        let panels = &mut self.panels[..rows.div_ceil(kernels.columns)];
        for (index, panel) in panels.iter_mut().enumerate() {
            panel.begin(kernels, queries, index * kernels.columns);
        }
        // Whole panels of keys.
        let at_a_time = KEYS / kernels.rows * kernels.rows;
        for first in (0..keys.len).step_by(at_a_time) {
            let block = first..(first + at_a_time).min(keys.len);
            for (index, panel) in panels.iter_mut().enumerate() {
                let query = queries.first + index * kernels.columns;
                let visible = match shape.causal {
                    true => block.end.min(query + kernels.columns),
                    false => block.end,
                };
                if visible > first {
                    let block = (first..visible, shape.causal.then_some(query));
                    panel.meet(kernels, keys, block, &mut self.scores);
                }
            }
        }
        for (index, panel) in panels.iter_mut().enumerate() {
            panel.finish(kernels, queries, index * kernels.columns, out);
        }
    }
}

impl Panel {
    /// Starts with the queries from row `first` on; missing ones are 0.
    fn begin(&mut self, kernels: &Kernels, queries: &Queries<'_>, first: usize) {
        let Attention {
            heads, head_dim, ..
        } = queries.shape;
        let columns = kernels.columns;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let to = self.queries.floats_mut();
        to.fill(0.0);
        let rows = queries
            .q
            .chunks_exact(heads * head_dim)
            .skip(first)
            .take(columns);
        for (column, row) in rows.enumerate() {
            let query = &row[queries.head * head_dim..][..head_dim];
            for (step, x) in to.chunks_exact_mut(columns).zip(query) {
                step[column] = x * scale;
            }
        }
        self.sums.floats_mut().fill(0.0);
        self.largest = [f32::NEG_INFINITY; MAX_COLUMNS];
        self.total = [0.0; MAX_COLUMNS];
    }

    /// Attends to some keys; `causal` is the position of the first query if later keys are hidden.
    fn meet(
        &mut self,
        kernels: &Kernels,
        keys: &Keys,
        (block, causal): (std::ops::Range<usize>, Option<usize>),
        scores: &mut Buffer,
    ) {
        let (rows, columns) = (kernels.rows, kernels.columns);
        let head_dim = keys.keys.len() / keys.len.next_multiple_of(rows);
        let scores = scores.floats_mut();
        let queries = self.queries.floats();
        let first_panel = block.start / rows;
        let tiles = scores.chunks_exact_mut(rows * columns);
        for (index, tile) in tiles.take(block.len().div_ceil(rows)).enumerate() {
            let panel = &keys.keys[(first_panel + index) * rows * head_dim..];
            kernels.tile(head_dim, (panel, queries), tile, false);
        }
        let scores = &mut scores[..block.len() * columns];
        if let Some(query) = causal {
            hide_later(scores, columns, block.start, query);
        }
        let mut factor = [0.0; MAX_COLUMNS];
        let state = [&mut self.largest, &mut self.total, &mut factor].map(|x| &mut x[..columns]);
        kernels.soften(scores, state);
        let sums = self.sums.floats_mut();
        if block.start > 0 {
            kernels.scale(sums, &factor[..columns]);
        }
        let panels = keys.values.chunks_exact(rows * keys.len);
        for (sums, panel) in sums.chunks_exact_mut(rows * columns).zip(panels) {
            let a = &panel[block.start * rows..];
            kernels.tile(block.len(), (a, scores), sums, true);
        }
    }

    /// Writes the output of the queries from row `first` on.
    fn finish(&mut self, kernels: &Kernels, queries: &Queries<'_>, first: usize, out: &mut [f32]) {
        let Attention {
            heads, head_dim, ..
        } = queries.shape;
        let columns = kernels.columns;
        let factor = self.total.map(|total| 1.0 / total);
        let sums = self.sums.floats_mut();
        kernels.scale(sums, &factor[..columns]);
        let rows = out
            .chunks_exact_mut(heads * head_dim)
            .skip(first)
            .take(columns);
        for (column, row) in rows.enumerate() {
            let to = &mut row[queries.head * head_dim..][..head_dim];
            for (x, sums) in to.iter_mut().zip(sums.chunks_exact(columns)) {
                *x = sums[column];
            }
        }
    }
}

/// Hides keys that come after a query: those from `key` on, of queries from `query` on.
fn hide_later(scores: &mut [f32], columns: usize, key: usize, query: usize) {
    for (row, scores) in scores.chunks_exact_mut(columns).enumerate() {
        let hidden = (key + row).saturating_sub(query).min(columns);
        scores[..hidden].fill(f32::NEG_INFINITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row at a time, by definition.
    fn definition([q, k, v]: [&[f32]; 3], shape: Attention<'_>) -> Vec<f64> {
        let Attention {
            heads,
            key_heads,
            head_dim,
            ..
        } = shape;
        let mut out = Vec::new();
        for (start, len) in sequences(shape.lengths) {
            for row in start..start + len {
                for head in 0..heads {
                    let query = &q[(row * heads + head) * head_dim..][..head_dim];
                    let part = |values: &[f32], row: usize, i: usize| {
                        let head = head * key_heads / heads;
                        f64::from(values[(row * key_heads + head) * head_dim + i])
                    };
                    let end = if shape.causal { row + 1 } else { start + len };
                    let score = |key: usize| {
                        let products = (0..head_dim).map(|i| f64::from(query[i]) * part(k, key, i));
                        (products.sum::<f64>() / (head_dim as f64).sqrt()).exp()
                    };
                    let weights: Vec<f64> = (start..end).map(score).collect();
                    let sum: f64 = weights.iter().sum();
                    out.extend((0..head_dim).map(|i| {
                        let weighted = (start..end)
                            .zip(&weights)
                            .map(|(key, w)| w * part(v, key, i));
                        weighted.sum::<f64>() / sum
                    }));
                }
            }
        }
        out
    }

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        let number = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 252.0 - 2.0;
        (0..count).map(number).collect()
    }

    #[test]
    fn attention_of_every_instruction_set_equals_its_definition() {
        let shapes: [(usize, usize, usize, &[usize]); 4] = [
            (4, 4, 8, &[16, 16, 8, 3]),
            (4, 2, 20, &[5, 300]),
            (6, 2, 80, &[33]),
            (2, 1, 16, &[1, 600]),
        ];
        for kernels in Kernels::all() {
            for (heads, key_heads, head_dim, lengths) in shapes {
                for causal in [false, true] {
                    let rows: usize = lengths.iter().sum();
                    let shape = Attention {
                        heads,
                        key_heads,
                        head_dim,
                        lengths,
                        causal,
                    };
                    let q = numbers(rows * heads * head_dim, 1);
                    let [k, v] = [2, 3].map(|seed| numbers(rows * key_heads * head_dim, seed));
                    let got = attend_with(kernels, [&q, &k, &v], shape);
                    let want = definition([&q, &k, &v], shape);
                    assert_eq!(got.len(), want.len());
                    let pairs = got.iter().zip(&want);
                    let worst = pairs
                        .map(|(a, b)| (f64::from(*a) - b).abs())
                        .fold(0.0, f64::max);
                    assert!(worst < 1e-5, "{} {shape:?}: {worst}", kernels.name);
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let (mut k, q) = (numbers(40 * 8, 2), numbers(40 * 8, 1));
        k[5] = f32::NAN;
        let shape = Attention {
            heads: 1,
            key_heads: 1,
            head_dim: 8,
            lengths: &[40],
            causal: false,
        };
        for kernels in Kernels::all() {
            let got = attend_with(kernels, [&q, &k, &q], shape);
            assert!(got.iter().all(|x| x.is_nan()), "{}", kernels.name);
        }
    }
}
