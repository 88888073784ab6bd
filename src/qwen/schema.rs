//! Every tensor that a model needs, by its canonical name: what a checkpoint is checked against before any is loaded,
//! and how many parameters a model has before any is downloaded.

use super::config::{Config, Family};
use crate::checkpoint::Schema;

/// Names and shapes of the tensors of a model that makes vectors of `dim` numbers.
pub fn vectors(config: &Config, dim: usize) -> Schema {
    let mut list = List::both(config);
    list.linear("custom_text_proj", config.text.hidden_size, dim, true);
    list.0
}

/// Names and shapes of the tensors of a model that makes words; where it is `tied`, its table of words is the head.
pub fn words(config: &Config, tied: bool) -> Schema {
    let (width, count) = (config.text.hidden_size, config.text.vocab_size);
    let mut list = List::both(config);
    if !tied {
        list.linear("lm_head", width, count, false);
    }
    list.0
}

/// How many parameters a model has.
pub fn parameters(schema: &Schema) -> u64 {
    let count = |shape: &Vec<usize>| shape.iter().product::<usize>() as u64;
    schema.iter().map(|(_, shape)| count(shape)).sum()
}

struct List(Schema);

impl List {
    fn both(config: &Config) -> Self {
        let mut list = Self(Vec::new());
        list.vision(config);
        list.text(config);
        list
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
        let old = config.family == Family::Qwen2;
        for layer in 0..v.depth {
            let block = format!("visual.blocks.{layer}");
            self.norm(&format!("{block}.norm1"), width, old);
            self.norm(&format!("{block}.norm2"), width, old);
            self.linear(&format!("{block}.attn.qkv"), width, 3 * width, true);
            self.linear(&format!("{block}.attn.proj"), width, width, true);
            if old {
                self.linear(&format!("{block}.mlp.fc1"), width, inter, true);
                self.linear(&format!("{block}.mlp.fc2"), inter, width, true);
            } else {
                self.linear(&format!("{block}.mlp.gate_proj"), width, inter, true);
                self.linear(&format!("{block}.mlp.up_proj"), width, inter, true);
                self.linear(&format!("{block}.mlp.down_proj"), inter, width, true);
            }
        }
        let merged = width * v.unit();
        self.norm("visual.merger.ln_q", width, old);
        self.linear("visual.merger.mlp.0", merged, merged, true);
        self.linear("visual.merger.mlp.2", merged, v.out_hidden_size, true);
    }

    fn text(&mut self, config: &Config) {
        let t = &config.text;
        let (width, inter) = (t.hidden_size, t.intermediate_size);
        let narrow = t.head() * t.num_key_value_heads;
        let table = [t.vocab_size, width];
        self.push("language_model.embed_tokens.weight".to_owned(), &table);
        for layer in 0..t.num_hidden_layers {
            let layer = format!("language_model.layers.{layer}");
            self.norm(&format!("{layer}.input_layernorm"), width, false);
            self.norm(&format!("{layer}.post_attention_layernorm"), width, false);
            self.linear(&format!("{layer}.self_attn.q_proj"), width, width, true);
            self.linear(&format!("{layer}.self_attn.k_proj"), width, narrow, true);
            self.linear(&format!("{layer}.self_attn.v_proj"), width, narrow, true);
            self.linear(&format!("{layer}.self_attn.o_proj"), width, width, false);
            self.linear(&format!("{layer}.mlp.gate_proj"), width, inter, false);
            self.linear(&format!("{layer}.mlp.up_proj"), width, inter, false);
            self.linear(&format!("{layer}.mlp.down_proj"), inter, width, false);
        }
        self.norm("language_model.norm", width, false);
    }
}
