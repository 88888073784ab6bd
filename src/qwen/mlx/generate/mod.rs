//! Text generation with continuous batching: many requests share one model.

mod active_batch;
mod memory;
mod model;
mod prefill;
mod sampling;
mod scheduler;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use mlx_rs::memory as mlx;

use super::thread::{self, failed};
use super::{Activation, Error, GenerationRequest, GeneratorConfig, Segment, TokenStream};
use crate::qwen;
use active_batch::QueuedRequest;
use memory::RequestMemory;
use scheduler::{Scheduler, lock};

/// A model that generates text, several sequences at once. It is loaded at the first request.
pub struct Generator(Arc<Scheduler>);

impl Generator {
    /// Creates a generator; the model is loaded at the first request.
    ///
    /// # Errors
    /// [`Error::Memory`] when the weights exceed the memory limit, [`Error::Files`] when they cannot be opened.
    pub fn open(config: GeneratorConfig) -> Result<Self, Error> {
        let weights = (config.weights)()?.bytes(config.device.bytes());
        if weights > config.memory_limit {
            return Err(over_limit(weights, 0, config.memory_limit));
        }
        thread::set_memory_limit(config.memory_limit)?;
        Ok(Self(Arc::new(Scheduler {
            config,
            weights,
            queue: Mutex::default(),
            batch: Mutex::default(),
        })))
    }

    /// Queues a request and returns the stream of its tokens.
    ///
    /// # Errors
    /// [`Error::PromptTooLong`] when the prompt fills the context, [`Error::Memory`] when the request can never fit.
    pub fn submit(&self, mut request: GenerationRequest) -> Result<TokenStream, Error> {
        let config = &self.0.config;
        let spans: Vec<_> = request.segments.iter().map(Segment::span).collect();
        let (tokens, context_length) = (qwen::position_ids(&spans).len(), config.context_length);
        if tokens >= context_length {
            return Err(Error::PromptTooLong {
                tokens,
                context_length,
            });
        }
        request.max_tokens = request.max_tokens.clamp(1, context_length - tokens);
        let memory = RequestMemory::of(config, &request, tokens);
        let (needed, weights) = (memory.total(), self.0.weights);
        if weights + needed > config.memory_limit {
            return Err(over_limit(needed, weights, config.memory_limit));
        }
        let ((sender, receiver), alive) = (channel(), Arc::new(()));
        let mut queue = lock(&self.0.queue);
        queue.pending.push_back(QueuedRequest {
            request,
            memory,
            sender,
            receiver_alive: Arc::downgrade(&alive),
        });
        if !std::mem::replace(&mut queue.scheduled, true) {
            self.0.schedule();
        }
        Ok(TokenStream {
            receiver,
            prompt_tokens: tokens,
            _alive: alive,
        })
    }

    /// Frees the model's memory; the next request loads it again. Active sequences fail.
    ///
    /// # Errors
    /// [`Error::Failed`] when MLX fails.
    pub fn unload(&self) -> Result<(), Error> {
        let scheduler = Arc::clone(&self.0);
        thread::call(move || {
            let mut batch = lock(&scheduler.batch);
            batch.fail_all(&Error::Failed("the model was unloaded".to_owned()));
            batch.model = None;
            mlx::clear_cache()
        })?
        .map_err(failed)
    }

    /// Activations of the vision tower, then the logits of each token of a prompt that is prefilled `chunk` tokens at a
    /// time, and of each token of a given answer.
    ///
    /// # Errors
    /// [`Error::Files`], [`Error::Memory`] or [`Error::Failed`], from loading or computing.
    pub fn activations(
        &self,
        segments: Vec<Segment>,
        answer: Vec<u32>,
        chunk: usize,
    ) -> Result<Vec<Activation>, Error> {
        let scheduler = Arc::clone(&self.0);
        thread::call(move || {
            let config = &scheduler.config;
            thread::with_device(config.device, || {
                lock(&scheduler.batch).activations(config, segments, &answer, chunk)
            })
        })?
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = self.unload();
    }
}

/// The error of `needed` bytes that exceed `limit`, in addition to the weights where those are counted apart.
fn over_limit(needed: u64, weights: u64, limit: u64) -> Error {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let in_addition = match weights {
        0 => String::new(),
        weights => format!(" in addition to {} MiB of weights", mib(weights)),
    };
    Error::Memory(format!(
        "{} MiB are needed{in_addition}, {} MiB are allowed",
        mib(needed),
        mib(limit)
    ))
}
