//! The active batch: sequences that are decoded together on the MLX thread, one token of each per step.

use std::sync::Weak;
use std::sync::mpsc::Sender;

use mlx_rs::ops::concatenate;
use mlx_rs::transforms::async_eval;
use mlx_rs::{Array, memory as mlx};

use super::super::hooks::capture;
use super::super::kv_cache::KvCache;
use super::super::thread::failed;
use super::super::{
    Activation, Error, FinishReason, GenerationRequest, GeneratorConfig, Segment, TokenEvent,
};
use super::memory::RequestMemory;
use super::model::Model;
use super::prefill::PREFILL_CHUNK;
use super::sampling::{SamplingParams, sample, token_ids};

/// A request with the channel for its tokens.
pub(super) struct QueuedRequest {
    pub(super) request: GenerationRequest,
    pub(super) memory: RequestMemory,
    pub(super) sender: Sender<Result<TokenEvent, Error>>,
    /// Dead once the token stream is dropped: the request is cancelled.
    pub(super) receiver_alive: Weak<()>,
}

/// The model and the sequences being decoded.
#[derive(Default)]
pub(super) struct ActiveBatch {
    pub(super) model: Option<Model>,
    pub(super) sequences: Vec<Sequence>,
    /// The next token of each sequence, (sequences); possibly still being computed.
    next_tokens: Option<Array>,
}

/// A sequence being decoded.
pub(super) struct Sequence {
    cache: KvCache,
    /// Bytes of the KV cache at `max_tokens`.
    kv_cache_bytes: u64,
    /// Position of the next token.
    position: i32,
    sampling: SamplingParams,
    /// Tokens that may still be emitted.
    remaining: usize,
    sender: Sender<Result<TokenEvent, Error>>,
    receiver_alive: Weak<()>,
}

impl ActiveBatch {
    /// Bytes that the KV caches of all sequences take at their `max_tokens`.
    pub(super) fn kv_cache_bytes(&self) -> u64 {
        let bytes = self
            .sequences
            .iter()
            .map(|sequence| sequence.kv_cache_bytes);
        bytes.sum()
    }

    /// Prefills a request and adds it to the batch. A request cancelled meanwhile is dropped.
    pub(super) fn admit(
        &mut self,
        config: &GeneratorConfig,
        queued: QueuedRequest,
    ) -> Result<(), Error> {
        let model = load(&mut self.model, config)?;
        let (temperature, seed) = (queued.request.temperature, queued.request.seed);
        let sampling = |index| SamplingParams {
            temperature,
            seed: seed.wrapping_add(index),
        };
        let on_chunk = &mut |_: &_| Ok(queued.receiver_alive.strong_count() > 0);
        let prefill = || {
            let no_hook = &mut |_: &'static str, _: usize, _: &_| Ok(());
            let segments = queued.request.segments;
            let Some(prefilled) = model.prefill(segments, PREFILL_CHUNK, no_hook, on_chunk)? else {
                return Ok(None);
            };
            let token = sample(&model.logits(&prefilled.hidden)?, &[sampling(0)])?;
            let next_tokens = match &self.next_tokens {
                None => token,
                Some(others) => concatenate(&[others, &token], 0)?,
            };
            next_tokens.eval()?;
            Ok(Some((prefilled, next_tokens)))
        };
        let Some((prefilled, next_tokens)) = prefill().map_err(failed)? else {
            return Ok(());
        };
        self.next_tokens = Some(next_tokens);
        self.sequences.push(Sequence {
            cache: prefilled.cache,
            kv_cache_bytes: queued.memory.kv_cache,
            position: prefilled.position,
            sampling: sampling(1),
            remaining: queued.request.max_tokens,
            sender: queued.sender,
            receiver_alive: queued.receiver_alive,
        });
        let _ = mlx::clear_cache();
        Ok(())
    }

    /// Sends `error` to a request that could not be admitted. The active sequences fail with it only by [`Error::Failed`]:
    /// a GPU may report a fault of their last step as late as this.
    pub(super) fn reject(&mut self, sender: &Sender<Result<TokenEvent, Error>>, error: Error) {
        if matches!(error, Error::Failed(_)) {
            self.fail_all(&error);
        }
        // The receiver may be gone.
        let _ = sender.send(Err(error));
    }

    /// Emits the next token of every sequence. The following step is launched first (`async_eval`), so sending overlaps
    /// with computing.
    pub(super) fn decode(&mut self, config: &GeneratorConfig) -> Result<(), Error> {
        let Some(current) = self.next_tokens.take() else {
            return Ok(());
        };
        let model = load(&mut self.model, config)?;
        let sequences = &mut self.sequences;
        let position_ids: Vec<i32> = sequences.iter().map(|s| s.position).collect();
        let sampling: Vec<SamplingParams> = sequences.iter().map(|s| s.sampling).collect();
        let continues = sequences.iter().any(|s| s.remaining > 1);
        let mut caches: Vec<&mut KvCache> = sequences.iter_mut().map(|s| &mut s.cache).collect();
        let mut launch = || {
            let hidden = model.decode(&current, &position_ids, &mut caches)?;
            let next = sample(&model.logits(&hidden)?, &sampling)?;
            async_eval([&next])?;
            Ok(next)
        };
        let next = continues.then(&mut launch).transpose().map_err(failed)?;
        let tokens = token_ids(&current).map_err(failed)?;
        self.next_tokens = next;
        self.retain(|row, sequence| {
            sequence.position += 1;
            sequence.sampling.seed = sequence.sampling.seed.wrapping_add(1);
            sequence.emit(tokens[row], &config.stop_tokens)
        })
    }

