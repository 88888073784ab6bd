//! How a checkpoint wants its pictures, from `preprocessor_config.json` or the newer `processor_config.json`.

use super::Vision;
use crate::checkpoint::{Error, Json, Source};
use crate::patch::PatchSpec;

/// Fewest pixels of a picture, where nothing is said.
const MIN_PIXELS: u64 = 56 * 56;
/// The budget that plain Qwen checkpoints ship with, 16,384 visual tokens; also where nothing is said.
pub const QWEN_PIXELS: u64 = 12_845_056;
/// Fewest and most pixels that Qwen3-VL ships with: 64 and 16,384 visual tokens.
const QWEN3_PIXELS: [u64; 2] = [65_536, 16_777_216];
/// Bicubic, by the number that Pillow gives it.
const BICUBIC: usize = 3;
/// Where it may be written.
pub const FILES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];

/// What a file, if there is one, says of pictures.
///
/// # Errors
/// When it asks for something that we do not have.
pub fn read(json: Option<&Json>, vision: &Vision) -> Result<PatchSpec, Error> {
    let default = match vision.deepstack {
        None => PatchSpec::qwen(MIN_PIXELS, QWEN_PIXELS),
        Some(_) => PatchSpec {
            mean: [0.5; 3],
            std: [0.5; 3],
            ..PatchSpec::qwen(QWEN3_PIXELS[0], QWEN3_PIXELS[1])
        },
    };
    let spec = match json {
        None => default,
        Some(json) => {
            let part = json.part("image_processor");
            overlay(part.as_ref().unwrap_or(json), default)?
        }
    };
    Ok(PatchSpec {
        patch: vision.patch_size as u32,
        merge: vision.spatial_merge_size as u32,
        min_pixels: spec.min_pixels.min(spec.max_pixels),
        ..spec
    })
}

/// The same, from the folder or repository of a model.
///
/// # Errors
/// As [`read`], and when the file cannot be read.
pub fn of(source: &Source, vision: &Vision) -> Result<PatchSpec, Error> {
    for name in FILES {
        if let Some(file) = source.optional(name)? {
            return read(Some(&Json::read(&file)?), vision);
        }
    }
    read(None, vision)
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
    Ok(PatchSpec {
        min_pixels: min.map_or(default.min_pixels, |min| min as u64),
        max_pixels: max.map_or(default.max_pixels, |max| max as u64),
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
