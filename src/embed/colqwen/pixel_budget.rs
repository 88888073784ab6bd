//! The pixel budget of a ColQwen.

use crate::checkpoint::{Error, Json};
use crate::patch::PatchSpec;
use crate::qwen::{Vision, image_processor};

/// Visual tokens of a page, where nothing is said: what ColQwen2.5 was trained with.
const VISUAL_TOKENS: u32 = 768;

/// How a checkpoint wants its pages; `tokens` overrides its budget. That of plain Qwen checkpoints counts as none: no
/// ColQwen was trained with it.
pub(super) fn read(
    json: Option<&Json>,
    vision: &Vision,
    tokens: Option<u32>,
) -> Result<PatchSpec, Error> {
    let mut spec = image_processor::from_json(json, vision)?;
    let unsaid = spec.max_pixels == image_processor::QWEN_PIXELS;
    if let Some(tokens) = tokens.or(unsaid.then_some(VISUAL_TOKENS)) {
        let side = (vision.patch_size * vision.spatial_merge_size) as u64;
        spec.max_pixels = u64::from(tokens) * side * side;
    }
    spec.min_pixels = spec.min_pixels.min(spec.max_pixels);
    Ok(spec)
}