    /// Drops sequences whose token stream was dropped.
    pub(super) fn drop_cancelled(&mut self) -> Result<(), Error> {
        self.retain(|_, sequence| sequence.receiver_alive.strong_count() > 0)
    }

    /// Sends `error` to every active sequence and clears the batch.
    pub(super) fn fail_all(&mut self, error: &Error) {
        self.next_tokens = None;
        for sequence in self.sequences.drain(..) {
            // The receiver may be gone.
            let _ = sequence.sender.send(Err(match error {
                Error::Memory(why) => Error::Memory(why.clone()),
                other => Error::Failed(other.to_string()),
            }));
        }
    }

    /// Keeps the sequences, given with their row, for which `keep` returns true, and their rows of `next_tokens`.
    fn retain(&mut self, mut keep: impl FnMut(usize, &mut Sequence) -> bool) -> Result<(), Error> {
        let (mut row, mut rows) = (0, Vec::new());
        self.sequences.retain_mut(|sequence| {
            let kept = keep(row, sequence);
            if kept {
                rows.push(row as u32);
            }
            row += 1;
            kept
        });
        self.next_tokens = match self.next_tokens.take() {
            Some(_) if rows.is_empty() => None,
            Some(tokens) if rows.len() < row => {
                let rows = Array::from_slice(&rows, &[rows.len() as i32]);
                Some(tokens.take_axis(rows, 0).map_err(failed)?)
            }
            unchanged => unchanged,
        };
        Ok(())
    }

    /// See [`Generator::activations`](super::Generator::activations).
    pub(super) fn activations(
        &mut self,
        config: &GeneratorConfig,
        segments: Vec<Segment>,
        answer: &[u32],
        chunk: usize,
    ) -> Result<Vec<Activation>, Error> {
        let model = load(&mut self.model, config)?;
        let mut chunks = Vec::new();
        let compute = || {
            let on_chunk = &mut |hidden: &_| {
                chunks.push(Array::clone(hidden));
                Ok(true)
            };
            let mut activations = Vec::new();
            let hook = &mut |name, index, values: &_| {
                activations.push(capture(name, index, values)?);
                Ok(())
            };
            let Some(mut prefilled) = model.prefill(segments, chunk, hook, on_chunk)? else {
                return Ok(Vec::new());
            };
            let hidden = concatenate(&chunks, 0)?;
            activations.push(capture("lm.logits", 0, &model.logits(&hidden)?)?);
            for (index, (position, &token)) in (prefilled.position..).zip(answer).enumerate() {
                let token = Array::from_slice(&[token], &[1]);
                let hidden = model.decode(&token, &[position], &mut [&mut prefilled.cache])?;
                activations.push(capture("lm.logits", index + 1, &model.logits(&hidden)?)?);
            }
            Ok(activations)
        };
        compute().map_err(failed)
    }
}

impl Sequence {
    /// Sends a token, and the end of the stream where it is reached; returns whether the sequence goes on.
    fn emit(&mut self, token: u32, stop_tokens: &[u32]) -> bool {
        let send = |event| self.sender.send(Ok(event)).is_ok();
        if stop_tokens.contains(&token) {
            send(TokenEvent::Finished(FinishReason::Stop));
            return false;
        }
        self.remaining -= 1;
        let received = send(TokenEvent::Token(token));
        if self.remaining == 0 {
            send(TokenEvent::Finished(FinishReason::Length));
        }
        received && self.remaining > 0
    }
}

/// The model, loaded on first use.
fn load<'m>(
    model: &'m mut Option<Model>,
    config: &GeneratorConfig,
) -> Result<&'m mut Model, Error> {
    match model {
        Some(model) => Ok(model),
        none => Ok(none.insert(Model::load(config)?)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::qwen::Text;

    /// A batch with one sequence, and the receiver of its tokens.
    fn batch() -> (ActiveBatch, Receiver<Result<TokenEvent, Error>>) {
        let (sender, receiver) = channel();
        let no_layers = Text {
            vocab_size: 0,
            hidden_size: 0,
            intermediate_size: 0,
            num_hidden_layers: 0,
            num_attention_heads: 0,
            num_key_value_heads: 0,
            rms_norm_eps: 0.0,
            rope_theta: 0.0,
            mrope_section: [0; 3],
            qk_norm_head_dim: None,
            causal: true,
        };
        let sequence = Sequence {
            cache: KvCache::new(&no_layers),
            kv_cache_bytes: 0,
            position: 0,
            sampling: SamplingParams {
                temperature: 0.0,
                seed: 0,
            },
            remaining: 1,
            sender,
            receiver_alive: Arc::downgrade(&Arc::new(())),
        };
        let batch = ActiveBatch {
            sequences: vec![sequence],
            ..ActiveBatch::default()
        };
        (batch, receiver)
    }

    #[test]
    fn out_of_memory_at_admission_fails_the_new_request_only() {
        let (mut batch, active) = batch();
        let (sender, new) = channel();
        batch.reject(&sender, Error::Memory("full".to_owned()));
        assert!(matches!(new.try_recv(), Ok(Err(Error::Memory(_)))));
        assert!(active.try_recv().is_err());
        assert_eq!(batch.sequences.len(), 1);
    }

    #[test]
    fn failure_at_admission_fails_the_active_sequences_too() {
        let (mut batch, active) = batch();
        let (sender, new) = channel();
        batch.reject(&sender, Error::Failed("fault".to_owned()));
        assert!(matches!(new.try_recv(), Ok(Err(Error::Failed(_)))));
        assert!(matches!(active.try_recv(), Ok(Err(Error::Failed(_)))));
        assert!(batch.sequences.is_empty());
    }
}
