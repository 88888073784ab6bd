//! The forward pass of BERT (Devlin et al. 2019), post-norm, one sequence at a time and without padding.

use super::gelu::gelu;
use super::weights::{Layer, Linear, Norm, Weights};
use super::{HEAD_WIDTH, HEADS, WIDTH};
use crate::embed::gemm::{Matrix, Rows, add_product};
use crate::linalg::softmax;

/// Epsilon of the layer norms (`config.json`).
const EPSILON: f32 = 1e-12;

/// The last hidden states of the tokens at `kept`, one row of [`WIDTH`] each; `ids` are all tokens of the sequence.
///
/// The last layer is computed for the kept tokens only: of the others it needs keys and values.
pub(super) fn forward(weights: &Weights, ids: &[u32], kept: &[usize]) -> Vec<f32> {
    let mut states = weights.embed(ids);
    weights.embedding_norm.apply(&mut states);
    let last = weights.layers.len() - 1;
    for layer in &weights.layers[..last] {
        states = layer.forward(&states, states.clone());
    }
    let row = |&index: &usize| &states[index * WIDTH..][..WIDTH];
    let queries = kept.iter().flat_map(row).copied().collect();
    weights.layers[last].forward(&states, queries)
}

impl Layer {
    /// The next states of the tokens of `queries`, which attend to those of `states`.
    fn forward(&self, states: &[f32], mut queries: Vec<f32>) -> Vec<f32> {
        let context = self.attend(states, &queries);
        self.output.add_to(&mut queries, &context);
        self.attention_norm.apply(&mut queries);
        let mut hidden = self.up.apply(&queries);
        gelu(&mut hidden);
        self.down.add_to(&mut queries, &hidden);
        self.output_norm.apply(&mut queries);
        queries
    }

    /// Multi-head attention (Vaswani et al. 2017).
    fn attend(&self, states: &[f32], queries: &[f32]) -> Vec<f32> {
        let queries = self.query.apply(queries);
        let keys = self.key.apply(states);
        let values = self.value.apply(states);
        let tokens = states.len() / WIDTH;
        let rows = queries.len() / WIDTH;
        let scale = 1.0 / (HEAD_WIDTH as f32).sqrt();
        let mut context = vec![0.0; queries.len()];
        let mut head_keys = vec![0.0; HEAD_WIDTH * tokens];
        let mut head_values = vec![0.0; tokens * HEAD_WIDTH];
        let mut scores = vec![0.0; rows * tokens];
        let mut mixed = vec![0.0; rows * HEAD_WIDTH];
        for first in (0..HEADS).map(|head| head * HEAD_WIDTH) {
            for token in 0..tokens {
                let head = token * WIDTH + first..token * WIDTH + first + HEAD_WIDTH;
                for (d, key) in keys[head.clone()].iter().enumerate() {
                    head_keys[d * tokens + token] = *key;
                }
                head_values[token * HEAD_WIDTH..][..HEAD_WIDTH].copy_from_slice(&values[head]);
            }
            scores.fill(0.0);
            let left = matrix_rows(&queries[first..], WIDTH);
            add_product(&mut scores, left, matrix(&head_keys, tokens));
            scores
                .chunks_exact_mut(tokens)
                .for_each(|row| softmax(row, scale));
            mixed.fill(0.0);
            let left = matrix_rows(&scores, tokens);
            add_product(&mut mixed, left, matrix(&head_values, HEAD_WIDTH));
            for (row, mixed) in mixed.chunks_exact(HEAD_WIDTH).enumerate() {
                context[row * WIDTH + first..][..HEAD_WIDTH].copy_from_slice(mixed);
            }
        }
        context
    }
}

fn matrix_rows(data: &[f32], stride: usize) -> Rows<'_> {
    Rows { data, stride }
}

fn matrix(data: &[f32], columns: usize) -> Matrix<'_> {
    Matrix { data, columns }
}

impl Linear {
    /// `rows * weight + bias`.
    fn apply(&self, rows: &[f32]) -> Vec<f32> {
        let count = rows.len() / self.inputs();
        let mut out = vec![0.0; count * self.bias.len()];
        self.add_to(&mut out, rows);
        out
    }

    /// Adds `rows * weight + bias` to `sum`.
    fn add_to(&self, sum: &mut [f32], rows: &[f32]) {
        for row in sum.chunks_exact_mut(self.bias.len()) {
            row.iter_mut().zip(&self.bias).for_each(|(s, b)| *s += b);
        }
        let left = matrix_rows(rows, self.inputs());
        add_product(sum, left, matrix(&self.weight, self.bias.len()));
    }

    fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len()
    }
}

impl Norm {
    /// Normalises every row to mean 0 and variance 1, then scales and shifts it (Ba, Kiros & Hinton 2016).
    fn apply(&self, rows: &mut [f32]) {
        let width = self.gain.len() as f32;
        for row in rows.chunks_exact_mut(self.gain.len()) {
            let mean = row.iter().sum::<f32>() / width;
            let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / width;
            let scale = 1.0 / (variance + EPSILON).sqrt();
            for ((value, gain), bias) in row.iter_mut().zip(&self.gain).zip(&self.bias) {
                *value = (*value - mean) * scale * gain + bias;
            }
        }
    }
}
