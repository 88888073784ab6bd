//! ColQwen2 and ColQwen2.5 (Faysse et al. 2024), equal to colpali-engine number by number; see `tests/parity`.

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

pub use candle::ColQwen;
pub use mlx::ColQwen as MlxColQwen;
pub(super) use model_card::models;

use super::device::{DeviceInfo, candle_device, mlx_device};
use super::{Card, Config, Engine, Error};
use crate::checkpoint::{self, Files, Json, Progress, Quantization, Schema, Source, digest};
use crate::patch::{PatchSpec, Prepare};
use crate::qwen::candle::Encoder;
use crate::qwen::mlx::Encoder as MlxEncoder;
use crate::qwen::{Config as Shape, Family, schema};
use crate::vectors::Profile;
use model_card::Sheet;
use prompt::Prompt;

/// What is known of a model before its weights are opened.
struct Parts {
    source: Source,
    /// What the model adapts, if it is an adapter.
    base: Option<(Json, Source)>,
    sheet: Sheet,
    shape: Shape,
    /// How MLX's converter packed the language model, if it did.
    quantization: Option<Quantization>,
    /// Width of a vector.
    dim: usize,
    spec: PatchSpec,
}

/// What `config.json` says of packed weights.
fn quantization(json: &Json) -> Option<Quantization> {
    let part = json
        .part("quantization")
        .or_else(|| json.part("quantization_config"))?;
    Some(Quantization {
        bits: part.number(&["bits"])?,
        group_size: part.number(&["group_size"])?,
    })
}

/// The card of a model.
pub(super) fn card(config: &Config) -> Result<Card, Error> {
    let parts = Parts::find(config)?;
    let info = DeviceInfo::open(config)?;
    let prepare = Prepare::Qwen(parts.spec.clone());
    let tokens = prepare.max_cost() / parts.shape.vision.spatial_merge_unit() as u64;
    Ok(Card {
        profile: parts.profile(config)?,
        max_rows: tokens as u32 + parts.sheet.words().page_tokens(),
        prepare,
        parameters: schema::parameters(&parts.schema()),
        licence: parts.sheet.licences(),
        memory: memory::footprint(
            (&parts.shape, parts.dim, parts.bytes(config, info.bytes)),
            &parts.spec,
            info.bytes,
            info.on_gpu,
        ),
        device: info.name,
        on_gpu: info.on_gpu,
        device_memory: info.own_memory,
        visual_weight: 1.0,
    })
}

/// Opens a model on candle.
///
/// # Errors
/// When a file is missing or wrong, or the device cannot be used.
pub fn open(config: &Config) -> Result<ColQwen, Error> {
    let device = candle_device(config.device)?;
    let chunk = memory::chunk(device.is_gpu());
    let parts = Parts::find(config)?;
    let prompt = parts.prompt()?;
    let files = parts.fetch(&mut |_, _, _| ())?;
    let weights = checkpoint::Weights::open(&config.model, &files, &parts.schema())?;
    let encoder = Encoder::load(weights, &parts.shape, device)?;
    Ok(ColQwen::new(encoder, prompt, chunk))
}

/// Opens a model on MLX.
///
/// # Errors
/// When a file is missing or wrong, or MLX is not built in.
pub fn open_mlx(config: &Config) -> Result<MlxColQwen, Error> {
    let device = mlx_device(config.device)?;
    let parts = Parts::find(config)?;
    let prompt = parts.prompt()?;
    let files = parts.fetch(&mut |_, _, _| ())?;
    let weights = checkpoint::Weights::open_quantized(&config.model, &files, &parts.schema())?;
    let encoder = MlxEncoder::open(weights, &parts.shape, device)?;
    let chunk = memory::chunk(DeviceInfo::open(config)?.on_gpu);
    Ok(MlxColQwen::new(encoder, prompt, parts.dim, chunk))
}

/// Fetches all files of a model that are not here yet.
pub(super) fn fetch(config: &Config, on_progress: Progress) -> Result<(), Error> {
    let parts = Parts::find(config)?;
    parts.tokenizer()?;
    parts.fetch(on_progress).map(drop)
}

