//! The weights that are part of the program, from f16 on file to f32 in use.

use half::f16;
use safetensors::{Dtype, SafeTensors};

use super::gemm::Matrix;
use super::spelling::FEATURES;
use crate::checkpoint::Error;
use crate::embed::BUILT_IN;

/// The file, made by `train/export.py`.
pub(super) const FILE: &[u8] = include_bytes!("weights.safetensors");

/// Parameters in the file: two bytes each, after the header and the eight bytes of its length.
pub(super) fn parameters() -> u64 {
    let (length, rest) = FILE.split_first_chunk().unwrap_or((&[0; 8], FILE));
    (rest.len() as u64).saturating_sub(u64::from_le_bytes(*length)) / 2
}

/// A convolution, batch norm folded in: for each step down a matrix of (along, in) x out.
pub(super) struct Layer {
    /// Steps down.
    pub(super) down: usize,
    /// Steps along a row.
    pub(super) along: usize,
    /// Channels in.
    pub(super) inputs: usize,
    /// One float a channel out.
    pub(super) bias: Vec<f32>,
    weight: Vec<f32>,
}

impl Layer {
    /// The matrix of one step down.
    pub(super) fn tap(&self, down: usize) -> Matrix<'_> {
        let columns = self.bias.len();
        let size = self.along * self.inputs * columns;
        Matrix {
            data: &self.weight[down * size..(down + 1) * size],
            columns,
        }
    }

    /// Channels out.
    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }
}

/// Residual block: a convolution, then a hidden layer at every place.
pub(super) struct Block {
    /// The convolution.
    pub(super) look: Layer,
    /// To the hidden layer.
    pub(super) up: Layer,
    /// And back.
    pub(super) down: Layer,
}

/// Weights of the page tower.
pub(super) struct PageWeights {
    /// Pixels to half size.
    pub(super) edges: Layer,
    /// To a quarter.
    pub(super) strokes: Layer,
    /// Blocks at a quarter.
    pub(super) early: Vec<Block>,
    /// To one row a line of cells.
    pub(super) fold: Layer,
    /// Blocks along the line.
    pub(super) late: Vec<Block>,
    /// Fewer channels for what follows.
    pub(super) narrow: Layer,
    /// A window of the line to each third of a cell.
    pub(super) gather: Layer,
    /// Residual layers on thirds.
    pub(super) mix: Vec<Layer>,
    /// To the vector.
    pub(super) out: Layer,
    /// To two numbers a cell: the logarithm of its type's pixels an em, and the logit that a word stands there.
    pub(super) gauge: Layer,
}

/// Weights of the word tower.
pub(super) struct WordWeights {
    /// One row a feature of spelling.
    pub(super) table: Vec<f32>,
    /// To the hidden layer.
    pub(super) up: Layer,
    /// And back.
    pub(super) down: Layer,
    /// To the vector.
    pub(super) out: Layer,
}

/// Both towers.
pub(super) struct Weights {
    /// Reads pages.
    pub(super) page: PageWeights,
    /// Reads questions.
    pub(super) word: WordWeights,
}

struct Source<'a>(SafeTensors<'a>);

impl Source<'_> {
    fn floats(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), Error> {
        let wrong = |why: String| Error::Weights {
            model: BUILT_IN.into(),
            why,
        };
        let tensor = self
            .0
            .tensor(name)
            .map_err(|e| wrong(format!("{name}: {e}")))?;
        if tensor.dtype() != Dtype::F16 {
            return Err(wrong(format!("{name} is not f16")));
        }
        let (pairs, _) = tensor.data().as_chunks::<2>();
        Ok((
            tensor.shape().to_vec(),
            pairs
                .iter()
                .map(|b| f16::from_le_bytes(*b).to_f32())
                .collect(),
        ))
    }

    fn layer(&self, name: &str) -> Result<Layer, Error> {
        let (shape, weight) = self.floats(&format!("{name}.weight"))?;
        let (_, bias) = self.floats(&format!("{name}.bias"))?;
        let [down, along, inputs, outputs] = match *shape.as_slice() {
            [a, b, c, d] => [a, b, c, d],
            [c, d] => [1, 1, c, d],
            _ => [0; 4],
        };
        if outputs != bias.len() || weight.is_empty() {
            return Err(Error::Weights {
                model: BUILT_IN.into(),
                why: format!("{name} has shape {shape:?}"),
            });
        }
        Ok(Layer {
            down,
            along,
            inputs,
            bias,
            weight,
        })
    }

    fn block(&self, name: &str) -> Result<Block, Error> {
        Ok(Block {
            look: self.layer(&format!("{name}.look"))?,
            up: self.layer(&format!("{name}.up"))?,
            down: self.layer(&format!("{name}.down"))?,
        })
    }

    /// As many of `name.0`, `name.1`, … as there are.
    fn count(&self, name: &str, last: &str) -> usize {
        (0..)
            .take_while(|i| self.0.tensor(&format!("{name}.{i}{last}")).is_ok())
            .count()
    }

    fn blocks(&self, name: &str) -> Result<Vec<Block>, Error> {
        (0..self.count(name, ".look.weight"))
            .map(|i| self.block(&format!("{name}.{i}")))
            .collect()
    }

    fn page(&self) -> Result<PageWeights, Error> {
        Ok(PageWeights {
            edges: self.layer("page.edges")?,
            strokes: self.layer("page.strokes")?,
            early: self.blocks("page.early")?,
            fold: self.layer("page.fold")?,
            late: self.blocks("page.late")?,
            narrow: self.layer("page.narrow")?,
            gather: self.layer("page.gather")?,
            mix: (0..self.count("page.mix", ".weight"))
                .map(|i| self.layer(&format!("page.mix.{i}")))
                .collect::<Result<_, _>>()?,
            out: self.layer("page.out")?,
            gauge: self.layer("page.gauge")?,
        })
    }
}

impl Weights {
    /// Reads a weights file.
    ///
    /// # Errors
    /// When a tensor is missing, or of another type or shape.
    pub(super) fn read(file: &[u8]) -> Result<Self, Error> {
        let tensors = SafeTensors::deserialize(file).map_err(|e| Error::Weights {
            model: BUILT_IN.into(),
            why: e.to_string(),
        })?;
        let source = Source(tensors);
        let (shape, table) = source.floats("word.table")?;
        if shape.first() != Some(&FEATURES) {
            return Err(Error::Weights {
                model: BUILT_IN.into(),
                why: format!("word.table has shape {shape:?}"),
            });
        }
        Ok(Self {
            page: source.page()?,
            word: WordWeights {
                table,
                up: source.layer("word.up")?,
                down: source.layer("word.down")?,
                out: source.layer("word.out")?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_the_numbers_of_all_tensors() {
        let tensors = SafeTensors::deserialize(FILE).unwrap();
        let numbers = tensors
            .iter()
            .map(|(_, tensor)| tensor.shape().iter().product::<usize>() as u64);
        assert_eq!(parameters(), numbers.sum::<u64>());
    }
}
