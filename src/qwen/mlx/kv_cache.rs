//! What a language model keeps of the tokens of a sequence: their keys and values, layer by layer.

use mlx_rs::ops::indexing::{TryIndexMutOp, TryIndexOp};
use mlx_rs::ops::{concatenate, zeros_dtype};
use mlx_rs::{Array, Stream};

use super::layers::{Result, size};
use crate::qwen::Text;

/// Tokens that room is made for at a time.
const STEP: usize = 256;

/// Keys and values of a sequence.
pub(super) struct Cache {
    /// Of each layer, (1, key heads, room, head); none before the first token.
    layers: Vec<[Option<Array>; 2]>,
    len: i32,
}

impl Cache {
    pub(super) fn new(config: &Text) -> Self {
        let layers = (0..config.num_hidden_layers).map(|_| [None, None]);
        Self {
            layers: layers.collect(),
            len: 0,
        }
    }

    /// Bytes that a sequence of so many tokens takes, at so many bytes a number.
    pub(super) fn bytes(config: &Text, tokens: usize, number: u64) -> u64 {
        let row = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim();
        (tokens.next_multiple_of(STEP) * row) as u64 * number
    }

    /// Adds keys and values of new tokens to a layer, (1, key heads, new, head); returns those of all tokens.
    pub(super) fn add(&mut self, layer: usize, new: [&Array; 2]) -> Result<[Array; 2]> {
        let [keys, values] = &mut self.layers[layer];
        Ok([
            write(keys, self.len, new[0])?,
            write(values, self.len, new[1])?,
        ])
    }

    /// Counts tokens that have gone through all layers.
    pub(super) fn advance(&mut self, tokens: i32) {
        self.len += tokens;
    }
}

/// Writes behind the first `start` tokens; returns all that is written.
fn write(kept: &mut Option<Array>, start: i32, new: &Array) -> Result<Array> {
    let end = start + size(new, 2);
    let room = kept.as_ref().map_or(0, |kept| size(kept, 2));
    if end > room {
        let wanted = (end as usize).next_multiple_of(STEP) as i32;
        let shape = [1, size(new, 1), wanted - room, size(new, 3)];
        let blank = zeros_dtype(&shape, new.dtype())?;
        *kept = Some(match kept.take() {
            None => blank,
            Some(old) => concatenate(&[old, blank], 2)?,
        });
    }
    let Some(all) = kept else {
        return Ok(new.clone()); // No token was given.
    };
    let stream = Stream::thread_local_or_default();
    all.try_index_mut_device((.., .., start..end, ..), new, &stream)?;
    all.try_index((.., .., 0..end, ..))
}