impl Parts {
    fn find(config: &Config) -> Result<Self, Error> {
        let source = Source::find(&config.model)?;
        let sheet = Sheet::of(&config.model, &source)?;
        let base = match source.optional("adapter_config.json")? {
            None => None,
            Some(file) => {
                let adapter = Json::read(&file)?;
                let named = adapter.text("base_model_name_or_path").map(str::to_owned);
                let name = sheet.base.clone().or(named).unwrap_or_default();
                let base = source.base(&name)?;
                Some((adapter, base))
            }
        };
        let backbone = base.as_ref().map_or(&source, |(_, base)| base);
        let json = Json::read(&backbone.file("config.json", &mut |_, _, _| ())?)?;
        let shape = Shape::read(&json)?;
        if shape.family == Family::Qwen3 {
            return Err(json.unsupported("a ColQwen on Qwen3-VL").into());
        }
        let mut parts = Self {
            spec: pixel_budget::read(None, &shape.vision, None)?,
            source,
            base,
            sheet,
            shape,
            quantization: quantization(&json),
            dim: json.number(&["dim", "embedding_dim"]).unwrap_or(128),
        };
        let processor = parts.first(&["preprocessor_config.json", "processor_config.json"])?;
        let processor = processor.map(|file| Json::read(&file)).transpose()?;
        let tokens = config.max_visual_tokens.or(parts.sheet.max_visual_tokens);
        parts.spec = pixel_budget::read(processor.as_ref(), &parts.shape.vision, tokens)?;
        Ok(parts)
    }

    /// The first of several files that the model, or else its base, has.
    fn first(&self, names: &[&str]) -> Result<Option<PathBuf>, Error> {
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
        let (file, words) = (self.tokenizer()?, self.sheet.words());
        Prompt::open(&file, words, self.shape.image_token)
    }

    fn tokenizer(&self) -> Result<PathBuf, Error> {
        match self.first(&["tokenizer.json"])? {
            Some(file) => Ok(file),
            None => Ok(self.source.file("tokenizer.json", &mut |_, _, _| ())?),
        }
    }

    /// Bytes of the weights in memory; only MLX leaves packed what is packed.
    fn bytes(&self, config: &Config, number: u64) -> u64 {
        let packed = self.quantization.filter(|_| config.engine == Engine::Mlx);
        schema::bytes(&self.schema(), number, packed)
    }

    fn schema(&self) -> Schema {
        schema::embedding_model(&self.shape, self.dim)
    }

    /// The base's source and the names of its shards.
    fn shards(&self) -> Result<(&Source, Vec<String>), Error> {
        let source = self.base.as_ref().map_or(&self.source, |(_, base)| base);
        Ok((source, checkpoint::shards(source)?))
    }

    fn fetch(&self, on_progress: Progress) -> Result<Files, Error> {
        let (source, names) = self.shards()?;
        let base = names
            .iter()
            .map(|name| source.file(name, on_progress))
            .collect::<Result<_, _>>()?;
        let adapter = match &self.base {
            None => None,
            Some((json, _)) => Some((json.clone(), self.source.file(ADAPTER, on_progress)?)),
        };
        Ok(Files { base, adapter })
    }

    /// The digests of all files of weights, those of the base first.
    fn digests(&self) -> Result<Vec<String>, Error> {
        let (source, names) = self.shards()?;
        let mut files: Vec<(&Source, &str)> =
            names.iter().map(|name| (source, name.as_str())).collect();
        if self.base.is_some() {
            files.push((&self.source, ADAPTER));
        }
        let mut known = Vec::new();
        for (source, name) in files {
            known.push(match source.known_digest(name) {
                Some(digest) => Ok(digest),
                None => Err(source.file(name, &mut |_, _, _| ())?),
            });
        }
        known
            .into_par_iter()
            .map(|known| known.or_else(|file| Ok(digest::of_file(&file)?)))
            .collect()
    }

    fn profile(&self, config: &Config) -> Result<Profile, Error> {
        let adapter = self
            .base
            .as_ref()
            .map(|(json, _)| ["r", "lora_alpha"].map(|name| json.float(name)));
        let mut shape = json!(&self.shape);
        shape["dim"] = self.dim.into();
        let identity = json!({
            "shape": shape,
            "words": self.sheet.words(),
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

    /// What opens this model again, from any folder: its hub id, or the full path of its folder.
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

/// The weights of an adapter.
const ADAPTER: &str = "adapter_model.safetensors";
