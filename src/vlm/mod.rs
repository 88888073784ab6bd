//! Vision-language models: ordered parts in, a stream of text out.
//!
//! A [`Runner`] only talks to a model. What is asked, how answers are read, when to stop and to ask again is decided
//! here once for all runners ([`prompt`], [`reply`], [`repetition`]) and driven by `annotate`.

mod class;
mod in_process;
pub mod prompt;
pub mod repetition;
pub mod reply;
mod server;
pub mod tiers;
mod vision_precision;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Progress;

/// Which model describes pages, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What serves the model.
    pub runner: RunnerKind,
    /// Its address; empty: where this runner listens by default.
    pub url: String,
    /// The model, by its name there; empty: the only one, or the one that is loaded.
    pub model: String,
    /// Requests at once; 0: what suits the runner.
    pub lanes: usize,
    /// Pages in one request; 0: what suits the runner.
    pub interleave: usize,
    /// Million pixels of a page that is sent.
    pub megapixels: f64,
    /// Tokens that the description of a page may take.
    pub max_tokens: u32,
    /// Seconds that a page may take.
    pub deadline_s: u64,
    /// Times that a page is asked before it has failed.
    pub attempts: u32,
    /// Let pages travel to another machine unencrypted, or the key.
    pub key_over_http: bool,
    /// What starts the server where none answers, word by word; empty: nothing does.
    pub command: Vec<String>,
    /// Pages after which the model's memory is freed, so that it is loaded anew; 0: never.
    pub unload_every: usize,
    /// Pages after which the same page is asked about again, to see whether the model says the same; 0: never.
    pub canary_every: usize,
}

impl Config {
    /// What is wrong with it: the key, and why.
    pub fn flaw(&self) -> Option<(&'static str, &'static str)> {
        if !(0.05..=16.0).contains(&self.megapixels) {
            return Some(("megapixels", "must lie between 0.05 and 16"));
        }
        let zero = self.max_tokens == 0 || self.deadline_s == 0 || self.attempts == 0;
        zero.then_some((
            "max_tokens, describe.deadline_s, describe.attempts",
            "must be at least 1",
        ))
    }
}

/// What serves a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RunnerKind {
    /// `mlx_vlm.server`.
    MlxVlm,
    /// Ollama, by its own interface.
    Ollama,
    /// None: a Qwen2.5-VL or Qwen3-VL in this process, on MLX.
    Mlx,
    /// Any server of the OpenAI chat interface: llama.cpp, vLLM, LM Studio.
    Openai,
}

/// Why a request did not end well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// MLX is not compiled in.
    #[error("this `ingest` was built without MLX")]
    NotBuilt,
    /// The model is none that runs in this process.
    #[error("{0}")]
    Unsupported(String),
    /// Nobody answers there.
    #[error("the server {at} is away: {why}")]
    Unavailable {
        /// URL.
        at: String,
        /// What was tried and how it ended.
        why: String,
    },
    /// What answers there is something else.
    #[error("what answers at {at} is no such server: {why}")]
    UnexpectedServer {
        /// URL.
        at: String,
        /// What it said.
        why: String,
    },
    /// The key is missing or wrong.
    #[error("the server {at} wants another API key")]
    Key {
        /// URL.
        at: String,
    },
    /// The key would travel in the clear.
    #[error("the API key would go unencrypted to {at}")]
    KeyInTheClear {
        /// URL.
        at: String,
    },
    /// It does not have the model, or nobody said which.
    #[error("the server {at} has no model `{model}`; it has: {known}")]
    Model {
        /// URL.
        at: String,
        /// The model asked for.
        model: String,
        /// Those it has.
        known: String,
    },
    /// It refused this request; another one may do.
    #[error("the question was refused: {0}")]
    Refused(String),
    /// It failed, maybe through the fault of another request.
    #[error("the model failed: {0}")]
    ModelFailed(String),
    /// It ran out of memory.
    #[error("the model is out of memory: {0}")]
    Memory(String),
    /// It ended in the middle of an answer.
    #[error("the server went away in the middle of an answer: {0}")]
    Disconnected(String),
    /// It ended an answer because that went round in circles.
    #[error("the server ended an answer that went round in circles")]
    Repetition,
    /// The page took too long.
    #[error("no end after {0} s")]
    Deadline(u64),
    /// What it said is not what was agreed upon.
    #[error("the server said what nobody understands: {0}")]
    Protocol(String),
}

