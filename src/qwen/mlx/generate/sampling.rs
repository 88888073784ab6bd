//! Sampling: from logits to token ids.

use mlx_rs::ops::concatenate;
use mlx_rs::ops::indexing::{TryIndexOp, argmax_axis};
use mlx_rs::random::{categorical, key};
use mlx_rs::{Array, Dtype};

use super::super::layers::Result as Mlx;

/// How a token is taken from scores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    /// 0 always takes the likeliest.
    pub(super) temperature: f32,
    /// What chance follows from, another number for each token of an answer.
    pub(super) seed: u64,
}

/// A token for each row of scores, (rows, words).
pub(super) fn choose(scores: &Array, draws: &[Draw]) -> Mlx<Array> {
    let likeliest = argmax_axis(scores, -1, false)?;
    if draws.iter().all(|draw| draw.temperature == 0.0) {
        return Ok(likeliest);
    }
    let one = |(row, draw): (i32, &Draw)| match draw.temperature > 0.0 {
        true => {
            let scores = scores.try_index(row..row + 1)?;
            let warm = scores.divide(Array::from_slice(&[draw.temperature], &[]))?;
            categorical(warm, -1, None, &key(draw.seed)?)
        }
        false => likeliest.try_index(row..row + 1),
    };
    let each: Vec<Array> = (0..).zip(draws).map(one).collect::<Mlx<_>>()?;
    concatenate(&each, 0)
}

/// Tokens out of MLX.
pub(super) fn tokens(chosen: &Array) -> Mlx<Vec<u32>> {
    chosen
        .as_dtype(Dtype::Uint32)?
        .to_vec_exact()
        .map_err(|error| mlx_rs::error::Exception::custom(error.to_string()))
}
