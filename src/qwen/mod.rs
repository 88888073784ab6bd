//! What a model of the Qwen-VL families is, whatever computes it: its shape, its tensors, in which order the vision tower
//! reads a page and where each token stands. Pure maths: no model library is named here.

pub mod activations;
pub mod candle;
mod config;
pub mod image_processor;
pub mod mlx;
mod packed_sequences;
mod rope;
pub mod schema;
mod window_index;

pub use config::{Config, DeepStack, Family, Text, Vision, WindowedAttention};
pub use packed_sequences::{PackedSequences, SequenceGroup};
pub use rope::{PositionId, Span, position_ids, rotary_angles};
pub use window_index::{WindowIndex, interpolated_pos_embed};
