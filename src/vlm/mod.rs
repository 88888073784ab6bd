//! Vision-language models (VLM): prompts, reply parsing and runners.
//!
//! A [`Runner`] sends one chat request and streams its answer. The prompts, the parsing of replies and the detection of
//! repetition are the same for all runners ([`prompt`], [`reply`], [`repetition`]); `annotate` drives them and retries.

mod class;
mod config;
mod in_process;
mod no_image;
pub mod prompt;
pub mod repetition;
pub mod reply;
mod server;
pub mod tiers;
mod vision_precision;

use std::sync::Arc;
use std::time::Duration;

pub use config::{Config, RunnerKind};

use crate::checkpoint::Progress;

/// Error of a runner or of one request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// MLX is not compiled in.
    #[error("this `ingest` was built without MLX")]
    NotBuilt,
    /// The model cannot run in this process.
    #[error("{0}")]
    Unsupported(String),
    /// The server does not respond, or is busy.
    #[error("the server {server} is unavailable: {reason}")]
    Unavailable {
        /// Base URL, or the command in backquotes.
        server: String,
        /// Cause.
        reason: String,
    },
    /// The server at the address is of another kind.
    #[error("{server} is not the expected kind of server: {reason}")]
    UnexpectedServer {
        /// Base URL.
        server: String,
        /// The unexpected response.
        reason: String,
    },
    /// The API key is missing or wrong (HTTP 401; 403 for a request about the server).
    #[error("the server {server} requires another API key")]
    Unauthorized {
        /// Base URL.
        server: String,
    },
    /// The API key would be sent over plain HTTP.
    #[error("the API key would be sent unencrypted to {server}")]
    UnencryptedKey {
        /// Base URL.
        server: String,
    },
    /// The server does not have the model, or has several and none is configured.
    #[error("the server {server} has no model `{model}`; it has: {available}")]
    UnknownModel {
        /// Base URL.
        server: String,
        /// Configured model.
        model: String,
        /// Models on the server, comma-separated.
        available: String,
    },
    /// The model takes no images.
    #[error("the model `{model}` of {server} does not take images")]
    NoVision {
        /// Base URL.
        server: String,
        /// The model.
        model: String,
        /// Models on the server that take images, comma-separated.
        available: String,
    },
    /// The model cannot process the request; another request may succeed.
    #[error("the request was refused: {0}")]
    Refused(String),
    /// The server refused the request (HTTP 4xx).
    #[error("{server} refused the request: {reason} (HTTP {status})")]
    Rejected {
        /// Base URL.
        server: String,
        /// HTTP status.
        status: u16,
        /// Error message of the server.
        reason: String,
        /// Models on the server, comma-separated.
        available: String,
    },
    /// The model failed (HTTP 5xx), possibly because of another request in the same batch.
    #[error("the model failed: {0}")]
    ModelFailed(String),
    /// The model ran out of memory.
    #[error("the model is out of memory: {0}")]
    OutOfMemory(String),
    /// The stream ended before the answer did.
    #[error("the connection ended in the middle of an answer: {0}")]
    Disconnected(String),
    /// A proxy does not reach the server behind it (HTTP 502 or 504).
    #[error("{server} does not reach the model server: {reason} (HTTP {status})")]
    Gateway {
        /// Base URL of the proxy.
        server: String,
        /// HTTP status.
        status: u16,
        /// Error message of the proxy.
        reason: String,
    },
    /// The server stopped an answer that repeated itself.
    #[error("the server stopped an answer that repeated itself")]
    Repetition,
    /// The time limit of the request was exceeded; in seconds.
    #[error("not finished after {0} s")]
    Deadline(u64),
    /// The response violates the protocol.
    #[error("the server sent an invalid response: {0}")]
    Protocol(String),
}

impl Error {
    /// Whether the prompt does not fit into the context of the model: a shorter one may.
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::Refused(reason) if reason.contains("context length"))
    }

    /// Whether the request was refused for what it contains, so that another one may be accepted.
    pub fn is_refusal_of_content(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            // Bad request, forbidden content, too large, unsupported type, unprocessable.
            Self::Rejected { status, .. } => matches!(status, 400 | 403 | 413 | 415 | 422 | 500..),
            _ => false,
        }
    }
}

