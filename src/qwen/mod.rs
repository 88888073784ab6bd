//! What a model of the Qwen-VL families is, whatever computes it: its shape, its tensors, in which order the vision tower
//! reads a page and where each token stands. Pure maths: no model library is named here.

mod config;
mod layout;
mod places;
pub mod processor;
pub mod schema;
mod sight;
pub mod sizes;

pub use config::{Config, Deep, Family, Text, Vision, Windows};
pub use layout::{Layout, corners};
pub use places::{Place, Span, angles, places};
pub use sight::{Run, Sight};
