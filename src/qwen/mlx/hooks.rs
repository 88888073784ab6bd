//! Intermediate values of a model, captured for parity tests.

use mlx_rs::{Array, Dtype};

use super::Activation;
use super::layers::Result as Mlx;

/// Told the name, the number and the values of what a model computes on its way.
pub(super) type Hook<'a> = &'a mut dyn FnMut(&'static str, usize, &Array) -> Mlx<()>;

/// Values as tests compare them.
pub(super) fn tap(name: &'static str, number: usize, values: &Array) -> Mlx<Activation> {
    let width = values.shape().last().map_or(1, |&width| width as usize);
    Ok(Activation {
        name,
        number,
        width,
        values: floats(values)?,
    })
}

/// The numbers of an array.
pub(super) fn floats(values: &Array) -> Mlx<Vec<f32>> {
    let values = values.as_dtype(Dtype::Float32)?.flatten(None, None)?;
    values
        .contiguous()?
        .to_vec_exact()
        .map_err(|error| mlx_rs::error::Exception::custom(error.to_string()))
}
