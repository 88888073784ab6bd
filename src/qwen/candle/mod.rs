//! Qwen-VL models on candle: CPU, CUDA, Metal.

mod attention;
mod cpu_ops;
mod decoder;
mod device;
mod encoder;
mod layers;
mod linear_tensors;
mod pos_embed;
mod probe;
mod rotary;
mod vision;
mod weights;

use candle_core::Tensor;

pub use attention::SCORE_TILE;
pub use device::{CandleDevice, DeviceKind, Error};
pub use encoder::{Encoder, Projections, Segment};
pub use probe::{allocate, leave_nan, time};

/// Called with the name, the index and the values of an activation, for parity tests.
pub type Hook<'a> = &'a mut dyn FnMut(&str, usize, &Tensor);
