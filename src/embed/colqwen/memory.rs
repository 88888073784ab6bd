//! Memory estimate of a ColQwen model, from its configuration alone.
//!
//! Pages go through the model in chunks of whole pages, at most [`chunk_size`] patches (or one page, if it is larger),
//! so activations do not grow with the batch. Only the batch itself does: the pixels of its pages, on a GPU there too until the
//! batch is read, and their vectors, which are joined, copied from the device and split.

use super::shapes;
use crate::embed::Footprint;
use crate::patch::PatchSpec;
use crate::qwen::activations::{patch_floats, token_floats};
use crate::qwen::candle::SCORE_TILE;
use crate::qwen::schema::NumberBytes;
use crate::qwen::{Config, schema};

/// Chunk size on a GPU, in patches: five large pages saturate it, more would only take memory.
const GPU_CHUNK_SIZE: usize = 16_384;
/// Chunk size on the CPU, in patches: one large page.
const CPU_CHUNK_SIZE: usize = 3_072;
/// Copies of the vectors of a batch: by chunk, joined, read, and by page.
const VECTOR_COPIES: u64 = 4;
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

/// Bytes that a batch of large pages needs with ColQwen2.5, weights included.
pub fn plan_of_colqwen2_5(pages: u32, bytes: u64, is_gpu: bool) -> u64 {
    plan((&shapes::qwen2_5(), 128, 768), pages, bytes, is_gpu)
}

/// Bytes that a batch of pages needs with a backbone, a width of vectors and a number of visual tokens a page.
fn plan((config, dim, tokens): (&Config, usize, u64), pages: u32, bytes: u64, is_gpu: bool) -> u64 {
    let patches = tokens * config.vision.spatial_merge_unit() as u64;
    let side = config.vision.patch_size as u64;
    let spec = PatchSpec {
        patch: side as u32,
        ..PatchSpec::qwen(3136, patches * side * side)
    };
    let number = NumberBytes {
        matrix: 2,
        other: bytes,
    };
    let weights = schema::bytes(&schema::embedding_model(config, Some(dim)), number, None);
    let footprint = footprint((config, dim, weights), &spec, bytes, is_gpu);
    footprint.weights + footprint.fixed + footprint.per_cost * u64::from(pages) * patches
}

/// Floats of the pixels of a patch.
fn pixel_floats(config: &Config) -> u64 {
    config.vision.patch_dim() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ByteSize;

    #[test]
    fn a_batch_of_32_large_pages_fits_into_40_gb() {
        let total = plan_of_colqwen2_5(32, 2, true);
        assert!(total <= 36_000_000_000, "{}", ByteSize(total));
        assert!(total >= 8_000_000_000, "{}", ByteSize(total));
        // At their own budgets: TomoroAI's 4B, and Ops' with whole vectors.
        let qwen3 = shapes::known("Qwen3-VL-4B").unwrap();
        for dim in [320, 2560] {
            let total = plan((&qwen3, dim, 1280), 32, 2, true);
            assert!(total <= 40_000_000_000, "{}", ByteSize(total));
            assert!(total >= 12_000_000_000, "{}", ByteSize(total));
        }
    }
}
