//! From prepared pages and questions to multi-vectors.
//!
//! [`card`] tells what a model is without opening its weights, [`fetch`] brings them here, [`open`] loads them.

pub mod builtin;
pub mod colqwen;
mod device;
mod pooled;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Progress};
use crate::page::PageError;
use crate::patch::{Prepare, Prepared};
use crate::qwen::{candle, mlx};
use crate::units::ByteSize;
use crate::vectors::{MultiVector, PageVectors, Profile};

/// Which model embeds, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `built-in`, a hub id such as `vidore/colqwen2.5-v0.2`, or a folder.
    pub model: String,
    /// What computes.
    pub engine: Engine,
    /// Where tensors live.
    pub device: Device,
    /// Visual tokens a page may take; none means what the model card or checkpoint says.
    pub max_visual_tokens: Option<u32>,
    /// By how much the rows of a page are pooled ([`crate::pooling`]); 1: not at all.
    pub pool_factor: u32,
}

/// What computes a ColQwen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// candle: CPU, Metal, CUDA.
    Candle,
    /// MLX: Apple GPUs (needs the `mlx` feature).
    Mlx,
}

/// Where tensors live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// Metal or CUDA where there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU (needs the `cuda` feature).
    Cuda,
    /// An Apple GPU.
    Metal,
}

/// What is known of a model without opening its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// What the vectors will be; names the collection.
    pub profile: Profile,
    /// How the model wants its pages.
    pub prepare: Prepare,
    /// The most rows a page can have.
    pub max_rows: u32,
    /// Number of parameters.
    pub parameters: u64,
    /// Licence of the weights, and of the base they adapt.
    pub licence: String,
    /// Memory the model takes.
    pub memory: Footprint,
    /// Where it will run, for people: `cpu (f32)`, `metal (bf16)`.
    pub device: String,
    /// Whether that is a GPU.
    pub on_gpu: bool,
    /// Whether the device has memory of its own, and how much; none means the machine's memory.
    pub device_memory: Option<ByteSize>,
    /// What the model's ranked list weighs beside that of the text layer when both are fused; 1 is as much.
    pub visual_weight: f32,
}

/// Memory a model takes on its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The weights.
    pub weights: u64,
    /// Activations that do not grow with the batch.
    pub fixed: u64,
    /// Activations for each unit of [`Prepare::cost`] in a batch.
    pub per_cost: u64,
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its files are missing, wrong or ask for something that we do not have.
    #[error(transparent)]
    Files(#[from] checkpoint::Error),
    /// MLX is not there, or cannot do what is asked.
    #[error(transparent)]
    Mlx(mlx::Error),
    /// The device is not there or not built in.
    #[error("device `{0}` cannot be used: {1}")]
    Device(&'static str, String),
    /// The batch did not fit into the device's memory; a smaller one may.
    #[error("out of memory on {0}")]
    OutOfMemory(String),
    /// The model is not the one that filled the store.
    #[error("the model `{model}` has changed since pages were stored with it")]
    Changed {
        /// The model.
        model: String,
    },
    /// A page prepared for another model.
    #[error("a page prepared for another model")]
    WrongInput,
    /// The model library failed.
    #[error("the model failed: {0}")]
    Model(String),
}

/// The model that needs no download.
pub const BUILT_IN: &str = "built-in";

/// A model that we have a card of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Known {
    /// What to write for `--model`.
    pub model: String,
    /// The width of a vector.
    pub dim: u32,
    /// Number of parameters.
    pub parameters: u64,
    /// Bytes to download.
    pub download: ByteSize,
    /// Licence of the weights, and of the base they adapt.
    pub licence: String,
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

/// Bytes that a parameter of a checkpoint takes on the configured device: bf16 on GPUs, f32 on the CPU.
///
/// # Errors
/// When the device is not there or not built in.
pub fn bytes_per_parameter(config: &Config) -> Result<u64, Error> {
    Ok(device::DeviceInfo::open(config)?.bytes)
}

/// The models that we know; every other folder or hub id of their families works too.
pub fn models() -> Vec<Known> {
    let mut models = vec![builtin::known()];
    models.extend(colqwen::models());
    models
}

/// What is known of a model without opening its weights. Small files of a hub model are fetched.
///
/// # Errors
/// When there is no such model, or its files are missing, wrong or ask for something that we do not have.
pub fn card(config: &Config) -> Result<Card, Error> {
    let card = match config.model.as_str() {
        BUILT_IN => builtin::card(),
        _ => colqwen::card(config)?,
    };
    Ok(Card {
        profile: card.profile.pooled(config.pool_factor),
        max_rows: (card.max_rows / config.pool_factor.max(1)).max(1),
        ..card
    })
}

/// Fetches what is missing of a hub model, and tells how far it is. Does nothing for a folder.
///
/// # Errors
/// When the hub cannot be reached or refuses.
pub fn fetch(config: &Config, on_progress: Progress) -> Result<(), Error> {
    match config.model.as_str() {
        BUILT_IN => Ok(()),
        _ => colqwen::fetch(config, on_progress),
    }
}

/// Opens a model on the device that the configuration names, fetching it where needed.
///
/// # Errors
/// When there is no such model or device, or its weights do not fit its configuration.
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

/// Makes multi-vectors. Opened on the thread that uses it, so it need not be `Send`.
pub trait Embedder {
    /// Embeds a batch; same order, same length. A row that is not finite fails its page only.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] apart from everything else: the caller halves the batch.
    fn embed_pages(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<PageVectors, PageError>>, Error>;

    /// Embeds a question.
    ///
    /// # Errors
    /// When the model fails.
    fn embed_query(&mut self, text: &str) -> Result<MultiVector, Error>;
}
