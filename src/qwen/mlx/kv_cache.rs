//! KV cache: the keys and values of a sequence, layer by layer.

use mlx_rs::ops::indexing::{TryIndexMutOp, TryIndexOp};
use mlx_rs::ops::{concatenate, zeros_dtype};
use mlx_rs::{Array, Stream};

use super::layers::{Result, size};
use crate::qwen::Text;

/// Tokens by which the buffers grow.
const GROWTH: usize = 256;

/// The keys and values of a sequence.
pub(super) struct KvCache {
    /// Of each layer, (1, num_key_value_heads, capacity, head_dim); `None` before the first token.
    layers: Vec<[Option<Array>; 2]>,
    len: i32,
}

impl KvCache {
    pub(super) fn new(config: &Text) -> Self {
        let layers = (0..config.num_hidden_layers).map(|_| [None, None]);
        Self {
            layers: layers.collect(),
            len: 0,
        }
    }

    /// Bytes of the cache of a sequence of `tokens` tokens, at `dtype_bytes` per element.
    pub(super) fn bytes(config: &Text, tokens: usize, dtype_bytes: u64) -> u64 {
        let row = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim();
        (tokens.next_multiple_of(GROWTH) * row) as u64 * dtype_bytes
    }

    /// Appends keys and values of new tokens to a layer, (1, num_key_value_heads, new, head_dim); returns those of all tokens.
    pub(super) fn update(&mut self, layer: usize, new: [&Array; 2]) -> Result<[Array; 2]> {
        let [keys, values] = &mut self.layers[layer];
        Ok([
            write(keys, self.len, new[0])?,
            write(values, self.len, new[1])?,
        ])
    }

    /// Advances the length by `tokens`, once every layer was updated.
    pub(super) fn advance(&mut self, tokens: i32) {
        self.len += tokens;
    }
}

/// Writes `new` from token `start` on, growing the buffer where needed; returns all tokens up to the end of `new`.
fn write(buffer: &mut Option<Array>, start: i32, new: &Array) -> Result<Array> {
    let end = start + size(new, 2);
    let capacity = buffer.as_ref().map_or(0, |buffer| size(buffer, 2));
    if end > capacity {
        let wanted = (end as usize).next_multiple_of(GROWTH) as i32;
        let shape = [1, size(new, 1), wanted - capacity, size(new, 3)];
        let zeros = zeros_dtype(&shape, new.dtype())?;
        *buffer = Some(match buffer.take() {
            None => zeros,
            Some(old) => concatenate(&[old, zeros], 2)?,
        });
    }
    let Some(all) = buffer else {
        return Ok(new.clone()); // There are no tokens.
    };
    let stream = Stream::thread_local_or_default();
    all.try_index_mut_device((.., .., start..end, ..), new, &stream)?;
    all.try_index((.., .., 0..end, ..))
}
