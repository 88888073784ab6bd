//! Everything about a model that is read before its weights.

use std::path::PathBuf;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::super::device::DeviceInfo;
use super::super::{Config, Engine, Error};
use super::model_card::{ModelCard, Projection};
use super::pixel_budget;
use super::prompt::Prompt;
use crate::checkpoint::{
    self, AdapterFiles, Json, Progress, Quantization, RANK_STABILISED, Schema, Source, WeightFiles,
    digest,
};
use crate::patch::PatchSpec;
use crate::qwen::schema::{self, NumberBytes, PROJECTION};
use crate::qwen::{Config as QwenConfig, VectorHead};
use crate::vectors::Profile;

/// File name of the settings of an adapter.
const ADAPTER_CONFIG: &str = "adapter_config.json";
/// File name of adapter weights.
const ADAPTER: &str = "adapter_model.safetensors";
/// Folder of the adapters of a model that has one for each task.
const TASK_FOLDER: &str = "adapters";
/// Names of the width of a vector in `config.json`.
const WIDTH: [&str; 5] = [
    "dim",
    "embedding_dim",
    "embed_dim",
    "dims",
    "multi_vector_projector_dim",
];

/// The files of a model, without its weights.
pub(super) struct LoadedFiles {
    source: Source,
    /// The source of the base model, if the model is an adapter.
    base: Option<Source>,
    adapter: Option<Adapter>,
    pub(super) card: ModelCard,
    pub(super) qwen_config: QwenConfig,
    /// Quantization of the language model by MLX's converter, if any.
    quantization: Option<Quantization>,
    /// Whether its weights are in bf16.
    is_bf16: bool,
    pub(super) head: VectorHead,
    pub(super) spec: PatchSpec,
}

/// An adapter in the source of a model.
struct Adapter {
    config: Json,
    /// Name of its weights.
    weights: String,
}

impl Adapter {
    /// Bytes of its matrices if it changes every matrix of a model.
    fn bytes(&self, schema: &Schema, dtype_bytes: u64) -> u64 {
        let rank = self.config.number(&["r"]).unwrap_or(0) as u64;
        let matrices = schema.iter().filter(|(_, shape)| shape.len() == 2);
        let sides = matrices.map(|(_, shape)| shape.iter().sum::<usize>() as u64);
        sides.sum::<u64>() * rank * dtype_bytes
    }
}

