//! What stands in for MLX where it is not compiled in: nothing of it can be opened.

use std::convert::Infallible;

use super::{Error, Memory, Piece, Tap, Unit};
use crate::checkpoint::Weights;
use crate::qwen::Config;

/// A model that is never there.
pub struct Reader(Infallible);

impl Reader {
    /// Says that MLX is not compiled in.
    ///
    /// # Errors
    /// Always.
    pub fn open(_weights: Weights, _shape: &Config, _unit: Unit) -> Result<Self, Error> {
        Err(Error::NotBuilt)
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// Never.
    pub fn read(&mut self, _sequences: Vec<Vec<Piece>>) -> Result<Vec<f32>, Error> {
        match self.0 {}
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// Never.
    pub fn inside(&mut self, _sequences: Vec<Vec<Piece>>) -> Result<Vec<Tap>, Error> {
        match self.0 {}
    }
}

/// Nothing is held.
pub fn memory() -> Memory {
    Memory::default()
}
