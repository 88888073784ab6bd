//! Text generation with continuous batching: many requests share one model.

mod active_batch;
mod memory;
mod model;
mod sampling;
mod scheduler;

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mlx_rs::memory as mlx;

use super::thread::{self, failed};
use super::{Activation, Error, GenerationRequest, GeneratorConfig, Segment, TokenEvent};
use crate::qwen;
use active_batch::Asked;
use memory::Need;
use scheduler::{Hall, lock};

/// A model that answers questions, several at once. It is loaded when it is first asked.
pub struct Generator(Arc<Hall>);

/// An answer as it comes; dropping it ends it.
pub struct TokenStream {
    said: Receiver<Result<TokenEvent, Error>>,
    /// Tokens of the question, pictures included.
    pub prompt_tokens: usize,
    _wanted: Arc<()>,
}

impl Generator {
    /// A model that is loaded when it is first asked.
    ///
    /// # Errors
    /// When its weights do not fit into the memory that it may take.
    pub fn open(config: GeneratorConfig) -> Result<Self, Error> {
        let weights = (config.weights)()?.bytes(config.device.bytes());
        if weights > config.memory {
            return Err(over(weights, 0, config.memory));
        }
        thread::set_memory_limit(config.memory)?;
        Ok(Self(Arc::new(Hall {
            config,
            weights,
            door: Mutex::default(),
            floor: Mutex::default(),
        })))
    }

    /// Asks.
    ///
    /// # Errors
    /// When the question is longer than the model reads, or could never fit into memory.
    pub fn submit(&self, mut question: GenerationRequest) -> Result<TokenStream, Error> {
        let config = &self.0.config;
        let spans: Vec<_> = question.segments.iter().map(Segment::span).collect();
        let (tokens, context) = (qwen::position_ids(&spans).len(), config.context_length);
        if tokens >= context {
            return Err(Error::Long { tokens, context });
        }
        question.max_tokens = question.max_tokens.clamp(1, context - tokens);
        let need = Need::of(config, &question, tokens);
        let (own, weights) = (need.kept + need.reading, self.0.weights);
        if weights + own > config.memory {
            return Err(over(own, weights, config.memory));
        }
        let ((tell, said), wanted) = (channel(), Arc::new(()));
        let mut door = lock(&self.0.door);
        door.waiting.push_back(Asked {
            question,
            need,
            tell,
            wanted: Arc::downgrade(&wanted),
        });
        if !std::mem::replace(&mut door.turning, true) {
            self.0.queue();
        }
        Ok(TokenStream {
            said,
            prompt_tokens: tokens,
            _wanted: wanted,
        })
    }

    /// Frees the memory that the model takes; the next question loads it again.
    ///
    /// # Errors
    /// When MLX fails.
    pub fn unload(&self) -> Result<(), Error> {
        let hall = Arc::clone(&self.0);
        thread::run(move || {
            let mut floor = lock(&hall.floor);
            floor.give_up(&Error::Failed("the model was unloaded".to_owned()));
            floor.model = None;
            mlx::clear_cache()
        })?
        .map_err(failed)
    }

    /// What is computed on the way: what the vision tower sees, then the scores of all words behind each token of a question
    /// that is read `stretch` tokens at a time, and behind each token of an answer that is given.
    ///
    /// # Errors
    /// When MLX fails.
    pub fn activations(
        &self,
        segments: Vec<Segment>,
        answer: Vec<u32>,
        stretch: usize,
    ) -> Result<Vec<Activation>, Error> {
        let hall = Arc::clone(&self.0);
        thread::run(move || {
            let device = hall.config.device;
            thread::on(device, || {
                lock(&hall.floor).activations(&hall.config, segments, &answer, stretch)
            })
        })?
    }
}

impl TokenStream {
    /// What comes next, if it comes in time.
    ///
    /// # Errors
    /// None when the time is over; else what went wrong.
    pub fn recv_deadline(&self, end: Instant) -> Result<TokenEvent, Option<Error>> {
        match self
            .said
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            Ok(said) => said.map_err(Some),
            Err(RecvTimeoutError::Timeout) => Err(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Some(Error::Failed("its thread panicked".to_owned())))
            }
        }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.unload();
    }
}

fn over(need: u64, taken: u64, limit: u64) -> Error {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let beside = match taken {
        0 => String::new(),
        taken => format!(" beside {} MiB of weights", mib(taken)),
    };
    Error::Memory(format!(
        "{} MiB are needed{beside}, {} MiB are allowed",
        mib(need),
        mib(limit)
    ))
}