/// Whether `config.json` says that the weights are in bf16.
fn is_bf16(json: &Json) -> bool {
    let names = ["dtype", "torch_dtype"];
    let found = names.iter().find_map(|name| {
        let parts = [json.value(), &json.value()["text_config"]];
        parts.into_iter().find_map(|part| part[name].as_str())
    });
    found == Some("bfloat16")
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

impl LoadedFiles {
    /// Finds the model and reads its configuration, without its weights.
    pub(super) fn load(config: &Config) -> Result<Self, Error> {
        let source = Source::find(&config.model)?;
        let card = ModelCard::find(&config.model, &source)?;
        let mut adapter = adapter(&source, "")?;
        let base = match &adapter {
            None => None,
            Some(adapter) => Some(base(&source, &card, &adapter.config)?),
        };
        let backbone = base.as_ref().unwrap_or(&source);
        let json = Json::read(&backbone.file("config.json", &mut |_, _, _| ())?)?;
        let mut qwen_config = QwenConfig::read(&json)?;
        let card = card.of_family(&json);
        if card.task.is_some() && adapter.is_none() {
            adapter = self::adapter(&source, TASK_FOLDER)?;
        }
        qwen_config.text.causal = card.causal.unwrap_or(true);
        let mut files = Self {
            spec: pixel_budget::read(None, &qwen_config.vision, None)?,
            head: VectorHead {
                projection: None,
                dim: qwen_config.text.hidden_size,
            },
            source,
            base,
            adapter,
            card,
            qwen_config,
            quantization: quantization(&json),
            is_bf16: is_bf16(&json),
        };
        files.head = files.vector_head(config, &json)?;
        let processor = files.first_file(&["preprocessor_config.json", "processor_config.json"])?;
        let processor = processor.map(|file| Json::read(&file)).transpose()?;
        let tokens = config.max_visual_tokens.or(files.card.max_visual_tokens);
        files.spec = pixel_budget::read(processor.as_ref(), &files.qwen_config.vision, tokens)?;
        Ok(files)
    }

    /// How hidden states become vectors: the configuration and the card tell the width, else the projection itself.
    fn vector_head(&self, config: &Config, json: &Json) -> Result<VectorHead, Error> {
        let hidden = self.qwen_config.text.hidden_size;
        let stated = json
            .number(&WIDTH)
            .or(self.card.dim.map(|dim| dim as usize));
        let head = match self.card.projection.unwrap_or_default() {
            Projection::None => VectorHead {
                projection: None,
                dim: hidden,
            },
            Projection::Square => VectorHead {
                projection: Some(hidden),
                dim: stated.unwrap_or(hidden),
            },
            Projection::Narrow => {
                let dim = stated.map_or_else(|| self.width_of_projection(config), Ok)?;
                VectorHead {
                    projection: Some(dim),
                    dim,
                }
            }
        };
        match config.width.map(|width| width as usize) {
            None => Ok(head),
            Some(width) if width == head.dim => Ok(head),
            Some(width) if self.card.is_nested() && (1..=hidden).contains(&width) => {
                Ok(VectorHead { dim: width, ..head })
            }
            Some(width) => Err(Error::Width {
                model: config.model.clone(),
                width,
                widths: match self.card.is_nested() {
                    true => format!("up to {hidden} wide"),
                    false => format!("{} wide", head.dim),
                },
            }),
        }
    }

    /// The width of the projection in the weights of the adapter, or of the model.
    fn width_of_projection(&self, config: &Config) -> Result<usize, Error> {
        let name = format!("{PROJECTION}.weight");
        let mut shape = None;
        if let Some(adapter) = &self.adapter {
            let file = self.source.file(&adapter.weights, &mut |_, _, _| ())?;
            shape = checkpoint::shape_in(&config.model, &file, &name)?;
        }
        if shape.is_none() {
            shape = checkpoint::shape_of(&config.model, self.backbone(), &name)?;
        }
        let width = shape.and_then(|shape| shape.first().copied());
        width.ok_or_else(|| {
            let why =
                format!("it has no `{PROJECTION}`, so it describes pages but does not embed them");
            checkpoint::Error::Weights {
                model: config.model.clone(),
                why,
            }
            .into()
        })
    }

    /// The source of the base weights.
    fn backbone(&self) -> &Source {
        self.base.as_ref().unwrap_or(&self.source)
    }

    /// The first existing file of several names, in the model's source, then in its base's.
    fn first_file(&self, names: &[&str]) -> Result<Option<PathBuf>, Error> {
        for source in std::iter::once(&self.source).chain(&self.base) {
            for name in names {
                if let Some(file) = source.optional(name)? {
                    return Ok(Some(file));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn prompt(&self) -> Result<Prompt, Error> {
        let (file, template) = (self.tokenizer()?, self.card.prompt_template());
        Prompt::open(&file, template, self.qwen_config.image_token)
    }

    pub(super) fn tokenizer(&self) -> Result<PathBuf, Error> {
        match self.first_file(&["tokenizer.json"])? {
            Some(file) => Ok(file),
            None => Ok(self.source.file("tokenizer.json", &mut |_, _, _| ())?),
        }
    }

    /// Bytes of the weights in memory; only MLX keeps quantized matrices quantized.
    pub(super) fn weight_bytes(&self, config: &Config, device: &DeviceInfo) -> u64 {
        let quantization = self.quantization.filter(|_| config.engine == Engine::Mlx);
        let number = NumberBytes {
            matrix: match self.is_bf16 {
                true => device.bf16_matrix_bytes,
                false => device.dtype_bytes,
            },
            other: device.dtype_bytes,
        };
        let schema = self.schema();
        let adapter = match (&self.adapter, number.matrix == number.other) {
            // An adapter is merged, unless the matrices are kept smaller.
            (None, _) | (_, true) => 0,
            (Some(adapter), false) => adapter.bytes(&schema, device.dtype_bytes),
        };
        schema::bytes(&schema, number, quantization) + adapter
    }

    pub(super) fn schema(&self) -> Schema {
        schema::embedding_model(&self.qwen_config, self.head.projection)
    }

    /// Downloads the weight files that are not cached.
    pub(super) fn fetch(&self, on_progress: Progress) -> Result<WeightFiles, Error> {
        let source = self.backbone();
        let base = checkpoint::shards(source)?
            .iter()
            .map(|name| source.file(name, on_progress))
            .collect::<Result<_, _>>()?;
        let adapter = match &self.adapter {
            None => None,
            Some(adapter) => Some(AdapterFiles {
                config: adapter.config.clone(),
                weights: self.source.file(&adapter.weights, on_progress)?,
                task: self.card.task.clone(),
            }),
        };
        Ok(WeightFiles { base, adapter })
    }

    /// SHA-256 of all weight files, those of the base first.
    fn digests(&self) -> Result<Vec<String>, Error> {
        let backbone = self.backbone();
        let names = checkpoint::shards(backbone)?;
        let mut files: Vec<(&Source, &str)> =
            names.iter().map(|name| (backbone, name.as_str())).collect();
        if let Some(adapter) = &self.adapter {
            files.push((&self.source, &adapter.weights));
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
    pub(super) fn profile(&self, config: &Config) -> Result<Profile, Error> {
        let adapter = self.adapter.as_ref().map(|adapter| {
            let numbers = ["r", "lora_alpha"].map(|name| adapter.config.float(name));
            let mut all: Vec<Value> = numbers.into_iter().map(Value::from).collect();
            // Only where set, as in the profile ids of older versions.
            all.extend(
                adapter
                    .config
                    .flag(RANK_STABILISED)
                    .then(|| RANK_STABILISED.into()),
            );
            all.extend(self.card.task.clone().map(Value::from));
            all
        });
        let mut shape = json!(&self.qwen_config);
        shape["dim"] = self.head.dim.into();
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
            dim: self.head.dim as u32,
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

/// The adapter in a folder of a source.
fn adapter(source: &Source, folder: &str) -> Result<Option<Adapter>, Error> {
    let path = |name: &str| match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    };
    let Some(file) = source.optional(&path(ADAPTER_CONFIG))? else {
        return Ok(None);
    };
    Ok(Some(Adapter {
        config: Json::read(&file)?,
        weights: path(ADAPTER),
    }))
}

/// The base of an adapter, by its card, or as it was named when it was trained.
fn base(source: &Source, card: &ModelCard, adapter: &Json) -> Result<Source, Error> {
    let trained = adapter.text("base_model_name_or_path").unwrap_or_default();
    let name = card.base.as_deref().unwrap_or(trained);
    source.base(name).map_err(|error| match error {
        checkpoint::Error::Unknown(base) => {
            let why = format!(
                "its base `{base}` is neither a folder here nor a hub id; name it in `ingest-card.toml` beside this file, as in \
                 base = \"owner/model\""
            );
            checkpoint::Error::file(adapter.file(), &why).into()
        }
        error => error.into(),
    })
}
