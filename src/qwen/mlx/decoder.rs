//! The decoder: the language model up to its last hidden states, for packed sequences or with a KV cache.

use mlx_rs::Array;
use mlx_rs::fast::{
    ScaledDotProductAttentionMask as Mask, rope_dynamic, scaled_dot_product_attention,
};
use mlx_rs::ops::concatenate;

use super::Error;
use super::attention::{RotaryEmbedding, attend};
use super::hooks::Hook;
use super::kv_cache::KvCache;
use super::layers::{Linear, Matrix, Mlp, Norm, Result, size};
use super::weights::Weights;
use crate::qwen::{PackedSequences, Text};

/// The decoder; fields have the checkpoint's names.
pub(super) struct Decoder {
    embed_tokens: Matrix,
    layers: Vec<Layer>,
    norm: Norm,
    rope_theta: f32,
}

/// The input of the language model.
pub(super) struct InputEmbeds {
    /// Token and visual embeddings in order, (tokens, hidden_size).
    pub(super) embeds: Array,
    /// DeepStack features, added after the first layers, (tokens, hidden_size) each; zero for text.
    pub(super) deepstack: Vec<Array>,
}

struct Layer {
    input_layernorm: Norm,
    post_attention_layernorm: Norm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    /// Norms of queries and keys; `None` before Qwen3.
    qk_norm: Option<[Norm; 2]>,
    mlp: Mlp,
    head_dim: i32,
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
            rope_theta: config.rope_theta as f32,
        })
    }

    /// Token embeddings, (tokens, hidden_size).
    pub(super) fn embed(&self, tokens: &Array) -> Result<Array> {
        self.embed_tokens.rows(tokens)
    }

    /// Logits of hidden states with the token embeddings as LM head, (rows, vocabulary).
    pub(super) fn tied_logits(&self, hidden: &Array) -> Result<Array> {
        self.embed_tokens.matmul(hidden)
    }

    /// Processes the next tokens of one sequence, (tokens, hidden_size), after those in its cache; returns their hidden
    /// states. `deepstack` features, of the same shape, are added after the first layers.
    pub(super) fn prefill(
        &self,
        mut x: Array,
        deepstack: &[Array],
        rotary: &RotaryEmbedding,
        cache: &mut KvCache,
    ) -> Result<Array> {
        let count = size(&x, 0);
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, |[q, k, v]| {
                // (1, heads, tokens, head_dim)
                let heads = |x: &Array| x.transpose_axes(&[1, 0, 2])?.expand_dims(0);
                let (q, k) = (heads(&rotary.apply(&q)?)?, heads(&rotary.apply(&k)?)?);
                let cached = cache.update(index, [&k, &heads(&v)?])?;
                let output = attend_cached(&q, &cached, Some(Mask::Causal))?;
                output.transpose_axes(&[0, 2, 1, 3])?.reshape(&[count, -1])
            })?;
            if let Some(features) = deepstack.get(index) {
                x = x.add(features)?;
            }
        }
        cache.advance(count);
        self.norm.forward(&x)
    }

    /// Processes one more token of each of several sequences, (sequences, hidden_size), at its own position; returns their
    /// hidden states. After the prompt the three components of a position id are equal, so one-dimensional RoPE suffices.
    pub(super) fn decode(
        &self,
        mut x: Array,
        position_ids: &[i32],
        caches: &mut [&mut KvCache],
    ) -> Result<Array> {
        let count = position_ids.len() as i32;
        let position_ids = Array::from_slice(position_ids, &[count]);
        for (index, layer) in self.layers.iter().enumerate() {
            let base = self.rope_theta;
            let rope = |x: &Array| {
                let x = x.reshape(&[count, -1, 1, layer.head_dim])?;
                rope_dynamic(x, layer.head_dim, false, base, 1.0, &position_ids, None)
            };
            x = layer.forward(&x, |[q, k, v]| {
                let (q, k) = (rope(&q)?, rope(&k)?);
                let v = v.reshape(&[count, -1, 1, layer.head_dim])?;
                let split = |x: Array| x.split_equal(count, 0);
                let mut outputs = Vec::with_capacity(caches.len());
                for (((q, k), v), cache) in split(q)?
                    .iter()
                    .zip(&split(k)?)
                    .zip(&split(v)?)
                    .zip(&mut *caches)
                {
                    let cached = cache.update(index, [k, v])?;
                    outputs.push(attend_cached(q, &cached, None)?);
                }
                concatenate(&outputs, 0)?.reshape(&[count, -1])
            })?;
        }
        caches.iter_mut().for_each(|cache| cache.advance(1));
        self.norm.forward(&x)
    }

    /// Processes packed sequences without a cache; returns their hidden states, (tokens, hidden_size).
    pub(super) fn forward(
        &self,
        inputs: InputEmbeds,
        rotary: &RotaryEmbedding,
        sequences: &PackedSequences,
        hook: Hook,
    ) -> Result<Array> {
        let mut x = inputs.embeds;
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, |[q, k, v]| {
                attend([&rotary.apply(&q)?, &rotary.apply(&k)?, &v], sequences)
            })?;
            hook("lm.layer", index, &x)?;
            if let Some(features) = inputs.deepstack.get(index) {
                x = x.add(features)?;
            }
        }
        let x = self.norm.forward(&x)?;
        hook("lm.norm", 0, &x)?;
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
            mlp: Mlp::Gated {
                gate: linear("mlp.gate_proj", false)?,
                up: linear("mlp.up_proj", false)?,
                down: linear("mlp.down_proj", false)?,
            },
            head_dim: config.head_dim() as i32,
        })
    }

    /// From (rows, hidden_size) to the same shape; `attention` maps queries, keys and values, (rows, heads, head_dim), to
    /// (rows, heads * head_dim).
    fn forward(
        &self,
        x: &Array,
        attention: impl FnOnce([Array; 3]) -> Result<Array>,
    ) -> Result<Array> {
        let y = self.input_layernorm.forward(x)?;
        let heads = |linear: &Linear| {
            linear
                .forward(&y)?
                .reshape(&[size(x, 0), -1, self.head_dim])
        };
        let (mut q, mut k) = (heads(&self.q_proj)?, heads(&self.k_proj)?);
        if let Some([q_norm, k_norm]) = &self.qk_norm {
            (q, k) = (q_norm.forward(&q)?, k_norm.forward(&k)?);
        }
        let output = attention([q, k, heads(&self.v_proj)?])?;
        let x = x.add(self.o_proj.forward(&output)?)?;
        let y = self.post_attention_layernorm.forward(&x)?;
        x.add(self.mlp.forward(&y)?)
    }
}

/// Attention of new tokens, (1, heads, new, head_dim), to all tokens in a cache, (1, num_key_value_heads, all, head_dim).
fn attend_cached(q: &Array, [k, v]: &[Array; 2], mask: Option<Mask>) -> Result<Array> {
    let scale = 1.0 / (size(q, 3) as f32).sqrt();
    scaled_dot_product_attention(q, k, v, scale, mask, None)
}
