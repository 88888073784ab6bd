//! Memory estimate of a request: KV cache and prefill. MLX's allocator refuses nothing on a CPU, so requests are checked before.

use super::super::kv_cache::KvCache;
use super::super::{Device, GenerationRequest, GeneratorConfig, Segment};
use super::prefill::PREFILL_CHUNK;
use crate::qwen::{Span, activations};

/// Bytes of a logit, an attention score or a pixel, in any dtype of the model.
const FLOAT: u64 = 4;

/// Bytes that a request takes in addition to the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestMemory {
    /// KV cache at `max_tokens`.
    pub(super) kv_cache: u64,
    /// Activations of the prefill, at their peak.
    pub(super) prefill: u64,
}

impl RequestMemory {
    /// Estimates the memory of a request whose prompt has `tokens` tokens.
    pub(super) fn of(config: &GeneratorConfig, request: &GenerationRequest, tokens: usize) -> Self {
        let (shape, dtype_bytes) = (&config.shape, config.device.bytes());
        let spans = request.segments.iter().map(Segment::span);
        let patches: Vec<u64> = spans
            .filter_map(|span| match span {
                Span::Text(_) => None,
                Span::Image(grid) => Some(grid.patches() as u64),
            })
            .collect();
        let per_patch = activations::patch_floats(shape) * dtype_bytes
            + shape.vision.patch_dim() as u64 * (FLOAT + dtype_bytes);
        let largest = patches.iter().copied().max().unwrap_or(0);
        let vision = patches.iter().sum::<u64>() * per_patch
            + attention_scores(config.device, shape.vision.num_heads, largest, largest);
        let (all, chunk) = (tokens as u64, tokens.min(PREFILL_CHUNK) as u64);
        let heads = shape.text.num_attention_heads;
        let text = chunk * activations::token_floats(shape) * dtype_bytes
            + attention_scores(config.device, heads, chunk, all)
            + shape.text.vocab_size as u64 * (FLOAT + dtype_bytes);
        // Input embeddings before and after they are put in order, and the DeepStack features.
        let deepstack = shape.vision.deepstack.as_ref();
        let features = deepstack.map_or(0, |deepstack| deepstack.layers.len());
        let embeds = all * shape.text.hidden_size as u64 * dtype_bytes * 2 * (1 + features as u64);
        Self {
            kv_cache: KvCache::bytes(&shape.text, tokens + request.max_tokens, dtype_bytes),
            prefill: embeds + vision.max(text),
        }
    }

    /// KV cache and prefill together.
    pub(super) fn total(&self) -> u64 {
        self.kv_cache + self.prefill
    }
}

/// Bytes of attention scores before and after softmax; the fused GPU kernel stores none.
fn attention_scores(device: Device, heads: usize, rows: u64, columns: u64) -> u64 {
    match device {
        Device::Gpu => 0,
        Device::Cpu | Device::CpuBf16 => 2 * heads as u64 * rows * columns * FLOAT,
    }
}
