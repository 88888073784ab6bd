//! Prefill: the keys, values and last hidden state of a prompt, computed in chunks.

use mlx_rs::Array;
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::transforms::eval;

use super::super::Segment;
use super::super::attention::RotaryEmbedding;
use super::super::hooks::Hook;
use super::super::input::PackedInput;
use super::super::kv_cache::KvCache;
use super::super::layers::Result as Mlx;
use super::model::Model;
use crate::qwen;

/// Tokens of a prompt that are prefilled at a time: their activations in the MLPs of a large model stay below 100 MB.
pub(super) const PREFILL_CHUNK: usize = 512;

/// A prefilled prompt.
pub(super) struct Prefilled {
    /// Keys and values of its tokens.
    pub(super) cache: KvCache,
    /// Position of the next token.
    pub(super) position: i32,
    /// Hidden state of the last token, (1, hidden_size).
    pub(super) hidden: Array,
}

impl Model {
    /// Prefills a prompt, `chunk` tokens at a time. `hook` is called with the activations of the vision tower, `on_chunk`
    /// with the hidden states of each chunk, (tokens, hidden_size); if it returns false, the result is `None`.
    pub(super) fn prefill(
        &mut self,
        segments: Vec<Segment>,
        chunk: usize,
        hook: Hook,
        on_chunk: &mut dyn FnMut(&Array) -> Mlx<bool>,
    ) -> Mlx<Option<Prefilled>> {
        let input = PackedInput::new(vec![segments]);
        let inputs = input.embed(&mut self.visual, &self.language_model, hook)?;
        eval(std::iter::once(&inputs.embeds).chain(&inputs.deepstack))?;
        let mut cache = KvCache::new(&self.text);
        let mut last = None;
        for (index, position_ids) in input.position_ids.chunks(chunk).enumerate() {
            let (start, count) = ((index * chunk) as i32, position_ids.len() as i32);
            let slice = |x: &Array| x.try_index(start..start + count);
            let deepstack: Vec<Array> = inputs.deepstack.iter().map(slice).collect::<Mlx<_>>()?;
            let angles = qwen::rotary_angles(position_ids, &self.text);
            let rotary = RotaryEmbedding::new(&angles, position_ids.len(), self.dtype)?;
            let embeds = slice(&inputs.embeds)?;
            let hidden = self
                .language_model
                .prefill(embeds, &deepstack, &rotary, &mut cache)?;
            hidden.eval()?;
            if !on_chunk(&hidden)? {
                return Ok(None);
            }
            last = Some(hidden.try_index(count - 1..count)?);
        }
        let largest = input.position_ids.iter().flatten().max();
        let position = largest.map_or(0, |largest| largest + 1) as i32;
        Ok(last.map(|hidden| Prefilled {
            cache,
            position,
            hidden,
        }))
    }
}
