//! Linear algebra of transformers on a CPU, in f32: products with packed weights, attention, activations.
//!
//! One micro-kernel does all products: a tile of `a`'s rows by `b`'s columns stays in registers while both are read once, a
//! step at a time (Goto and van de Geijn, *Anatomy of High-Performance Matrix Multiplication*, 2008). Weights are packed for it
//! when a model is loaded, in bf16 if that is what the checkpoint has: widened in registers, they take half the memory and the
//! products are those of f32. Attention computes scores transposed, a query a lane, so that softmax needs no sums across lanes.
//!
//! The instruction set (AVX-512, AVX2, NEON, portable) is selected at run time.

mod attention;
mod epilogue;
mod kernels;
mod packed;
mod product;

/// Name of the instruction set that is used.
pub(crate) fn instruction_set() -> &'static str {
    kernels::Kernels::best().name
}

pub(crate) use attention::{Attention, attend};
pub(crate) use epilogue::{Activation, Epilogue, swiglu};
pub(crate) use packed::{PackedMatrix, Values};
pub(crate) use product::product;
