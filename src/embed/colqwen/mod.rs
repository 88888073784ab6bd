//! ColQwen2 and ColQwen2.5 (Faysse et al. 2024); outputs equal colpali-engine's (`tests/parity`).

mod backend;
mod candle;
mod memory;
mod mlx;
mod model_card;
mod pixel_budget;
mod prompt;

use std::path::PathBuf;

use rayon::prelude::*;
use serde_json::json;

pub use backend::EncodeOnce;
pub use candle::ColQwen;
pub use memory::largest_plan;
pub use mlx::ColQwen as MlxColQwen;
pub(super) use model_card::models;

use super::device::{DeviceInfo, candle_device, mlx_device};
use super::{Card, Config, Engine, Error, VisualWeight};
use crate::checkpoint::{self, Json, Progress, Quantization, Schema, Source, WeightFiles, digest};
use crate::patch::{PatchSpec, Prepare};
use crate::qwen::candle::{CandleDevice, Encoder};
use crate::qwen::mlx::Encoder as MlxEncoder;
use crate::qwen::{Config as QwenConfig, Family, schema};
use crate::vectors::Profile;
use model_card::ModelCard;
use prompt::Prompt;

/// Everything about a model that is read before its weights.
struct LoadedFiles {
    source: Source,
    /// `adapter_config.json` and the source of the base model, if the model is an adapter.
    base: Option<(Json, Source)>,
    card: ModelCard,
    qwen_config: QwenConfig,
    /// Quantization of the language model by MLX's converter, if any.
    quantization: Option<Quantization>,
    /// Width of a vector.
    dim: usize,
    spec: PatchSpec,
}

/// Reads the quantization from `config.json`.
fn quantization(json: &Json) -> Option<Quantization> {
    let part = json
        .part("quantization")
        .or_else(|| json.part("quantization_config"))?;
    Some(Quantization {
        bits: part.number(&["bits"])?,
        group_size: part.number(&["group_size"])?,
    })
}

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
                files.dim,
                files.weight_bytes(config, info.dtype_bytes),
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
    let encoder = Encoder::load(weights, &files.qwen_config, device)?;
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
    let encoder = MlxEncoder::open(weights, &files.qwen_config, device)?;
    let chunk_size = memory::chunk_size(DeviceInfo::open(config)?.is_gpu);
    Ok(MlxColQwen::new(encoder, prompt, files.dim, chunk_size))
}

/// Downloads all files of a model that are not cached.
pub(super) fn fetch(config: &Config, on_progress: Progress) -> Result<(), Error> {
    let files = LoadedFiles::load(config)?;
    files.tokenizer()?;
    files.fetch(on_progress).map(drop)
}

impl LoadedFiles {
    /// Finds the model and reads its configuration, without its weights.
    fn load(config: &Config) -> Result<Self, Error> {
        let source = Source::find(&config.model)?;
        let card = ModelCard::find(&config.model, &source)?;
        let base = match source.optional("adapter_config.json")? {
            None => None,
            Some(file) => {
                let adapter = Json::read(&file)?;
                let base = adapter.text("base_model_name_or_path").map(str::to_owned);
                let name = card.base.clone().or(base).unwrap_or_default();
                let base = source.base(&name)?;
                Some((adapter, base))
            }
        };
        let backbone = base.as_ref().map_or(&source, |(_, base)| base);
        let json = Json::read(&backbone.file("config.json", &mut |_, _, _| ())?)?;
        let qwen_config = QwenConfig::read(&json)?;
        if qwen_config.family == Family::Qwen3 {
            return Err(json.unsupported("a ColQwen on Qwen3-VL").into());
        }
        let mut files = Self {
            spec: pixel_budget::read(None, &qwen_config.vision, None)?,
            source,
            base,
            card,
            qwen_config,
            quantization: quantization(&json),
            dim: json.number(&["dim", "embedding_dim"]).unwrap_or(128),
        };
        let processor = files.first_file(&["preprocessor_config.json", "processor_config.json"])?;
        let processor = processor.map(|file| Json::read(&file)).transpose()?;
        let tokens = config.max_visual_tokens.or(files.card.max_visual_tokens);
        files.spec = pixel_budget::read(processor.as_ref(), &files.qwen_config.vision, tokens)?;
        Ok(files)
    }