/// Content part of a chat message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text.
    Text(String),
    /// JPEG image.
    Image(Arc<[u8]>),
}

/// What stands before and behind the reasoning of a model in its text.
pub const REASONING_START: &str = "<think>";
/// See [`REASONING_START`].
pub const REASONING_END: &str = "</think>";

/// Chat request with one user message.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// Content parts of the message, in order.
    pub parts: Vec<Part>,
    /// Maximum number of answer tokens.
    pub max_tokens: u32,
    /// Sampling temperature; 0 is greedy decoding.
    pub temperature: f32,
    /// Time limit of the whole request.
    pub deadline: Duration,
}

/// Chunk of a streamed answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunk {
    /// Text of the answer.
    Text(String),
    /// Reasoning text (`reasoning_content`); not part of the answer.
    Reasoning(String),
    /// End of the answer.
    Finished(Finish),
}

/// Finish reason and token usage of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Finish {
    /// Whether the finish reason is `length`: `max_tokens` was reached.
    pub truncated: bool,
    /// Tokens of the prompt including its images; `None` if the server does not report them.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the answer; `None` if the server does not report them.
    pub completion_tokens: Option<u32>,
}

/// Stream of chunks. Dropping it cancels the request.
pub type Stream = Box<dyn Iterator<Item = Result<Chunk, Error>> + Send>;

/// Calls `next` until [`Chunk::Finished`] or the first error.
fn stream_of(mut next: impl FnMut() -> Result<Chunk, Error> + Send + 'static) -> Stream {
    let mut finished = false;
    Box::new(std::iter::from_fn(move || {
        if finished {
            return None;
        }
        let chunk = next();
        finished = !matches!(chunk, Ok(Chunk::Text(_) | Chunk::Reasoning(_)));
        Some(chunk)
    }))
}

/// Static facts of an opened runner.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// Name and version of the server, for people.
    pub name: String,
    /// Model name on the server.
    pub model: String,
    /// Default number of concurrent requests.
    pub lanes: usize,
    /// Default number of pages per request.
    pub interleave: usize,
    /// Whether a request must not start before the first token of the previous one.
    pub exclusive_prefill: bool,
    /// Image pixels per visual token.
    pub pixels_per_token: u32,
    /// Whether pages leave this machine.
    pub remote: bool,
    /// Whether [`Runner::unload`] frees the memory of the model.
    pub can_unload: bool,
    /// Warning about the model, for people.
    pub warning: Option<String>,
}

/// Client of a vision-language model. Takes requests from several threads at once.
pub trait Runner: Send + Sync {
    /// Returns the static facts of the runner.
    fn card(&self) -> &Card;

    /// Sends a request; the answer is streamed and ends with [`Chunk::Finished`].
    ///
    /// # Errors
    /// If the request is not accepted; later errors are items of the stream.
    fn run(&self, request: &ChatRequest) -> Result<Stream, Error>;

    /// Frees the memory of the model, as far as the runner can.
    ///
    /// # Errors
    /// If the server fails.
    fn unload(&self) -> Result<(), Error>;

    /// Id of the process that holds the model; `None` if it is on another machine, or unknown.
    fn process(&self) -> Option<u32>;
}

/// Downloads the missing files of a model that runs in this process; does nothing for servers.
///
/// # Errors
/// [`Error::NotBuilt`] without MLX, [`Error::Unsupported`] if there is no such model or the download fails.
pub fn fetch(config: &Config, on_progress: Progress) -> Result<(), Error> {
    match config.runner {
        RunnerKind::Mlx => in_process::fetch(config, on_progress),
        RunnerKind::MlxVlm | RunnerKind::Ollama | RunnerKind::Openai => Ok(()),
    }
}

/// Opens the configured runner and checks that it has the model. A model in this process may use `memory` bytes.
///
/// # Errors
/// If the server does not respond, rejects the API key, or does not have the model.
pub fn open(config: &Config, memory: u64) -> Result<Box<dyn Runner>, Error> {
    match config.runner {
        RunnerKind::Mlx => in_process::open(config, memory),
        RunnerKind::MlxVlm | RunnerKind::Ollama | RunnerKind::Openai => server::open(config),
    }
}

/// Kills all servers that were started here: for a process that exits without dropping its runners.
pub fn kill_servers() {
    server::kill_all();
}
