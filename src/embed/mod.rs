//! Embedding models: prepared pages and queries to multi-vectors.
//!
//! [`card`] describes a model without loading its weights, [`fetch`] downloads them, [`open`] loads them.

pub mod builtin;
pub mod colqwen;
mod device;
mod gemm;
pub mod meaning;
mod pooled;
pub mod reading;
mod recommended;
mod speed;

pub(crate) use device::{candle_device, mlx_device};
pub use recommended::recommended;
pub use speed::flops_per_second;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Progress};
use crate::page::PageError;
use crate::patch::{Prepare, Prepared};
use crate::qwen::{candle, mlx};
use crate::units::ByteSize;
use crate::vectors::{MultiVector, PageVectors, Profile, ShapeError};

/// Configuration of the embedding model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `built-in`, a hub id such as `vidore/colqwen2.5-v0.2`, or a folder.
    pub model: String,
    /// Inference engine.
    pub engine: Engine,
    /// Compute device.
    pub device: Device,
    /// Maximum number of visual tokens of a page; `None` takes it from the model card or checkpoint.
    pub max_visual_tokens: Option<u32>,
    /// Pool factor of page vectors ([`crate::pooling`]); 1 means no pooling.
    pub pool_factor: u32,
    /// Width of a vector, of a model whose vectors may be cut: their first numbers. `None`: as the model was trained.
    pub width: Option<u32>,
    /// The text model, if pages get vectors of their text as well ([`meaning`]).
    #[serde(with = "meaning::setting")]
    pub meaning: Option<meaning::Model>,
}

impl Config {
    /// Profile of the text model; `None` if pages get no text vectors.
    pub fn text_profile(&self) -> Option<&'static str> {
        self.meaning.map(meaning::Model::profile)
    }
}

/// Inference engine of ColQwen models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// For the CPU, Metal and CUDA.
    Candle,
    /// For Apple GPUs (needs the `mlx` feature).
    Mlx,
}

/// Compute device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// Metal or CUDA if available, otherwise the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU (needs the `cuda` feature).
    Cuda,
    /// An Apple GPU.
    Metal,
}

/// Properties of a model that are known without loading its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// Identity of the vectors; names the collection.
    pub profile: Profile,
    /// Preprocessing of pages.
    pub prepare: Prepare,
    /// Maximum number of rows of a page.
    pub max_rows: u32,
    /// Number of parameters.
    pub parameters: u64,
    /// Licences of the weights and, for an adapter, of the base.
    pub licence: String,
    /// Memory footprint.
    pub memory: Footprint,
    /// Display name of the device: `cpu (f32)`, `metal (bf16)`.
    pub device: String,
    /// Whether the device is a GPU.
    pub is_gpu: bool,
    /// Dedicated memory of the device; `None` if it shares the machine's.
    pub device_memory: Option<ByteSize>,
    /// Weight of the image-search list in fusion, relative to text search.
    pub visual_weight: VisualWeight,
}

/// Weight of image search in fusion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VisualWeight {
    /// The weight of a list that knows the query; 1 is that of text search.
    pub full: f32,
    /// MaxSim per query vector of the best page, of a model that only knows spelling: up to the first value none of the
    /// query's words is on it and the list weighs nothing, from the second value on it has its full weight. `None`: always
    /// the full weight.
    pub similarity: Option<(f32, f32)>,
}

impl VisualWeight {
    /// Always the weight of text search.
    pub const EQUAL: Self = Self {
        full: 1.0,
        similarity: None,
    };

    /// Whether a list whose best page has this score knows the query, from 0 to 1.
    pub fn known(self, best: f32) -> f32 {
        match self.similarity {
            None => 1.0,
            Some((none, all)) => ((best - none) / (all - none)).clamp(0.0, 1.0),
        }
    }
}

/// A word of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryWord {
    /// Its bytes in the query.
    pub text: Range<usize>,
    /// Its rows among those of the query.
    pub rows: Range<usize>,
}

