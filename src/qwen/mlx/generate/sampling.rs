//! Sampling: from logits to token ids.

use mlx_rs::ops::concatenate;
use mlx_rs::ops::indexing::{TryIndexOp, argmax_axis};
use mlx_rs::random::{categorical, key};
use mlx_rs::{Array, Dtype};

use super::super::layers::Result as Mlx;

/// How a token is sampled.
#[derive(Clone, Copy, Debug)]
pub(super) struct SamplingParams {
    /// 0 is greedy decoding.
    pub(super) temperature: f32,
    /// Seed of the random generator; incremented per token.
    pub(super) seed: u64,
}

/// Samples a token for each row of `logits`, (rows, vocabulary), with the parameters of that row.
pub(super) fn sample(logits: &Array, params: &[SamplingParams]) -> Mlx<Array> {
    let greedy = argmax_axis(logits, -1, false)?;
    if params.iter().all(|params| params.temperature == 0.0) {
        return Ok(greedy);
    }
    let sample_row = |(row, params): (i32, &SamplingParams)| match params.temperature > 0.0 {
        true => {
            let logits = logits.try_index(row..row + 1)?;
            let scaled = logits.divide(Array::from_slice(&[params.temperature], &[]))?;
            categorical(scaled, -1, None, &key(params.seed)?)
        }
        false => greedy.try_index(row..row + 1),
    };
    let tokens = (0..).zip(params).map(sample_row);
    let tokens: Vec<Array> = tokens.collect::<Mlx<_>>()?;
    concatenate(&tokens, 0)
}

/// Copies token ids out of MLX.
pub(super) fn token_ids(tokens: &Array) -> Mlx<Vec<u32>> {
    tokens
        .as_dtype(Dtype::Uint32)?
        .to_vec_exact()
        .map_err(|error| mlx_rs::error::Exception::custom(error.to_string()))
}
