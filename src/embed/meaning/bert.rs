//! The forward pass of BERT (Devlin et al. 2019), post-norm, over packed sequences.

use super::weights::{Layer, Linear, Norm, Weights};
use super::{HEAD_WIDTH, HEADS, WIDTH};
use crate::linalg::{self, Activation, Attention, Epilogue};

/// Epsilon of the layer norms (`config.json`).
const EPSILON: f32 = 1e-12;

/// A sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence<'a> {
    /// All tokens.
    pub(super) ids: &'a [u32],
    /// The positions of those whose hidden states are needed.
    pub(super) kept: &'a [usize],
}

/// The last hidden states of the kept tokens of all sequences, one row of [`WIDTH`] each.
pub(super) fn forward(weights: &Weights, sequences: &[Sequence<'_>]) -> Vec<f32> {
    let embedded = sequences.iter().map(|sequence| weights.embed(sequence.ids));
    let mut states: Vec<f32> = embedded.flatten().collect();
    weights.embedding_norm.apply(&mut states);
    let lengths: Vec<usize> = sequences
        .iter()
        .map(|sequence| sequence.ids.len())
        .collect();
    let last = weights.layers.len() - 1;
    for layer in &weights.layers[..last] {
        let context = layer.attend(&states, &lengths);
        states = layer.finish(&states, &context);
    }
    // What follows attention in the last layer is computed for the kept tokens only.
    let layer = &weights.layers[last];
    let context = layer.attend(&states, &lengths);
    layer.finish(&kept(&states, sequences), &kept(&context, sequences))
}

/// The rows of the kept tokens.
fn kept(states: &[f32], sequences: &[Sequence<'_>]) -> Vec<f32> {
    let mut rows = states.chunks_exact(WIDTH);
    let mut all = Vec::new();
    for sequence in sequences {
        let own: Vec<&[f32]> = rows.by_ref().take(sequence.ids.len()).collect();
        sequence
            .kept
            .iter()
            .for_each(|&index| all.extend_from_slice(own[index]));
    }
    all
}

impl Layer {
    /// Multi-head attention (Vaswani et al. 2017).
    fn attend(&self, states: &[f32], lengths: &[usize]) -> Vec<f32> {
        let apply = |linear: &Linear| linear.apply(states, None, Activation::Identity);
        let [queries, keys, values] = [&self.query, &self.key, &self.value].map(apply);
        let shape = Attention {
            heads: HEADS,
            key_heads: HEADS,
            head_dim: HEAD_WIDTH,
            lengths,
            causal: false,
        };
        linalg::attend(&queries, &keys, &values, shape)
    }

    /// The next states of tokens, from their states and what they attended to.
    fn finish(&self, states: &[f32], context: &[f32]) -> Vec<f32> {
        let mut states = self
            .output
            .apply(context, Some(states), Activation::Identity);
        self.attention_norm.apply(&mut states);
        let hidden = self.up.apply(&states, None, Activation::GeluErf);
        let mut next = self
            .down
            .apply(&hidden, Some(&states), Activation::Identity);
        self.output_norm.apply(&mut next);
        next
    }
}

impl Linear {
    /// `rows * weight + bias`, plus an addend.
    fn apply(&self, rows: &[f32], addend: Option<&[f32]>, activation: Activation) -> Vec<f32> {
        let epilogue = Epilogue {
            bias: [Some(&self.bias), None],
            addend,
            activation,
        };
        linalg::product(rows, &self.weight, epilogue)
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
