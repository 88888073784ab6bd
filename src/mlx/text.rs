//! The language model of the Qwen2 families: a decoder, read to its last layer.

use mlx_rs::Array;

use super::Error;
use super::attention::{Turns, attend};
use super::layers::{Linear, Matrix, Mlp, Norm, Result, size};
use super::reader::Watch;
use super::weights::Weights;
use crate::qwen::{Sight, Text};

/// The decoder; fields carry the checkpoint's names.
pub(super) struct Decoder {
    embed_tokens: Matrix,
    layers: Vec<Layer>,
    norm: Norm,
}

struct Layer {
    input_layernorm: Norm,
    post_attention_layernorm: Norm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    mlp: Mlp,
    head: i32,
}

impl Decoder {
    pub(super) fn load(weights: &Weights, config: &Text) -> std::result::Result<Self, Error> {
        let load = |layer| Layer::load(weights, config, layer);
        Ok(Self {
            embed_tokens: weights.matrix("language_model.embed_tokens")?,
            layers: (0..config.num_hidden_layers)
                .map(load)
                .collect::<std::result::Result<_, _>>()?,
            norm: weights.rms_norm("language_model.norm", config.rms_norm_eps)?,
        })
    }

    /// The rows of the embedding table for some tokens.
    pub(super) fn embed(&self, tokens: &[u32]) -> Result<Array> {
        self.embed_tokens.rows(tokens)
    }

    /// Reads packed sequences of embedded tokens, (rows, width).
    pub(super) fn forward(
        &self,
        mut x: Array,
        turns: &Turns,
        sight: &Sight,
        watch: Watch,
    ) -> Result<Array> {
        for (number, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, turns, sight)?;
            watch("lm.layer", number, &x)?;
        }
        let x = self.norm.forward(&x)?;
        watch("lm.norm", 0, &x)?;
        Ok(x)
    }
}

impl Layer {
    fn load(weights: &Weights, config: &Text, layer: usize) -> std::result::Result<Self, Error> {
        let name = |part: &str| format!("language_model.layers.{layer}.{part}");
        let norm = |part: &str| weights.rms_norm(&name(part), config.rms_norm_eps);
        let linear = |part: &str, bias| weights.linear(&name(part), bias);
        Ok(Self {
            input_layernorm: norm("input_layernorm")?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            q_proj: linear("self_attn.q_proj", true)?,
            k_proj: linear("self_attn.k_proj", true)?,
            v_proj: linear("self_attn.v_proj", true)?,
            o_proj: linear("self_attn.o_proj", false)?,
            mlp: Mlp::Gated {
                gate: linear("mlp.gate_proj", false)?,
                up: linear("mlp.up_proj", false)?,
                down: linear("mlp.down_proj", false)?,
            },
            head: config.head() as i32,
        })
    }

    fn forward(&self, x: &Array, turns: &Turns, sight: &Sight) -> Result<Array> {
        let x = x.add(self.attention(&self.input_layernorm.forward(x)?, turns, sight)?)?;
        let y = self.post_attention_layernorm.forward(&x)?;
        x.add(self.mlp.forward(&y)?)
    }

    fn attention(&self, x: &Array, turns: &Turns, sight: &Sight) -> Result<Array> {
        let heads = |linear: &Linear| linear.forward(x)?.reshape(&[size(x, 0), -1, self.head]);
        let q = turns.rotate(&heads(&self.q_proj)?)?;
        let k = turns.rotate(&heads(&self.k_proj)?)?;
        let seen = attend([&q, &k, &heads(&self.v_proj)?], sight)?;
        self.o_proj.forward(&seen)
    }
}
