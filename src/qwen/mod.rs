//! The Qwen-VL families: config, tensors, image processor, position ids and window index, and the backends that compute them
//! ([`candle`], [`mlx`]). Apart from the backends it is pure maths without a model library.

pub mod activations;
pub mod candle;
mod config;
pub mod flops;
pub mod image_processor;
pub mod mlx;
mod operation;
mod packed_sequences;
mod rope;
pub mod schema;
mod window_index;

pub use config::{Config, DeepStack, Family, Text, VectorHead, Vision, WindowedAttention};
pub use operation::{Operation, values as operation_values};
pub use packed_sequences::{PackedSequences, SequenceGroup};
pub use rope::{PositionId, Span, position_ids, rotary_angles};
pub use window_index::{WindowIndex, inverse};
