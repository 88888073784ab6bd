//! Qwen-VL models on candle: CPU, CUDA, Metal.

mod attention;
mod decoder;
mod device;
mod encoder;
mod vision;
mod weights;

use candle_core::Tensor;

pub use attention::SCORE_TILE;
pub use device::{CandleDevice, DeviceKind, Error};
pub use encoder::{Encoder, Segment};

/// Called with the name, the number and the values of what a model computes on its way; tests compare them.
pub type Hook<'a> = &'a mut dyn FnMut(&str, usize, &Tensor);
