//! The stages of a run, each on a thread of its own, connected by bounded channels.

pub(super) mod embed;
pub(super) mod prepare;
pub(super) mod render;
pub(super) mod store;
