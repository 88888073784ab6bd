//! ColQwen2, ColQwen2.5 and ColQwen3 (Faysse et al. 2024); outputs equal colpali-engine's (`tests/parity`). Families differ in
//! their cards (`cards/`); what computes them is [`crate::qwen`].

mod backend;
mod candle;
mod known_models;
mod loaded_files;
mod memory;
mod mlx;
mod model_card;
mod pixel_budget;
mod prompt;
mod shapes;

pub use backend::EncodeOnce;
pub use candle::ColQwen;
pub(super) use known_models::models;
pub use memory::plan_of_colqwen2_5;
pub use mlx::ColQwen as MlxColQwen;

use super::device::{DeviceInfo, candle_device, mlx_device};
use super::{Card, Config, Error, VisualWeight};
use crate::checkpoint::{self, Progress};
use crate::patch::Prepare;
use crate::qwen::candle::{CandleDevice, Encoder};
use crate::qwen::mlx::Encoder as MlxEncoder;
use crate::qwen::schema;
use loaded_files::LoadedFiles;

/// Returns the card of a model; weights are not loaded.
pub(super) fn card(config: &Config) -> Result<Card, Error> {
    let files = LoadedFiles::load(config)?;
    let info = DeviceInfo::open(config)?;
    let prepare = Prepare::Qwen(files.spec.clone());
    let tokens = prepare.max_cost() / files.qwen_config.vision.spatial_merge_unit() as u64;
    Ok(Card {
        profile: files.profile(config)?,
        max_rows: tokens as u32 + files.card.prompt_template().page_tokens(),
        prepare,
        parameters: schema::parameters(&files.schema()),
        licence: files.card.licences(),
        memory: memory::footprint(
            (
                &files.qwen_config,
                files.head.dim,
                files.weight_bytes(config, &info),
            ),
            &files.spec,
            info.dtype_bytes,
            info.is_gpu,
        ),
        device: info.name,
        is_gpu: info.is_gpu,
        device_memory: info.own_memory,
        visual_weight: VisualWeight::EQUAL,
    })
}

/// Opens a model on candle.
///
/// # Errors
/// [`Error::Files`] if a file is missing or invalid, [`Error::Device`] if the device cannot be used.
pub fn open(config: &Config) -> Result<ColQwen, Error> {
    open_on(config, candle_device(config.device)?)
}

/// Opens a model on a device of candle, whatever the configured one is.
///
/// # Errors
/// [`Error::Files`] if a file is missing or invalid, [`Error::OutOfMemory`] if the weights do not fit.
pub fn open_on(config: &Config, device: CandleDevice) -> Result<ColQwen, Error> {
    let chunk_size = memory::chunk_size(device.is_gpu());
    let files = LoadedFiles::load(config)?;
    let prompt = files.prompt()?;
    let weight_files = files.fetch(&mut |_, _, _| ())?;
    let weights = checkpoint::Weights::open(&config.model, &weight_files, &files.schema())?;
    let encoder = Encoder::load(weights, &files.qwen_config, files.head, device)?;
    Ok(ColQwen::new(encoder, prompt, chunk_size))
}

/// Opens a model on MLX.
///
/// # Errors
/// [`Error::Files`] if a file is missing or invalid, [`Error::Mlx`] if MLX is not built in.
pub fn open_mlx(config: &Config) -> Result<MlxColQwen, Error> {
    let device = mlx_device(config.device)?;
    let files = LoadedFiles::load(config)?;
    let prompt = files.prompt()?;
    let weight_files = files.fetch(&mut |_, _, _| ())?;
    let weights =
        checkpoint::Weights::open_quantized(&config.model, &weight_files, &files.schema())?;
    let encoder = MlxEncoder::open(weights, &files.qwen_config, files.head, device)?;
    let chunk_size = memory::chunk_size(DeviceInfo::open(config)?.is_gpu);
    Ok(MlxColQwen::new(encoder, prompt, files.head.dim, chunk_size))
}

/// Downloads all files of a model that are not cached.
pub(super) fn fetch(config: &Config, on_progress: Progress) -> Result<(), Error> {
    let files = LoadedFiles::load(config)?;
    files.tokenizer()?;
    files.fetch(on_progress).map(drop)
}
