//! Qwen-VL models on MLX. Without the feature `mlx`, every constructor returns [`Error::NotBuilt`].
//!
//! MLX's streams belong to threads, so one dedicated thread owns MLX; other threads send it plain data and wait.

#[cfg(feature = "mlx")]
mod attention;
#[cfg(feature = "mlx")]
mod decoder;
#[cfg(feature = "mlx")]
mod encoder;
#[cfg(feature = "mlx")]
mod fused;
#[cfg(feature = "mlx")]
mod generate;
#[cfg(feature = "mlx")]
mod hooks;
#[cfg(feature = "mlx")]
mod input;
#[cfg(feature = "mlx")]
mod kv_cache;
#[cfg(feature = "mlx")]
mod layers;
#[cfg(feature = "mlx")]
mod probe;
#[cfg(not(feature = "mlx"))]
mod stub;
#[cfg(feature = "mlx")]
mod thread;
mod token_stream;
#[cfg(feature = "mlx")]
mod vision;
#[cfg(feature = "mlx")]
mod weights;

#[cfg(feature = "mlx")]
pub use encoder::Encoder;
#[cfg(feature = "mlx")]
pub use generate::Generator;
#[cfg(feature = "mlx")]
pub use probe::{allocate, time};
#[cfg(not(feature = "mlx"))]
pub use stub::{Encoder, Generator, allocate, memory, reset_peak_memory, set_memory_limit, time};
#[cfg(feature = "mlx")]
pub use thread::{memory, reset_peak_memory, set_memory_limit};
pub use token_stream::{FinishReason, TokenEvent, TokenStream};

use serde::{Deserialize, Serialize};

use super::{Config, Span};
use crate::checkpoint;
use crate::patch::Patches;

/// An error of the MLX backend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The feature `mlx` is not compiled in.
    #[error("this `ingest` was built without MLX")]
    NotBuilt,
    /// MLX has no such device on this machine.
    #[error("MLX has no {0} here")]
    Device(&'static str),
    /// The weights are missing or invalid.
    #[error(transparent)]
    Files(#[from] checkpoint::Error),
    /// Out of memory; a smaller batch may fit.
    #[error("MLX is out of memory: {0}")]
    Memory(String),
    /// The prompt fills the context of the model.
    #[error("the prompt has {tokens} tokens with images, the context length is {context_length}")]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Context length of the model, in tokens.
        context_length: usize,
    },
    /// MLX failed.
    #[error("MLX failed: {0}")]
    Failed(String),
}

/// A device with the dtype to compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The CPU, in f32.
    Cpu,
    /// The CPU, in bf16: computes what a GPU does, for tests without one. Slow.
    CpuBf16,
    /// An Apple GPU, in bf16.
    Gpu,
}

impl Device {
    /// Opens the device `wanted`; `None`: the GPU on macOS, otherwise the CPU.
    ///
    /// # Errors
    /// [`Error::Device`] for a GPU off macOS, [`Error::NotBuilt`] without the feature `mlx`.
    pub fn open(wanted: Option<Self>) -> Result<Self, Error> {
        let apple = cfg!(target_os = "macos");
        match wanted {
            _ if cfg!(not(feature = "mlx")) => Err(Error::NotBuilt),
            Some(Self::Gpu) if !apple => Err(Error::Device("GPU")),
            None if apple => Ok(Self::Gpu),
            wanted => Ok(wanted.unwrap_or(Self::Cpu)),
        }
    }

    /// Bytes of an element of its dtype.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Cpu => 4,
            Self::CpuBf16 | Self::Gpu => 2,
        }
    }

    /// Display name, such as `cpu (MLX, f32)`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu (MLX, f32)",
            Self::CpuBf16 => "cpu (MLX, bf16)",
            Self::Gpu => "gpu (MLX, bf16)",
        }
    }
}

/// A part of the input of a model. It owns its data, which moves to the MLX thread.
#[derive(Clone, Debug, PartialEq)]
pub enum Segment {
    /// Tokens of text.
    Text(Vec<u32>),
    /// An image.
    Image(Patches),
}

impl Segment {
    /// Its extent in the input of the language model.
    pub fn span(&self) -> Span {
        match self {
            Self::Text(tokens) => Span::Text(tokens.len()),
            Self::Image(patches) => Span::Image(patches.grid),
        }
    }
}

/// Configuration of a [`Generator`].
pub struct GeneratorConfig {
    /// Opens the weights; called at every load.
    pub weights: Box<dyn Fn() -> Result<checkpoint::Weights, checkpoint::Error> + Send + Sync>,
    /// Shape of the model.
    pub shape: Config,
    /// Whether the token embeddings are also the LM head.
    pub tie_word_embeddings: bool,
    /// Tokens that end a sequence.
    pub stop_tokens: Vec<u32>,
    /// Maximum number of tokens of prompt and answer together.
    pub context_length: usize,
    /// Where the model computes.
    pub device: Device,
    /// Maximum bytes of weights, KV caches and prefill together.
    pub memory_limit: u64,
}

/// A request to a [`Generator`].
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationRequest {
    /// The prompt.
    pub segments: Vec<Segment>,
    /// Maximum number of tokens to generate.
    pub max_tokens: usize,
    /// Sampling temperature; 0 is greedy decoding.
    pub temperature: f32,
    /// Seed of the random generator: the same request with the same seed gets the same answer.
    pub seed: u64,
}

/// An activation of a model, captured for parity tests.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// Name, such as `vit.block`.
    pub name: &'static str,
    /// Index among the activations of that name, such as the layer.
    pub index: usize,
    /// Width of a row.
    pub width: usize,
    /// The rows, concatenated.
    pub values: Vec<f32>,
}

/// Memory that MLX holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Held by arrays.
    pub active: u64,
    /// Held by the buffer cache, for reuse.
    pub cache: u64,
    /// Peak of `active` since the start or the last reset.
    pub peak: u64,
}
