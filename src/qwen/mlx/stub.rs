//! What stands in for MLX where it is not compiled in: nothing of it can be opened.

use std::convert::Infallible;
use std::time::Instant;

use super::{
    Activation, Device, Error, GenerationRequest, GeneratorConfig, Memory, Segment, TokenEvent,
};
use crate::checkpoint::Weights;
use crate::qwen::Config;

/// A model that is never there.
pub struct Encoder(Infallible);

impl Encoder {
    /// Says that MLX is not compiled in.
    ///
    /// # Errors
    /// Always.
    pub fn open(_weights: Weights, _shape: &Config, _unit: Device) -> Result<Self, Error> {
        Err(Error::NotBuilt)
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// Never.
    pub fn encode(&mut self, _sequences: Vec<Vec<Segment>>) -> Result<Vec<f32>, Error> {
        match self.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// Never.
    pub fn activations(&mut self, _sequences: Vec<Vec<Segment>>) -> Result<Vec<Activation>, Error> {
        match self.0 {}
    }
}

/// A model that never speaks.
pub struct Generator(Infallible);

/// An answer that never comes.
pub struct TokenStream {
    /// Tokens of the question.
    pub prompt_tokens: usize,
    never: Infallible,
}

impl Generator {
    /// Says that MLX is not compiled in.
    ///
    /// # Errors
    /// Always.
    pub fn open(_recipe: GeneratorConfig) -> Result<Self, Error> {
        Err(Error::NotBuilt)
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// Never.
    pub fn submit(&self, _question: GenerationRequest) -> Result<TokenStream, Error> {
        match self.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// Never.
    pub fn unload(&self) -> Result<(), Error> {
        match self.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// Never.
    pub fn activations(
        &self,
        _pieces: Vec<Segment>,
        _answer: Vec<u32>,
        _stretch: usize,
    ) -> Result<Vec<Activation>, Error> {
        match self.0 {}
    }
}

impl TokenStream {
    /// Cannot be called.
    ///
    /// # Errors
    /// Never.
    pub fn recv_deadline(&self, _end: Instant) -> Result<TokenEvent, Option<Error>> {
        match self.never {}
    }
}

/// Nothing is there to be limited.
///
/// # Errors
/// Always.
pub fn set_memory_limit(_bytes: u64) -> Result<(), Error> {
    Err(Error::NotBuilt)
}

/// Nothing is measured.
pub fn reset_peak_memory() {}

/// Nothing is held.
pub fn memory() -> Memory {
    Memory::default()
}