/// A part of a question, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Words.
    Text(String),
    /// A picture, JPEG.
    Image(Arc<[u8]>),
}

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// Its parts.
    pub parts: Vec<Part>,
    /// Tokens the answer may take.
    pub max_tokens: u32,
    /// 0 always takes the likeliest token.
    pub temperature: f32,
    /// How long it may take.
    pub deadline: Duration,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunk {
    /// Words.
    Text(String),
    /// Words that the model said to itself.
    Reasoning(String),
    /// The end.
    Finished(Finish),
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Finish {
    /// Whether the budget of tokens was spent before the model was done.
    pub truncated: bool,
    /// Tokens of the question, pictures included; none where the server does not tell.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the answer.
    pub tokens: Option<u32>,
}

/// An answer as it comes. Dropping it tells the server to stop.
pub type Stream = Box<dyn Iterator<Item = Result<Chunk, Error>> + Send>;

/// Pieces one by one, to the end or the first failure.
fn stream_of(mut next: impl FnMut() -> Result<Chunk, Error> + Send + 'static) -> Stream {
    let mut over = false;
    Box::new(std::iter::from_fn(move || {
        if over {
            return None;
        }
        let chunk = next();
        over = !matches!(chunk, Ok(Chunk::Text(_) | Chunk::Reasoning(_)));
        Some(chunk)
    }))
}

/// What is known of a runner before it is asked anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// The server and its version, for people.
    pub name: String,
    /// The model, by its name there.
    pub model: String,
    /// Requests at once that suit it.
    pub lanes: usize,
    /// Pages in one request that suit it.
    pub interleave: usize,
    /// Whether a request must wait for the first token of the one before.
    pub gated: bool,
    /// Pixels that make a visual token.
    pub pixels_per_token: u32,
    /// Whether pages leave this machine.
    pub remote: bool,
    /// Whether it can free the memory that the model takes.
    pub unloads: bool,
    /// What a person should know of the model.
    pub warning: Option<String>,
}

/// Talks to a model. Several threads may ask at once.
pub trait Runner: Send + Sync {
    /// What is known of it.
    fn card(&self) -> &Card;

    /// Asks. The answer comes piece by piece and ends with [`Chunk::Finished`].
    ///
    /// # Errors
    /// When the question is not taken; what goes wrong later is an item of the stream.
    fn run(&self, request: &ChatRequest) -> Result<Stream, Error>;

    /// Frees the memory that the model takes, as far as the runner can.
    ///
    /// # Errors
    /// When the server fails.
    fn unload(&self) -> Result<(), Error>;

    /// The process whose memory the model takes; none where it is on another machine, or cannot be told.
    fn process(&self) -> Option<u32>;
}

/// Fetches the files of a model in this process that are not here yet; a server has its own.
///
/// # Errors
/// When there is no such model, or it cannot be fetched.
pub fn fetch(config: &Config, on_progress: Progress) -> Result<(), Error> {
    match config.runner {
        RunnerKind::Mlx => in_process::fetch(config, on_progress),
        RunnerKind::MlxVlm | RunnerKind::Ollama | RunnerKind::Openai => Ok(()),
    }
}

/// Opens the runner that the configuration names, and looks whether it has the model; a model in this process may take
/// `memory` bytes.
///
/// # Errors
/// When it does not answer, wants another key, or has no such model.
pub fn open(config: &Config, memory: u64) -> Result<Box<dyn Runner>, Error> {
    match config.runner {
        RunnerKind::Mlx => in_process::open(config, memory),
        RunnerKind::MlxVlm | RunnerKind::Ollama | RunnerKind::Openai => server::open(config),
    }
}

/// Ends what runners started, at once: for a process that leaves without cleaning up.
pub fn end_all() {
    server::end_all();
}
