//! How much memory a question takes beside the model. MLX's allocator refuses nothing on a CPU, so we do it before.

use super::super::kv_cache::Cache;
use super::super::{Device, GenerationRequest, GeneratorConfig, Segment};
use super::model::STRETCH;
use crate::qwen::{Span, activations};

/// Bytes of a number in scores and in pixels, whatever the rest is computed in.
const FLOAT: u64 = 4;

/// Bytes that a question takes beside the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// From its first token to its last: keys and values.
    pub(super) kept: u64,
    /// While it is read.
    pub(super) reading: u64,
}

impl Need {
    /// What a question of so many tokens takes.
    pub(super) fn of(
        config: &GeneratorConfig,
        question: &GenerationRequest,
        tokens: usize,
    ) -> Self {
        let (shape, number) = (&config.shape, config.device.bytes());
        let spans = question.segments.iter().map(Segment::span);
        let patches: Vec<u64> = spans
            .filter_map(|span| match span {
                Span::Text(_) => None,
                Span::Image(grid) => Some(grid.patches() as u64),
            })
            .collect();
        let each = activations::patch_floats(shape) * number
            + shape.vision.patch_dim() as u64 * (FLOAT + number);
        let largest = patches.iter().copied().max().unwrap_or(0);
        let seeing = patches.iter().sum::<u64>() * each
            + scores(config.device, shape.vision.num_heads, largest, largest);
        let (all, stretch) = (tokens as u64, tokens.min(STRETCH) as u64);
        let following = stretch * activations::token_floats(shape) * number
            + scores(config.device, shape.text.num_attention_heads, stretch, all)
            + shape.text.vocab_size as u64 * (FLOAT + number);
        // The rows of words and pictures before they are put in order and behind that, and what goes beside them.
        let beside = shape
            .vision
            .deepstack
            .as_ref()
            .map_or(0, |deepstack| deepstack.layers.len());
        let rows = all * shape.text.hidden_size as u64 * number * 2 * (1 + beside as u64);
        Self {
            kept: Cache::bytes(&shape.text, tokens + question.max_tokens, number),
            reading: rows + seeing.max(following),
        }
    }
}

/// Scores of attention and what becomes of them; the kernel of a GPU keeps none.
fn scores(device: Device, heads: usize, rows: u64, columns: u64) -> u64 {
    match device {
        Device::Gpu => 0,
        Device::Cpu | Device::CpuBf16 => 2 * heads as u64 * rows * columns * FLOAT,
    }
}
