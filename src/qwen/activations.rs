//! Activation memory: floats that a model holds while it computes, from its shape alone.

use super::config::Config;

/// Floats held per patch inside a layer of the vision tower: the larger of attention and MLP.
/// Attention: residual and norm, q, k and v, one of them in f32 before and after rotation, all three by sequence and head, the
/// residual in another order, the output twice. MLP: residual and norm, gate, its SiLU, up, and their product.
pub fn patch_floats(config: &Config) -> u64 {
    let v = &config.vision;
    let attention = (2 + 3 + 4 + 3 + 1 + 2) * v.hidden_size;
    let mlp = 2 * v.hidden_size + 4 * v.intermediate_size;
    (attention.max(mlp) + deepstack_floats(config).div_ceil(v.spatial_merge_unit())) as u64
}

/// Floats held per token inside a layer of the language model: the larger of attention and MLP.
pub fn token_floats(config: &Config) -> u64 {
    let t = &config.text;
    let heads = t.head_dim() * t.num_attention_heads;
    let attention = 2 * t.hidden_size + 8 * heads;
    let mlp = 3 * t.hidden_size + 4 * t.intermediate_size;
    (attention.max(mlp) + deepstack_floats(config)) as u64
}

/// Floats of the DeepStack features of a token.
fn deepstack_floats(config: &Config) -> usize {
    let layers = config.vision.deepstack.as_ref();
    layers.map_or(0, |deepstack| deepstack.layers.len()) * config.text.hidden_size
}
