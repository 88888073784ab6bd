//! Pixel budget of ColQwen pages.

use crate::checkpoint::{Error, Json};
use crate::patch::PatchSpec;
use crate::qwen::{Vision, image_processor};

/// Default maximum of visual tokens per page: the budget that ColQwen2.5 was trained with.
const DEFAULT_VISUAL_TOKENS: u32 = 768;

/// Reads the image processor's settings; `tokens` overrides the pixel budget. The budgets of plain Qwen checkpoints
/// count as unset: no ColQwen was trained with them.
pub(super) fn read(
    json: Option<&Json>,
    vision: &Vision,
    tokens: Option<u32>,
) -> Result<PatchSpec, Error> {
    let mut spec = image_processor::from_json(json, vision)?;
    let is_unset = image_processor::QWEN_PIXELS.contains(&spec.max_pixels);
    if let Some(tokens) = tokens.or(is_unset.then_some(DEFAULT_VISUAL_TOKENS)) {
        let side = (vision.patch_size * vision.spatial_merge_size) as u64;
        spec.max_pixels = u64::from(tokens) * side * side;
    }
    spec.min_pixels = spec.min_pixels.min(spec.max_pixels);
    Ok(spec)
}
