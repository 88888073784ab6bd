//! What stands in for MLX where it is not compiled in: nothing of it can be opened.

use std::convert::Infallible;
use std::time::Instant;

use super::{Error, Memory, Piece, Question, Recipe, Said, Tap, Unit};
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

/// A model that never speaks.
pub struct Speaker(Infallible);

/// An answer that never comes.
pub struct Answer {
    /// Tokens of the question.
    pub prompt: usize,
    never: Infallible,
}

impl Speaker {
    /// Says that MLX is not compiled in.
    ///
    /// # Errors
    /// Always.
    pub fn open(_recipe: Recipe) -> Result<Self, Error> {
        Err(Error::NotBuilt)
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// Never.
    pub fn ask(&self, _question: Question) -> Result<Answer, Error> {
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
    pub fn inside(
        &self,
        _pieces: Vec<Piece>,
        _answer: Vec<u32>,
        _stretch: usize,
    ) -> Result<Vec<Tap>, Error> {
        match self.0 {}
    }
}

impl Answer {
    /// Cannot be called.
    ///
    /// # Errors
    /// Never.
    pub fn next_by(&self, _end: Instant) -> Result<Said, Option<Error>> {
        match self.never {}
    }
}

/// Nothing is there to be limited.
///
/// # Errors
/// Always.
pub fn limit(_bytes: u64) -> Result<(), Error> {
    Err(Error::NotBuilt)
}

/// Nothing is measured.
pub fn measure_anew() {}

/// Nothing is held.
pub fn memory() -> Memory {
    Memory::default()
}