/// Memory footprint of a model on its device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Weights.
    pub weights: u64,
    /// Activations that are independent of the batch.
    pub fixed: u64,
    /// Activations per unit of [`Prepare::cost`] in a batch.
    pub per_cost: u64,
}

/// Error of loading or running a model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing, invalid, or requires an unsupported feature.
    #[error(transparent)]
    Files(#[from] checkpoint::Error),
    /// MLX is not built in, or failed.
    #[error(transparent)]
    Mlx(mlx::Error),
    /// The device is not available or not built in.
    #[error("device `{0}` cannot be used: {1}")]
    Device(&'static str, String),
    /// The batch does not fit into the device's memory; a smaller one may.
    #[error("out of memory on {0}")]
    OutOfMemory(String),
    /// The model has no vectors of this width.
    #[error("`{model}` has vectors {widths}, not {width}")]
    Width {
        /// Name of the model.
        model: String,
        /// The wanted width.
        width: usize,
        /// The widths it has.
        widths: String,
    },
    /// The model differs from the one that filled the store.
    #[error("the model `{model}` has changed since pages were stored with it")]
    Changed {
        /// Name of the model.
        model: String,
    },
    /// The page was prepared for another model.
    #[error("the page was prepared for another model")]
    WrongInput,
    /// The vectors of a query are invalid.
    #[error("the model produced invalid vectors: {0}")]
    Vectors(#[from] ShapeError),
    /// Inference failed.
    #[error("the model failed: {0}")]
    Model(String),
}

/// Name of the model that needs no download.
pub const BUILT_IN: &str = "built-in";

/// A model with a built-in card.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KnownModel {
    /// Value for `--model`.
    pub model: String,
    /// Width of a vector.
    pub dim: u32,
    /// Number of parameters.
    pub parameters: u64,
    /// Bytes to download.
    pub download: ByteSize,
    /// Licences of the weights and, for an adapter, of the base.
    pub licence: String,
    /// Whether the licences allow commercial use.
    pub commercial: bool,
    /// Bytes that the vectors of an A4 page take in a store; `None` if not known.
    pub page_bytes: Option<ByteSize>,
    /// Floating-point operations of embedding an A4 page, in 10^12; `None` if not known.
    pub page_teraflops: Option<f64>,
    /// nDCG@5 of ViDoRe v1, per cent, as published; `None` if not known.
    pub vidore_v1: Option<f64>,
    /// nDCG@10 of NanoViDoRe v3, per cent, as published; `None` if not known.
    pub nano_vidore_v3: Option<f64>,
}

impl From<candle::Error> for Error {
    fn from(error: candle::Error) -> Self {
        match error {
            candle::Error::Files(error) => Self::Files(error),
            candle::Error::Device(name, why) => Self::Device(name, why),
            candle::Error::OutOfMemory(why) => Self::OutOfMemory(why),
            candle::Error::Failed(why) => Self::Model(why),
        }
    }
}

impl From<mlx::Error> for Error {
    fn from(error: mlx::Error) -> Self {
        match error {
            mlx::Error::Memory(why) => Self::OutOfMemory(why),
            mlx::Error::Files(error) => Self::Files(error),
            error => Self::Mlx(error),
        }
    }
}

/// The instruction set that the CPU computes with: `avx512`, `avx2`, `neon` or `portable`.
pub fn instruction_set() -> &'static str {
    crate::linalg::instruction_set()
}

/// What a device offers to models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compute {
    /// Display name, as in [`Card::device`].
    pub device: String,
    /// Bytes per parameter of a model in bf16.
    pub bytes_per_parameter: u64,
    /// Whether the device is a GPU.
    pub is_gpu: bool,
    /// Dedicated memory; `None` if it shares the machine's.
    pub own_memory: Option<ByteSize>,
}

