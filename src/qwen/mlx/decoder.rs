//! The language model of the families: a decoder, read to its last layer, at once or token by token.

use mlx_rs::Array;
use mlx_rs::fast::{
    ScaledDotProductAttentionMask as Mask, rope_dynamic, scaled_dot_product_attention,
};
use mlx_rs::ops::concatenate;

use super::Error;
use super::attention::{Turns, attend};
use super::hooks::Hook;
use super::kv_cache::Cache;
use super::layers::{Linear, Matrix, Mlp, Norm, Result, size};
use super::weights::Weights;
use crate::qwen::{PackedSequences, Text};

/// The decoder; fields carry the checkpoint's names.
pub(super) struct Decoder {
    embed_tokens: Matrix,
    layers: Vec<Layer>,
    norm: Norm,
    rope_theta: f32,
}

struct Layer {
    input_layernorm: Norm,
    post_attention_layernorm: Norm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    /// Of queries and keys, in Qwen3.
    normed: Option<[Norm; 2]>,
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

    /// The rows of the embedding table for some tokens.
    pub(super) fn embed(&self, tokens: &Array) -> Result<Array> {
        self.embed_tokens.rows(tokens)
    }

    /// The scores of all words behind some rows, by the table, (rows, words).
    pub(super) fn tied_logits(&self, rows: &Array) -> Result<Array> {
        self.embed_tokens.product(rows)
    }

    /// Reads the next tokens of one sequence, (rows, width), behind those in its cache; what is `deepstack`, of the same shape,
    /// is added behind the first layers.
    pub(super) fn follow(
        &self,
        mut x: Array,
        deepstack: &[Array],
        turns: &Turns,
        cache: &mut Cache,
    ) -> Result<Array> {
        let count = size(&x, 0);
        for (number, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, |[q, k, v]| {
                // (1, heads, rows, head)
                let heads = |x: &Array| x.transpose_axes(&[1, 0, 2])?.expand_dims(0);
                let (q, k) = (heads(&turns.rotate(&q)?)?, heads(&turns.rotate(&k)?)?);
                let kept = cache.add(number, [&k, &heads(&v)?])?;
                let seen = look(&q, &kept, Some(Mask::Causal))?;
                seen.transpose_axes(&[0, 2, 1, 3])?.reshape(&[count, -1])
            })?;
            if let Some(deepstack) = deepstack.get(number) {
                x = x.add(deepstack)?;
            }
        }
        cache.advance(count);
        self.norm.forward(&x)
    }

    /// Reads one more token of each of several sequences, (sequences, width), at a place of its own. Behind the prompt
    /// all three axes of a place are equal, so that one plain rotation does.
    pub(super) fn step(
        &self,
        mut x: Array,
        places: &[i32],
        caches: &mut [&mut Cache],
    ) -> Result<Array> {
        let count = places.len() as i32;
        let places = Array::from_slice(places, &[count]);
        for (number, layer) in self.layers.iter().enumerate() {
            let base = self.rope_theta;
            let turn = |x: &Array| {
                let x = x.reshape(&[count, -1, 1, layer.head_dim])?;
                rope_dynamic(x, layer.head_dim, false, base, 1.0, &places, None)
            };
            x = layer.forward(&x, |[q, k, v]| {
                let (q, k) = (turn(&q)?, turn(&k)?);
                let v = v.reshape(&[count, -1, 1, layer.head_dim])?;
                let each = |x: Array| x.split_equal(count, 0);
                let mut seen = Vec::with_capacity(caches.len());
                for (((q, k), v), cache) in each(q)?
                    .iter()
                    .zip(&each(k)?)
                    .zip(&each(v)?)
                    .zip(&mut *caches)
                {
                    let kept = cache.add(number, [k, v])?;
                    seen.push(look(q, &kept, None)?);
                }
                concatenate(&seen, 0)?.reshape(&[count, -1])
            })?;
        }
        caches.iter_mut().for_each(|cache| cache.advance(1));
        self.norm.forward(&x)
    }

    /// Reads packed sequences of embedded tokens, (rows, width).
    pub(super) fn forward(
        &self,
        mut x: Array,
        turns: &Turns,
        packed: &PackedSequences,
        hook: Hook,
    ) -> Result<Array> {
        for (number, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, |[q, k, v]| {
                attend([&turns.rotate(&q)?, &turns.rotate(&k)?, &v], packed)
            })?;
            hook("lm.layer", number, &x)?;
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
        let normed = match config.qk_norm_head_dim {
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
            normed,
            mlp: Mlp::Gated {
                gate: linear("mlp.gate_proj", false)?,
                up: linear("mlp.up_proj", false)?,
                down: linear("mlp.down_proj", false)?,
            },
            head_dim: config.head_dim() as i32,
        })
    }

    /// From (rows, width) to (rows, width); `attention` is given queries, keys and values, (rows, heads, head).
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
        if let Some([by_q, by_k]) = &self.normed {
            (q, k) = (by_q.forward(&q)?, by_k.forward(&k)?);
        }
        let seen = attention([q, k, heads(&self.v_proj)?])?;
        let x = x.add(self.o_proj.forward(&seen)?)?;
        let y = self.post_attention_layernorm.forward(&x)?;
        x.add(self.mlp.forward(&y)?)
    }
}

/// Attention of new tokens, (1, heads, new, head), to all that are kept, (1, key heads, all, head).
fn look(q: &Array, [k, v]: &[Array; 2], mask: Option<Mask>) -> Result<Array> {
    let scale = 1.0 / (size(q, 3) as f32).sqrt();
    scaled_dot_product_attention(q, k, v, scale, mask, None)
}
