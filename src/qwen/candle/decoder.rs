//! The decoder: the language model up to its last hidden states, without LM head or KV cache.

use candle_core::{DType, Result, Tensor};
use candle_nn::{Embedding, Module, RmsNorm};

use super::Hook;
use super::attention::attend;
use super::device::Error;
use super::layers::{GatedMlp, Linear};
use super::rotary::RotaryEmbedding;
use super::weights::Weights;
use crate::qwen::{PackedSequences, Text};

/// The decoder; fields have the checkpoint's names.
pub(super) struct Decoder {
    embed_tokens: Embedding,
    dtype: DType,
    layers: Vec<Layer>,
    norm: RmsNorm,
}

/// The input of the language model.
pub(super) struct InputEmbeds {
    /// Token and visual embeddings in order, (tokens, hidden_size).
    pub(super) embeds: Tensor,
    /// DeepStack features, added after the first layers, (tokens, hidden_size) each; zero for text.
    pub(super) deepstack: Vec<Tensor>,
}

struct Layer {
    input_layernorm: RmsNorm,
    post_attention_layernorm: RmsNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    /// Norms of queries and keys; `None` before Qwen3.
    qk_norm: Option<[RmsNorm; 2]>,
    mlp: GatedMlp,
    head_dim: usize,
}

impl Decoder {
    pub(super) fn load(weights: &Weights, config: &Text) -> std::result::Result<Self, Error> {
        let table = weights.matrix("language_model.embed_tokens.weight")?;
        let load = |layer| Layer::load(weights, config, layer);
        Ok(Self {
            embed_tokens: Embedding::new(table, config.hidden_size),
            dtype: weights.device().dtype,
            layers: (0..config.num_hidden_layers)
                .map(load)
                .collect::<std::result::Result<_, _>>()?,
            norm: weights.rms_norm("language_model.norm", config.rms_norm_eps)?,
        })
    }

    /// Token embeddings, (tokens, hidden_size).
    pub(super) fn embed(&self, tokens: &[u32]) -> Result<Tensor> {
        let device = self.embed_tokens.embeddings().device();
        let embeds = self.embed_tokens.forward(&Tensor::new(tokens, device)?)?;
        embeds.to_dtype(self.dtype)
    }

    /// Processes packed sequences; returns their hidden states, (tokens, hidden_size).
    pub(super) fn forward(
        &self,
        inputs: InputEmbeds,
        rotary: &RotaryEmbedding,
        sequences: &PackedSequences,
        hook: Hook,
    ) -> Result<Tensor> {
        let mut x = inputs.embeds;
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, rotary, sequences)?;
            hook("lm.layer", index, &x);
            if let Some(features) = inputs.deepstack.get(index) {
                x = (x + features)?;
            }
        }
        let x = self.norm.forward(&x)?;
        hook("lm.norm", 0, &x);
        Ok(x)
    }
}

impl Layer {
    fn load(weights: &Weights, config: &Text, layer: usize) -> std::result::Result<Self, Error> {
        let name = |part: &str| format!("language_model.layers.{layer}.{part}");
        let norm = |part: &str| weights.rms_norm(&name(part), config.rms_norm_eps);
        let linear = |part: &str, bias| weights.linear(&name(part), bias);
        let bias = config.qk_norm_head_dim.is_none();
        let qk_norm = match config.qk_norm_head_dim {
            None => None,
            Some(_) => Some([norm("self_attn.q_norm")?, norm("self_attn.k_norm")?]),
        };
        Ok(Self {
            input_layernorm: norm("input_layernorm")?,
            post_attention_layernorm: norm("post_attention_layernorm")?,
            q_proj: linear("self_attn.q_proj", bias)?,
            k_proj: linear("self_attn.k_proj", bias)?,
            v_proj: linear("self_attn.v_proj", bias)?,
            o_proj: linear("self_attn.o_proj", false)?,
            qk_norm,
            mlp: weights.gated_mlp(&name("mlp"), false)?,
            head_dim: config.head_dim(),
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        rotary: &RotaryEmbedding,
        sequences: &PackedSequences,
    ) -> Result<Tensor> {
        let output = self.attention(&self.input_layernorm.forward(x)?, rotary, sequences)?;
        let x = self.o_proj.forward_add(&output, x)?;
        let y = self.post_attention_layernorm.forward(&x)?;
        self.mlp.forward_add(&y, &x)
    }

    fn attention(
        &self,
        x: &Tensor,
        rotary: &RotaryEmbedding,
        sequences: &PackedSequences,
    ) -> Result<Tensor> {
        let rows = x.dim(0)?;
        let heads = |linear: &Linear| linear.forward(x)?.reshape((rows, (), self.head_dim));
        let (mut q, mut k) = (heads(&self.q_proj)?, heads(&self.k_proj)?);
        if let Some([q_norm, k_norm]) = &self.qk_norm {
            (q, k) = (q_norm.forward(&q)?, k_norm.forward(&k)?);
        }
        let (q, k) = (rotary.apply(q)?, rotary.apply(k)?);
        attend([&q, &k, &heads(&self.v_proj)?], sequences)
    }
}