/// What the configured device offers.
///
/// # Errors
/// [`Error::Device`] or [`Error::Mlx`] if the device is not available or not built in.
pub fn compute(config: &Config) -> Result<Compute, Error> {
    let info = device::DeviceInfo::open(config)?;
    Ok(Compute {
        device: info.name,
        bytes_per_parameter: info.bf16_matrix_bytes,
        is_gpu: info.is_gpu,
        own_memory: info.own_memory,
    })
}

/// The known models; other folders and hub ids of their families work too.
pub fn models() -> Vec<KnownModel> {
    let mut models = vec![builtin::known_model()];
    models.extend(colqwen::models());
    models
}

/// Returns the card of a model without loading its weights. Downloads the small files of a hub model.
///
/// # Errors
/// [`Error::Files`] if there is no such model, or a file is missing, invalid or unsupported; [`Error::Device`] or
/// [`Error::Mlx`] if the device cannot be used.
pub fn card(config: &Config) -> Result<Card, Error> {
    let card = match config.model.as_str() {
        BUILT_IN => builtin::card(),
        _ => colqwen::card(config)?,
    };
    let dim = card.profile.dim;
    if let Some(width) = config.width.filter(|width| *width != dim) {
        return Err(Error::Width {
            model: config.model.clone(),
            width: width as usize,
            widths: format!("{dim} wide"),
        });
    }
    Ok(Card {
        profile: card.profile.pooled(config.pool_factor),
        max_rows: (card.max_rows / config.pool_factor.max(1)).max(1),
        ..card
    })
}

/// Downloads the missing files of a hub model, and of the text model, and reports progress. Downloads nothing for a folder.
///
/// # Errors
/// [`Error::Files`], such as when the hub cannot be reached or refuses.
pub fn fetch(config: &Config, on_progress: Progress) -> Result<(), Error> {
    if let Some(model) = config.meaning {
        meaning::fetch(model, on_progress)?;
    }
    match config.model.as_str() {
        BUILT_IN => Ok(()),
        _ => colqwen::fetch(config, on_progress),
    }
}

/// Loads a model on the configured device; downloads missing files.
///
/// # Errors
/// [`Error::Files`] if there is no such model or its weights do not match its configuration, [`Error::Device`] or
/// [`Error::Mlx`] if the device cannot be used, [`Error::OutOfMemory`] if the weights do not fit into memory.
pub fn open(config: &Config) -> Result<Box<dyn Embedder>, Error> {
    let model: Box<dyn Embedder> = match config.model.as_str() {
        BUILT_IN => Box::new(builtin::open()?),
        _ if config.engine == Engine::Mlx => Box::new(colqwen::open_mlx(config)?),
        _ => Box::new(colqwen::open(config)?),
    };
    Ok(match config.pool_factor {
        0 | 1 => model,
        factor => Box::new(pooled::Pooled { model, factor }),
    })
}

/// Embeds pages and queries. Opened on the thread that uses it, so it need not be `Send`.
pub trait Embedder {
    /// Embeds a batch of pages; results have the same order and length. A non-finite row fails its page only.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] makes the caller halve the batch; any other variant ends the run.
    fn embed_pages(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<PageVectors, PageError>>, Error>;

    /// Embeds a query.
    ///
    /// # Errors
    /// [`Error::Vectors`] if the vectors are invalid; the backend's error if it fails.
    fn embed_query(&mut self, text: &str) -> Result<MultiVector, Error>;

    /// Which rows of [`Embedder::embed_query`] belong to which word of a query, in order. A word without rows of its own,
    /// such as a stop word of the built-in model, is left out, and so are rows of the prompt.
    ///
    /// # Errors
    /// If the query cannot be split into tokens.
    fn query_words(&self, text: &str) -> Result<Vec<QueryWord>, Error>;

    /// Whether the model knows the letters of a query; if not, its vectors match pages at random.
    fn can_read(&self, _query: &str) -> bool {
        true
    }
}
