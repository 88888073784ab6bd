//! Image processor: how a checkpoint wants images resized and normalised, from `preprocessor_config.json` or the newer
//! `processor_config.json`.

use super::Vision;
use crate::checkpoint::{Error, Json, Source};
use crate::patch::PatchSpec;

/// Default minimum number of pixels of an image.
const MIN_PIXELS: u64 = 56 * 56;
/// Default maximum number of pixels of an image, that of plain Qwen checkpoints: 16,384 visual tokens, up to Qwen2.5-VL and
/// from Qwen3-VL on.
pub const QWEN_PIXELS: [u64; 2] = [12_845_056, 16_777_216];
/// Default minimum number of pixels of Qwen3-VL checkpoints: 64 visual tokens.
const QWEN3_MIN_PIXELS: u64 = 65_536;
/// Pillow's id of bicubic resampling.
const BICUBIC: usize = 3;
/// Names of the file, in order of precedence.
pub const FILES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];

/// Reads the patch spec of a checkpoint; without a file, its family's default.
///
/// # Errors
/// [`Error::Unsupported`] when it requires resampling other than bicubic.
pub fn from_json(json: Option<&Json>, vision: &Vision) -> Result<PatchSpec, Error> {
    let default = match vision.deepstack {
        None => PatchSpec::qwen(MIN_PIXELS, QWEN_PIXELS[0]),
        Some(_) => PatchSpec {
            mean: [0.5; 3],
            std: [0.5; 3],
            ..PatchSpec::qwen(QWEN3_MIN_PIXELS, QWEN_PIXELS[1])
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

/// Reads the patch spec from the folder or repository of a model.
///
/// # Errors
/// As [`from_json`], and when the file cannot be read.
pub fn from_source(source: &Source, vision: &Vision) -> Result<PatchSpec, Error> {
    for name in FILES {
        if let Some(file) = source.optional(name)? {
            return from_json(Some(&Json::read(&file)?), vision);
        }
    }
    from_json(None, vision)
}

/// The values of a file over the defaults.
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
