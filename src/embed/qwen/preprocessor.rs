//! The pixel budget of a checkpoint, from `preprocessor_config.json` or the newer `processor_config.json`.

use crate::checkpoint::{Error, Json};
use crate::patch::PatchSpec;
use crate::qwen::Vision;

/// Fewest pixels of a page, where nothing is said.
const MIN_PIXELS: u64 = 56 * 56;
/// Visual tokens of a page, where nothing is said: what ColQwen2.5 was trained with.
const VISUAL_TOKENS: u64 = 768;
/// The budget that plain Qwen checkpoints ship with, 16,384 visual tokens. No ColQwen was trained with it.
const QWEN_PIXELS: u64 = 12_845_056;
/// Bicubic, by the number that Pillow gives it.
const BICUBIC: usize = 3;

/// How a checkpoint wants its pages; `tokens` overrides its budget.
pub(super) fn read(
    json: Option<&Json>,
    vision: &Vision,
    tokens: Option<u32>,
) -> Result<PatchSpec, Error> {
    let side = (vision.patch_size * vision.spatial_merge_size) as u64;
    let default = PatchSpec::qwen(MIN_PIXELS, VISUAL_TOKENS * side * side);
    let mut spec = match json {
        None => default,
        Some(json) => {
            let part = json.part("image_processor");
            overlay(part.as_ref().unwrap_or(json), default)?
        }
    };
    spec.patch = vision.patch_size as u32;
    spec.merge = vision.spatial_merge_size as u32;
    if let Some(tokens) = tokens {
        spec.max_pixels = u64::from(tokens) * side * side;
    }
    spec.min_pixels = spec.min_pixels.min(spec.max_pixels);
    Ok(spec)
}

fn overlay(json: &Json, default: PatchSpec) -> Result<PatchSpec, Error> {
    if json.number(&["resample"]).unwrap_or(BICUBIC) != BICUBIC {
        return Err(json.unsupported("a resample other than bicubic"));
    }
    let size = json.part("size");
    let edge = |name| size.as_ref().and_then(|size| size.number(&[name]));
    let min = json
        .number(&["min_pixels"])
        .or_else(|| edge("shortest_edge"));
    let max = json
        .number(&["max_pixels"])
        .or_else(|| edge("longest_edge"));
    let max = max.map(|max| max as u64).filter(|&max| max != QWEN_PIXELS);
    Ok(PatchSpec {
        min_pixels: min.map_or(default.min_pixels, |min| min as u64),
        max_pixels: max.unwrap_or(default.max_pixels),
        mean: channels(json, "image_mean").unwrap_or(default.mean),
        std: channels(json, "image_std").unwrap_or(default.std),
        ..default
    })
}

fn channels(json: &Json, name: &str) -> Option<[f32; 3]> {
    let values = json.numbers(name)?;
    let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
    values.try_into().ok()
}
