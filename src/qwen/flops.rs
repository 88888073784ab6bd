//! Floating-point operations of a page, from the shape of a model alone.

use super::config::Config;
use super::schema;
use crate::patch::PatchGrid;

/// Floating-point operations of embedding a page with this grid and `rows` tokens, a multiply-add counted as two. Those that a
/// causal mask drops are not counted, nor is what is not a matrix product.
pub fn page(config: &Config, grid: PatchGrid, rows: usize, projection: Option<usize>) -> u64 {
    let (patches, tokens) = (grid.patches() as u64, grid.tokens() as u64);
    let linear = |(name, shape): &(String, Vec<usize>)| {
        let count = shape.iter().product::<usize>() as u64;
        let inputs = match name.split('.').collect::<Vec<_>>()[..] {
            ["visual", "pos_embed", ..] | ["language_model", "embed_tokens", ..] => 0,
            _ if shape.len() < 2 => 0,
            ["visual", "merger" | "deepstack_merger_list", ..] => tokens,
            ["visual", ..] => patches,
            _ => rows as u64,
        };
        2 * count * inputs
    };
    let schema = schema::embedding_model(config, projection);
    let linears: u64 = schema.iter().map(linear).sum();
    linears + vision_attention(config, patches) + text_attention(config, rows as u64)
}

/// Scores and weighted sums of all layers of the vision tower.
fn vision_attention(config: &Config, patches: u64) -> u64 {
    let vision = &config.vision;
    let keys = |layer| match &vision.windows {
        Some(windows) if !vision.is_full_attention(layer) => {
            (windows.side * windows.side * vision.spatial_merge_unit()) as u64
        }
        _ => patches,
    };
    let keys: u64 = (0..vision.depth).map(keys).sum();
    4 * patches * keys * vision.hidden_size as u64
}

/// Scores and weighted sums of all layers of the language model.
fn text_attention(config: &Config, rows: u64) -> u64 {
    let text = &config.text;
    let width = (text.num_hidden_layers * text.num_attention_heads * text.head_dim()) as u64;
    4 * rows * rows * width / if text.causal { 2 } else { 1 }
}
