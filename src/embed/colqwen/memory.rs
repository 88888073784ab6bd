//! Memory estimate of a ColQwen model, from its configuration alone.
//!
//! Pages go through the model in chunks of whole pages, at most [`chunk_size`] patches (or one page, if it is larger),
//! so activations do not grow with the batch. Only the batch itself does: the pixels of its pages, on a GPU there too until the
//! batch is read, and their vectors, which are joined, copied from the device and split.

use crate::embed::Footprint;
use crate::patch::PatchSpec;
use crate::qwen::activations::{patch_floats, token_floats};
use crate::qwen::candle::SCORE_TILE;
use crate::qwen::{Config, Family, Text, Vision, WindowedAttention, schema};

/// Chunk size on a GPU, in patches: five large pages saturate it, more would only take memory.
const GPU_CHUNK_SIZE: usize = 16_384;
/// Chunk size on the CPU, in patches: one large page.
const CPU_CHUNK_SIZE: usize = 3_072;
/// Copies of the vectors of a batch: by chunk, joined, read, and by page.
const VECTOR_COPIES: u64 = 4;
/// Patches of a page with 768 visual tokens.
const LARGE_PAGE: u64 = 4 * 768;
/// Allocated over live bytes: GPU allocators cache freed blocks of other sizes, up to as much as the live bytes.
const ALLOCATOR_FACTOR: u64 = 2;

/// Chunk size: patches that go through the model at a time.
pub(super) fn chunk_size(is_gpu: bool) -> usize {
    if is_gpu {
        GPU_CHUNK_SIZE
    } else {
        CPU_CHUNK_SIZE
    }
}

/// Memory footprint of a model with vectors of `dim` and `weights` bytes of weights; `bytes` is the size of its dtype.
pub(super) fn footprint(
    (config, dim, weights): (&Config, usize, u64),
    spec: &PatchSpec,
    bytes: u64,
    is_gpu: bool,
) -> Footprint {
    let page = crate::patch::Prepare::Qwen(spec.clone()).max_cost();
    let patches = page.max(chunk_size(is_gpu) as u64);
    let (vision, text) = (patch_floats(config), token_floats(config));
    // A chunk is in the vision tower or in the language model, never in both; scores and their softmax take two tiles.
    let live =
        patches * vision.max(text.div_ceil(config.vision.spatial_merge_unit() as u64)) * bytes;
    let fixed = live * ALLOCATOR_FACTOR
        + 3 * (SCORE_TILE as u64) * bytes.max(4)
        + pixel_floats(config) * patches * (4 + bytes);
    let vector = (dim * size_of::<f32>()) as u64;
    let pixel_bytes = if is_gpu { 4 + bytes } else { 4 };
    Footprint {
        weights,
        fixed,
        per_cost: pixel_floats(config) * pixel_bytes
            + (VECTOR_COPIES * vector).div_ceil(config.vision.spatial_merge_unit() as u64)
            + 1,
    }
}

/// Bytes that a batch of large pages needs with the largest known model, weights included.
pub fn largest_plan(pages: u32, bytes: u64, is_gpu: bool) -> u64 {
    let spec = PatchSpec::qwen(3136, LARGE_PAGE * 14 * 14);
    let weights = schema::bytes(&schema::embedding_model(&large(), 128), bytes, None);
    let footprint = footprint((&large(), 128, weights), &spec, bytes, is_gpu);
    footprint.weights + footprint.fixed + footprint.per_cost * u64::from(pages) * LARGE_PAGE
}

/// The shape of ColQwen2.5 on Qwen2.5-VL-3B, the largest known model.
fn large() -> Config {
    Config {
        family: Family::Qwen25,
        vision: Vision {
            depth: 32,
            hidden_size: 1280,
            intermediate_size: 3420,
            num_heads: 16,
            patch_size: 14,
            spatial_merge_size: 2,
            temporal_patch_size: 2,
            out_hidden_size: 2048,
            windows: Some(WindowedAttention {
                side: 4,
                full_layers: vec![7, 15, 23, 31],
            }),
            deepstack: None,
        },
        text: Text {
            vocab_size: 151_936,
            hidden_size: 2048,
            intermediate_size: 11_008,
            num_hidden_layers: 36,
            num_attention_heads: 16,
            num_key_value_heads: 2,
            rms_norm_eps: 1e-6,
            rope_theta: 1e6,
            mrope_section: [16, 24, 24],
            qk_norm_head_dim: None,
        },
        image_token: 151_655,
    }
}

/// Floats of the pixels of a patch.
fn pixel_floats(config: &Config) -> u64 {
    config.vision.patch_dim() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ByteSize;

    /// ColQwen2 on Qwen2-VL-2B.
    fn small() -> Config {
        let large = large();
        Config {
            family: Family::Qwen2,
            vision: Vision {
                intermediate_size: 5120,
                out_hidden_size: 1536,
                windows: None,
                ..large.vision
            },
            text: Text {
                hidden_size: 1536,
                intermediate_size: 8960,
                num_hidden_layers: 28,
                num_attention_heads: 12,
                ..large.text
            },
            ..large
        }
    }

    #[test]
    fn a_batch_of_32_large_pages_fits_into_40_gb() {
        let total = largest_plan(32, 2, true);
        assert!(total <= 36_000_000_000, "{}", ByteSize(total));
        assert!(total >= 8_000_000_000, "{}", ByteSize(total));
    }

    #[test]
    fn model_cards_state_the_parameters_of_the_schema() {
        for (model, config) in [
            ("vidore/colqwen2.5-v0.2", large()),
            ("vidore/colqwen2-v1.0", small()),
        ] {
            let known = crate::embed::models();
            let known = known.iter().find(|known| known.model == model).unwrap();
            let parameters = schema::parameters(&schema::embedding_model(&config, 128));
            assert_eq!(known.parameters, parameters, "{model}");
        }
    }
}
