//! The API of this module without the feature `mlx`: no model can be opened, so no method can be called.

use std::convert::Infallible;

use super::{
    Activation, Device, Error, GenerationRequest, GeneratorConfig, Memory, Segment, TokenStream,
};
use crate::checkpoint::Weights;
use crate::qwen::{Config, Operation, VectorHead};

/// A ColQwen on MLX: has no values.
pub struct Encoder(Infallible);

impl Encoder {
    /// Always returns [`Error::NotBuilt`].
    pub fn open(_: Weights, _: &Config, _: VectorHead, _: Device) -> Result<Self, Error> {
        Err(Error::NotBuilt)
    }

    /// Cannot be called.
    pub fn encode(&mut self, _: Vec<Vec<Segment>>) -> Result<Vec<f32>, Error> {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn activations(&mut self, _: Vec<Vec<Segment>>) -> Result<Vec<Activation>, Error> {
        match self.0 {}
    }
}

/// A model that generates text: has no values.
pub struct Generator(Infallible);

impl Generator {
    /// Always returns [`Error::NotBuilt`].
    pub fn open(_: GeneratorConfig) -> Result<Self, Error> {
        Err(Error::NotBuilt)
    }

    /// Cannot be called.
    pub fn submit(&self, _: GenerationRequest) -> Result<TokenStream, Error> {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn unload(&self) -> Result<(), Error> {
        match self.0 {}
    }
}

/// Always returns [`Error::NotBuilt`].
pub fn set_memory_limit(_: u64) -> Result<(), Error> {
    Err(Error::NotBuilt)
}

/// Always returns [`Error::NotBuilt`].
pub fn time(_: Device, _: &Operation, _: f64) -> Result<f64, Error> {
    Err(Error::NotBuilt)
}

/// Always returns [`Error::NotBuilt`].
pub fn allocate(_: Device, _: u64) -> Result<(), Error> {
    Err(Error::NotBuilt)
}

/// Does nothing.
pub fn reset_peak_memory() {}

/// Returns zeros.
pub fn memory() -> Memory {
    Memory::default()
}