    /// The first existing file of several names, in the model's source, then in its base's.
    fn first_file(&self, names: &[&str]) -> Result<Option<PathBuf>, Error> {
        let base = self.base.iter().map(|(_, base)| base);
        for source in std::iter::once(&self.source).chain(base) {
            for name in names {
                if let Some(file) = source.optional(name)? {
                    return Ok(Some(file));
                }
            }
        }
        Ok(None)
    }

    fn prompt(&self) -> Result<Prompt, Error> {
        let (file, template) = (self.tokenizer()?, self.card.prompt_template());
        Prompt::open(&file, template, self.qwen_config.image_token)
    }

    fn tokenizer(&self) -> Result<PathBuf, Error> {
        match self.first_file(&["tokenizer.json"])? {
            Some(file) => Ok(file),
            None => Ok(self.source.file("tokenizer.json", &mut |_, _, _| ())?),
        }
    }

    /// Bytes of the weights in memory; only MLX keeps quantized matrices quantized.
    fn weight_bytes(&self, config: &Config, dtype_bytes: u64) -> u64 {
        let quantization = self.quantization.filter(|_| config.engine == Engine::Mlx);
        schema::bytes(&self.schema(), dtype_bytes, quantization)
    }

    fn schema(&self) -> Schema {
        schema::embedding_model(&self.qwen_config, self.dim)
    }

    /// The source of the base weights, and the names of their shards.
    fn shards(&self) -> Result<(&Source, Vec<String>), Error> {
        let source = self.base.as_ref().map_or(&self.source, |(_, base)| base);
        Ok((source, checkpoint::shards(source)?))
    }

    /// Downloads the weight files that are not cached.
    fn fetch(&self, on_progress: Progress) -> Result<WeightFiles, Error> {
        let (source, names) = self.shards()?;
        let base = names
            .iter()
            .map(|name| source.file(name, on_progress))
            .collect::<Result<_, _>>()?;
        let adapter = match &self.base {
            None => None,
            Some((json, _)) => Some((json.clone(), self.source.file(ADAPTER, on_progress)?)),
        };
        Ok(WeightFiles { base, adapter })
    }

    /// SHA-256 of all weight files, those of the base first.
    fn digests(&self) -> Result<Vec<String>, Error> {
        let (source, names) = self.shards()?;
        let mut files: Vec<(&Source, &str)> =
            names.iter().map(|name| (source, name.as_str())).collect();
        if self.base.is_some() {
            files.push((&self.source, ADAPTER));
        }
        let mut digests = Vec::new();
        for (source, name) in files {
            digests.push(match source.known_digest(name) {
                Some(digest) => Ok(digest),
                None => Err(source.file(name, &mut |_, _, _| ())?),
            });
        }
        digests
            .into_par_iter()
            .map(|digest| digest.or_else(|file| Ok(digest::of_file(&file)?)))
            .collect()
    }

    /// The profile; its id hashes everything that determines the vectors.
    fn profile(&self, config: &Config) -> Result<Profile, Error> {
        let adapter = self
            .base
            .as_ref()
            .map(|(json, _)| ["r", "lora_alpha"].map(|name| json.float(name)));
        let mut shape = json!(&self.qwen_config);
        shape["dim"] = self.dim.into();
        let identity = json!({
            "shape": shape,
            "words": self.card.prompt_template(),
            "pixels": [self.spec.min_pixels, self.spec.max_pixels],
            "mean": self.spec.mean,
            "std": self.spec.std,
            "adapter": adapter,
            "weights": self.digests()?,
        });
        let digest = digest::of_bytes(identity.to_string().as_bytes());
        Ok(Profile {
            id: digest[..16].to_owned(),
            model: self.name(config),
            dim: self.dim as u32,
            pool_factor: 1,
        })
    }

    /// Name that opens this model from any working directory: its hub id, or the absolute path of its folder.
    fn name(&self, config: &Config) -> String {
        match &self.source {
            Source::Folder(folder) => folder
                .canonicalize()
                .unwrap_or_else(|_| folder.clone())
                .display()
                .to_string(),
            Source::Hub(_) => config.model.clone(),
        }
    }
}

/// File name of adapter weights.
const ADAPTER: &str = "adapter_model.safetensors";
