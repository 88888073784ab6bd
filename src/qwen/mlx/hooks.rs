//! Intermediate values of a model, captured for parity tests.

use mlx_rs::{Array, Dtype};

use super::Activation;
use super::layers::Result as Mlx;

/// Called with the name, the index and the values of an activation.
pub(super) type Hook<'a> = &'a mut dyn FnMut(&'static str, usize, &Array) -> Mlx<()>;

/// Copies an activation out of MLX.
pub(super) fn capture(name: &'static str, index: usize, values: &Array) -> Mlx<Activation> {
    let width = values.shape().last().map_or(1, |&width| width as usize);
    Ok(Activation {
        name,
        index,
        width,
        values: floats(values)?,
    })
}

/// Copies the values of an array out of MLX, in f32.
pub(super) fn floats(values: &Array) -> Mlx<Vec<f32>> {
    let values = values.as_dtype(Dtype::Float32)?.flatten(None, None)?;
    values
        .contiguous()?
        .to_vec_exact()
        .map_err(|error| mlx_rs::error::Exception::custom(error.to_string()))
}
