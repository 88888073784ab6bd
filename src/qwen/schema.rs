//! Tensor schemas: canonical names and shapes of all tensors of a model. A checkpoint is checked against them before
//! it is loaded, and they give the number of parameters before anything is downloaded.

use super::config::{Config, Family, Vision};
use crate::checkpoint::{Quantization, Schema};

/// Name of the projection of hidden states to vectors.
pub const PROJECTION: &str = "custom_text_proj";

/// The schema of a model that projects hidden states to vectors; `projection` is the width of the projection, if it has one.
pub fn embedding_model(config: &Config, projection: Option<usize>) -> Schema {
    let mut builder = SchemaBuilder::towers(config);
    if let Some(width) = projection {
        builder.linear(PROJECTION, config.text.hidden_size, width, true);
    }
    builder.0
}

/// The schema of a model with an LM head; if `tie_word_embeddings`, the token embeddings are the head.
pub fn language_model(config: &Config, tie_word_embeddings: bool) -> Schema {
    let (width, count) = (config.text.hidden_size, config.text.vocab_size);
    let mut builder = SchemaBuilder::towers(config);
    if !tie_word_embeddings {
        builder.linear("lm_head", width, count, false);
    }
    builder.0
}

/// Number of parameters of a model.
pub fn parameters(schema: &Schema) -> u64 {
    let count = |shape: &Vec<usize>| shape.iter().product::<usize>() as u64;
    schema.iter().map(|(_, shape)| count(shape)).sum()
}

/// Bytes of the numbers of a model in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberBytes {
    /// Of a number of a matrix.
    pub matrix: u64,
    /// Of any other.
    pub other: u64,
}

/// Bytes of a model. With a `quantization`, the matrices of its language model are quantized, each group with a scale and a
/// bias, as by MLX's converter.
pub fn bytes(schema: &Schema, number: NumberBytes, quantization: Option<Quantization>) -> u64 {
    let tensor = |(name, shape): &(String, Vec<usize>)| {
        let count = shape.iter().product::<usize>() as u64;
        match quantization.filter(|_| name.starts_with("language_model.") && shape.len() == 2) {
            Some(Quantization { bits, group_size }) => {
                count * bits as u64 / 8 + 2 * count / group_size.max(1) as u64 * number.other
            }
            None if shape.len() > 1 => count * number.matrix,
            None => count * number.other,
        }
    };
    schema.iter().map(tensor).sum()
}

/// Collects the tensors of a model.
struct SchemaBuilder(Schema);

impl SchemaBuilder {
    fn towers(config: &Config) -> Self {
        let mut builder = Self(Vec::new());
        builder.vision(config);
        builder.text(config);
        builder
    }

    fn push(&mut self, name: String, shape: &[usize]) {
        self.0.push((name, shape.to_vec()));
    }

    fn linear(&mut self, name: &str, from: usize, to: usize, bias: bool) {
        self.push(format!("{name}.weight"), &[to, from]);
        if bias {
            self.push(format!("{name}.bias"), &[to]);
        }
    }

    fn norm(&mut self, name: &str, width: usize, bias: bool) {
        self.push(format!("{name}.weight"), &[width]);
        if bias {
            self.push(format!("{name}.bias"), &[width]);
        }
    }

    fn vision(&mut self, config: &Config) {
        let v = &config.vision;
        let (width, inter, side) = (v.hidden_size, v.intermediate_size, v.patch_size);
        let patch = [width, 3, v.temporal_patch_size, side, side];
        self.push("visual.patch_embed.proj.weight".to_owned(), &patch);
        // Layer norms have a bias, RMS norms do not.
        let layer_norm = config.family != Family::Qwen25;
        for layer in 0..v.depth {
            let block = format!("visual.blocks.{layer}");
            self.norm(&format!("{block}.norm1"), width, layer_norm);
            self.norm(&format!("{block}.norm2"), width, layer_norm);
            self.linear(&format!("{block}.attn.qkv"), width, 3 * width, true);
            self.linear(&format!("{block}.attn.proj"), width, width, true);
            let (up, down): (&[&str], _) = match config.family {
                Family::Qwen2 => (&["fc1"], "fc2"),
                Family::Qwen25 => (&["gate_proj", "up_proj"], "down_proj"),
                Family::Qwen3 => (&["linear_fc1"], "linear_fc2"),
            };
            for part in up {
                self.linear(&format!("{block}.mlp.{part}"), width, inter, true);
            }
            self.linear(&format!("{block}.mlp.{down}"), inter, width, true);
        }
        let Some(deepstack) = &v.deepstack else {
            return self.merger("visual.merger", ["ln_q", "mlp.0", "mlp.2"], v, layer_norm);
        };
        self.push("visual.patch_embed.proj.bias".to_owned(), &[width]);
        let table = [deepstack.grid_side * deepstack.grid_side, width];
        self.push("visual.pos_embed.weight".to_owned(), &table);
        let parts = ["norm", "linear_fc1", "linear_fc2"];
        self.merger("visual.merger", parts, v, true);
        for index in 0..deepstack.layers.len() {
            let name = format!("visual.deepstack_merger_list.{index}");
            self.merger(&name, parts, v, true);
        }
    }

    /// A patch merger; those of DeepStack normalise the joined token instead of its patches.
    fn merger(&mut self, name: &str, parts: [&str; 3], vision: &Vision, layer_norm: bool) {
        let merged = vision.hidden_size * vision.spatial_merge_unit();
        let norm_width = match name.contains("deepstack") {
            true => merged,
            false => vision.hidden_size,
        };
        let [norm, first, second] = parts.map(|part| format!("{name}.{part}"));
        self.norm(&norm, norm_width, layer_norm);
        self.linear(&first, merged, merged, true);
        self.linear(&second, merged, vision.out_hidden_size, true);
    }

    fn text(&mut self, config: &Config) {
        let t = &config.text;
        let (width, inter) = (t.hidden_size, t.intermediate_size);
        let (query_width, key_width) = (
            t.head_dim() * t.num_attention_heads,
            t.head_dim() * t.num_key_value_heads,
        );
        let bias = t.qk_norm_head_dim.is_none();
        let table = [t.vocab_size, width];
        self.push("language_model.embed_tokens.weight".to_owned(), &table);
        for layer in 0..t.num_hidden_layers {
            let layer = format!("language_model.layers.{layer}");
            self.norm(&format!("{layer}.input_layernorm"), width, false);
            self.norm(&format!("{layer}.post_attention_layernorm"), width, false);
            self.linear(
                &format!("{layer}.self_attn.q_proj"),
                width,
                query_width,
                bias,
            );
            self.linear(&format!("{layer}.self_attn.k_proj"), width, key_width, bias);
            self.linear(&format!("{layer}.self_attn.v_proj"), width, key_width, bias);
            self.linear(
                &format!("{layer}.self_attn.o_proj"),
                query_width,
                width,
                false,
            );
            if let Some(head_dim) = t.qk_norm_head_dim {
                self.norm(&format!("{layer}.self_attn.q_norm"), head_dim, false);
                self.norm(&format!("{layer}.self_attn.k_norm"), head_dim, false);
            }
            self.linear(&format!("{layer}.mlp.gate_proj"), width, inter, false);
            self.linear(&format!("{layer}.mlp.up_proj"), width, inter, false);
            self.linear(&format!("{layer}.mlp.down_proj"), inter, width, false);
        }
        self.norm("language_model.norm", width, false);
    }
}
