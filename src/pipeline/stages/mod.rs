//! The stages of the pipeline: render, prepare, embed, store.

pub(super) mod embed;
pub(super) mod prepare;
pub(super) mod render;
pub(super) mod store;
