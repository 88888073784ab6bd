//! Models of the Qwen-VL families on MLX, in the process. This is the door: without the feature `mlx` it is shut, and
//! says how to have it open.
//!
//! One thread of the process owns MLX, whose streams belong to threads; everybody else sends it plain numbers and waits.

#[cfg(feature = "mlx")]
mod attention;
#[cfg(feature = "mlx")]
mod decoder;
#[cfg(feature = "mlx")]
mod encoder;
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
#[cfg(not(feature = "mlx"))]
mod stub;
#[cfg(feature = "mlx")]
mod thread;
#[cfg(feature = "mlx")]
mod vision;
#[cfg(feature = "mlx")]
mod weights;

#[cfg(feature = "mlx")]
pub use encoder::Encoder;
#[cfg(feature = "mlx")]
pub use generate::{Generator, TokenStream};
#[cfg(not(feature = "mlx"))]
pub use stub::{Encoder, Generator, TokenStream, memory, reset_peak_memory, set_memory_limit};
#[cfg(feature = "mlx")]
pub use thread::{memory, reset_peak_memory, set_memory_limit};

use serde::{Deserialize, Serialize};

use super::{Config, Span};
use crate::checkpoint;
use crate::patch::Patches;

/// Why MLX cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The feature is not compiled in.
    #[error("this `ingest` was built without MLX")]
    NotBuilt,
    /// There is no such device.
    #[error("MLX has no {0} here")]
    Device(&'static str),
    /// The weights are not as they should be.
    #[error(transparent)]
    Files(#[from] checkpoint::Error),
    /// It ran out of memory; less at a time may do.
    #[error("MLX is out of memory: {0}")]
    Memory(String),
    /// The question is longer than the model reads.
    #[error("the question takes {tokens} tokens with its pictures, the model reads {context}")]
    Long {
        /// Tokens of the question.
        tokens: usize,
        /// Tokens that the model reads.
        context: usize,
    },
    /// It failed.
    #[error("MLX failed: {0}")]
    Failed(String),
}

/// Which part of the machine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor, in f32.
    Cpu,
    /// The processor, in bf16: what a GPU computes, where there is none. Slow.
    CpuBf16,
    /// The GPU of an Apple machine, in bf16.
    Gpu,
}

impl Device {
    /// The unit asked for, or the best there is.
    ///
    /// # Errors
    /// When it is not there, or MLX is not compiled in.
    pub fn open(wanted: Option<Self>) -> Result<Self, Error> {
        let apple = cfg!(target_os = "macos");
        match wanted {
            _ if cfg!(not(feature = "mlx")) => Err(Error::NotBuilt),
            Some(Self::Gpu) if !apple => Err(Error::Device("GPU")),
            None if apple => Ok(Self::Gpu),
            wanted => Ok(wanted.unwrap_or(Self::Cpu)),
        }
    }

    /// Bytes of a number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Cpu => 4,
            Self::CpuBf16 | Self::Gpu => 2,
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu (MLX, f32)",
            Self::CpuBf16 => "cpu (MLX, bf16)",
            Self::Gpu => "gpu (MLX, bf16)",
        }
    }
}

/// A stretch of what a model reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Segment {
    /// Tokens of text.
    Text(Vec<u32>),
    /// A picture.
    Image(Patches),
}

impl Segment {
    /// What it is to the language model.
    pub fn span(&self) -> Span {
        match self {
            Self::Text(tokens) => Span::Text(tokens.len()),
            Self::Image(page) => Span::Image(page.grid),
        }
    }
}

/// What a model that speaks is made from, as often as it is needed.
pub struct GeneratorConfig {
    /// Opens the weights.
    pub weights: Box<dyn Fn() -> Result<checkpoint::Weights, checkpoint::Error> + Send + Sync>,
    /// Its shape.
    pub shape: Config,
    /// Whether its table of words is the head as well.
    pub tie_word_embeddings: bool,
    /// Tokens that end an answer.
    pub stop_tokens: Vec<u32>,
    /// Tokens that it reads, answer included.
    pub context_length: usize,
    /// What computes.
    pub device: Device,
    /// Bytes that it may take.
    pub memory: u64,
}

/// A question to a model that speaks.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationRequest {
    /// What it reads.
    pub segments: Vec<Segment>,
    /// Tokens that the answer may take.
    pub max_tokens: usize,
    /// 0 always takes the likeliest token.
    pub temperature: f32,
    /// What chance follows from: the same question with the same seed gets the same answer.
    pub seed: u64,
}

/// A piece of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenEvent {
    /// The next token.
    Token(u32),
    /// The end of the stream.
    Finished(FinishReason),
}

/// Why a stream of tokens ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model produced a stop token.
    Stop,
    /// `max_tokens` were produced before a stop token.
    Length,
}

/// What a model computed on its way: a name, a number and rows of values. Tests compare them.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// What it is.
    pub name: &'static str,
    /// Which one of its kind.
    pub number: usize,
    /// Width of a row.
    pub width: usize,
    /// The rows, one behind the other.
    pub values: Vec<f32>,
}

/// Bytes that MLX holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// In arrays.
    pub active: u64,
    /// Kept for arrays to come.
    pub cache: u64,
    /// The most there ever was in arrays, or since it is measured anew.
    pub peak: u64,
}
