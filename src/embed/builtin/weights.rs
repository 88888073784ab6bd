//! Weights embedded in the executable: f16 in the file, f32 in memory.

use half::f16;
use safetensors::{Dtype, SafeTensors};

use super::spelling::FEATURES;
use crate::checkpoint::Error;
use crate::embed::BUILT_IN;
use crate::embed::gemm::Matrix;

/// The safetensors file, written by `train/export.py`.
pub(super) const FILE: &[u8] = include_bytes!("weights.safetensors");

/// Number of parameters in the file: two bytes each, after the header and the eight bytes of its length.
pub(super) fn parameters() -> u64 {
    let (length, rest) = FILE.split_first_chunk().unwrap_or((&[0; 8], FILE));
    (rest.len() as u64).saturating_sub(u64::from_le_bytes(*length)) / 2
}

/// A convolution with folded batch norm: for each kernel row a (width x inputs, outputs) matrix.
pub(super) struct Layer {
    /// Kernel height.
    pub(super) kernel_height: usize,
    /// Kernel width.
    pub(super) kernel_width: usize,
    /// Input channels.
    pub(super) in_channels: usize,
    /// Bias, one float per output channel.
    pub(super) bias: Vec<f32>,
    weight: Vec<f32>,
}

impl Layer {
    /// The matrix of one kernel row.
    pub(super) fn kernel_row(&self, row: usize) -> Matrix<'_> {
        let columns = self.bias.len();
        let size = self.kernel_width * self.in_channels * columns;
        Matrix {
            data: &self.weight[row * size..(row + 1) * size],
            columns,
        }
    }

    /// Output channels.
    pub(super) fn out_channels(&self) -> usize {
        self.bias.len()
    }
}

/// Residual block: a convolution, then an inverted bottleneck at every position. Fields carry the tensor names.
pub(super) struct Block {
    /// Spatial convolution.
    pub(super) look: Layer,
    /// Pointwise expansion.
    pub(super) up: Layer,
    /// Pointwise projection.
    pub(super) down: Layer,
}

/// Weights of the page tower. Fields carry the tensor names.
pub(super) struct PageWeights {
    /// Strided convolution, pixels to half size.
    pub(super) edges: Layer,
    /// Strided convolution, half size to a quarter.
    pub(super) strokes: Layer,
    /// Residual blocks at a quarter.
    pub(super) early: Vec<Block>,
    /// Convolution to one row per line of cells.
    pub(super) fold: Layer,
    /// Residual blocks along the line.
    pub(super) late: Vec<Block>,
    /// Pointwise channel reduction.
    pub(super) narrow: Layer,
    /// Strided convolution along the line, to one position per third of a cell.
    pub(super) gather: Layer,
    /// Pointwise residual layers on thirds.
    pub(super) mix: Vec<Layer>,
    /// Projection to the vector.
    pub(super) out: Layer,
    /// Projection to two numbers: the logarithm of the type size in pixels per em, and the word logit.
    pub(super) gauge: Layer,
}

/// Weights of the word tower.
pub(super) struct WordWeights {
    /// Embedding table, one row per spelling feature.
    pub(super) table: Vec<f32>,
    /// Expansion to the hidden layer.
    pub(super) up: Layer,
    /// Projection back.
    pub(super) down: Layer,
    /// Projection to the vector.
    pub(super) out: Layer,
}

/// Both towers.
pub(super) struct Weights {
    /// Page tower.
    pub(super) page: PageWeights,
    /// Word tower.
    pub(super) word: WordWeights,
}

/// Reads layers by tensor name.
struct TensorReader<'a>(SafeTensors<'a>);

impl TensorReader<'_> {
    fn floats(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), Error> {
        let invalid = |why: String| Error::Weights {
            model: BUILT_IN.into(),
            why,
        };
        let tensor = self
            .0
            .tensor(name)
            .map_err(|e| invalid(format!("{name}: {e}")))?;
        if tensor.dtype() != Dtype::F16 {
            return Err(invalid(format!("{name} is not f16")));
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
        let [kernel_height, kernel_width, in_channels, out_channels] = match *shape.as_slice() {
            [a, b, c, d] => [a, b, c, d],
            [c, d] => [1, 1, c, d],
            _ => [0; 4],
        };
        if out_channels != bias.len() || weight.is_empty() {
            return Err(Error::Weights {
                model: BUILT_IN.into(),
                why: format!("{name} has shape {shape:?}"),
            });
        }
        Ok(Layer {
            kernel_height,
            kernel_width,
            in_channels,
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

    /// Number of consecutive layers `name.0`, `name.1`, ….
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
    /// Loads both towers from the bytes of a safetensors file.
    ///
    /// # Errors
    /// [`Error::Weights`] if a tensor is missing, or has another type or shape.
    pub(super) fn read(file: &[u8]) -> Result<Self, Error> {
        let tensors = SafeTensors::deserialize(file).map_err(|e| Error::Weights {
            model: BUILT_IN.into(),
            why: e.to_string(),
        })?;
        let reader = TensorReader(tensors);
        let (shape, table) = reader.floats("word.table")?;
        if shape.first() != Some(&FEATURES) {
            return Err(Error::Weights {
                model: BUILT_IN.into(),
                why: format!("word.table has shape {shape:?}"),
            });
        }
        Ok(Self {
            page: reader.page()?,
            word: WordWeights {
                table,
                up: reader.layer("word.up")?,
                down: reader.layer("word.down")?,
                out: reader.layer("word.out")?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_counts_the_elements_of_all_tensors() {
        let tensors = SafeTensors::deserialize(FILE).unwrap();
        let numbers = tensors
            .iter()
            .map(|(_, tensor)| tensor.shape().iter().product::<usize>() as u64);
        assert_eq!(parameters(), numbers.sum::<u64>());
    }
}
