//! Weights embedded in the executable by the build script: int8 matrices with a scale a row, the rest f32.
//!
//! The matrices of the layers are converted to f32 once (42 MB); rows of the word table stay int8 until they are read.

use safetensors::{Dtype, SafeTensors};

use super::{LAYERS, MODEL, WIDTH};
use crate::checkpoint::Error;

/// The weights of all-MiniLM-L6-v2.
const FILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/meaning.safetensors"));

/// A linear layer.
pub(super) struct Linear {
    /// Shape (inputs, outputs).
    pub(super) weight: Vec<f32>,
    /// One value per output.
    pub(super) bias: Vec<f32>,
}

/// A layer norm.
pub(super) struct Norm {
    /// Factor of each value.
    pub(super) gain: Vec<f32>,
    /// Summand of each value.
    pub(super) bias: Vec<f32>,
}

/// A transformer layer.
pub(super) struct Layer {
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) output: Linear,
    pub(super) attention_norm: Norm,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) output_norm: Norm,
}

/// All weights.
pub(super) struct Weights {
    /// int8 rows of the word table.
    words: &'static [u8],
    word_scales: Vec<f32>,
    /// Embeddings of each position and of the token type.
    positions: Vec<f32>,
    pub(super) embedding_norm: Norm,
    pub(super) layers: Vec<Layer>,
}

impl Weights {
    /// Opens the embedded weights.
    ///
    /// # Errors
    /// [`Error::Weights`] if they do not have the expected tensors.
    pub(super) fn open() -> Result<Self, Error> {
        let file = Tensors::read(FILE)?;
        let words = "embeddings.word_embeddings.weight";
        let layers = (0..LAYERS).map(|index| layer(&file, index));
        Ok(Self {
            words: file.bytes(words, Dtype::I8)?,
            word_scales: file.floats(&format!("{words}.scale"))?,
            positions: file.floats("embeddings.position_embeddings.weight")?,
            embedding_norm: file.norm("embeddings.LayerNorm")?,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }

    /// The input embeddings of a sequence, before their norm.
    pub(super) fn embed(&self, ids: &[u32]) -> Vec<f32> {
        let row = |(position, &id): (usize, &u32)| {
            let word = &self.words[id as usize * WIDTH..][..WIDTH];
            let scale = self.word_scales[id as usize];
            let position = &self.positions[position * WIDTH..][..WIDTH];
            let sum = move |(w, p): (&u8, &f32)| f32::from(w.cast_signed()) * scale + p;
            word.iter().zip(position).map(sum)
        };
        ids.iter().enumerate().flat_map(row).collect()
    }
}

fn layer(file: &Tensors, index: usize) -> Result<Layer, Error> {
    let linear = |name: &str| file.linear(&format!("encoder.layer.{index}.{name}"));
    let norm = |name: &str| file.norm(&format!("encoder.layer.{index}.{name}"));
    Ok(Layer {
        query: linear("attention.self.query")?,
        key: linear("attention.self.key")?,
        value: linear("attention.self.value")?,
        output: linear("attention.output.dense")?,
        attention_norm: norm("attention.output.LayerNorm")?,
        up: linear("intermediate.dense")?,
        down: linear("output.dense")?,
        output_norm: norm("output.LayerNorm")?,
    })
}

/// Reads tensors by name.
struct Tensors(SafeTensors<'static>);

impl Tensors {
    fn read(file: &'static [u8]) -> Result<Self, Error> {
        SafeTensors::deserialize(file)
            .map(Self)
            .map_err(|e| invalid(e.to_string()))
    }

    fn bytes(&self, name: &str, dtype: Dtype) -> Result<&'static [u8], Error> {
        match self.0.tensor(name) {
            Ok(view) if view.dtype() == dtype => Ok(view.data()),
            _ => Err(invalid(format!("there is no {name} of {dtype:?}"))),
        }
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>, Error> {
        let (words, _) = self.bytes(name, Dtype::F32)?.as_chunks::<4>();
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }

    fn norm(&self, name: &str) -> Result<Norm, Error> {
        Ok(Norm {
            gain: self.floats(&format!("{name}.weight"))?,
            bias: self.floats(&format!("{name}.bias"))?,
        })
    }

    /// Reads a linear layer; the file has its matrix as (outputs, inputs).
    fn linear(&self, name: &str) -> Result<Linear, Error> {
        let bias = self.floats(&format!("{name}.bias"))?;
        let scales = self.floats(&format!("{name}.weight.scale"))?;
        let values = self.bytes(&format!("{name}.weight"), Dtype::I8)?;
        let (outputs, inputs) = (bias.len(), values.len() / bias.len().max(1));
        if scales.len() != outputs || outputs * inputs != values.len() {
            return Err(invalid(format!("{name} has the wrong shape")));
        }
        let mut weight = vec![0.0; values.len()];
        for ((output, row), scale) in values.chunks_exact(inputs).enumerate().zip(&scales) {
            for (input, value) in row.iter().enumerate() {
                weight[input * outputs + output] = f32::from(value.cast_signed()) * scale;
            }
        }
        Ok(Linear { weight, bias })
    }
}

fn invalid(why: String) -> Error {
    Error::Weights {
        model: MODEL.into(),
        why,
    }
}
