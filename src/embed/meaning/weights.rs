//! Weights: those embedded in the executable by the build script (int8 matrices with a scale a row, the rest f32), or those of a
//! checkpoint (f32).
//!
//! The matrices of the layers are kept as f32 (42 and 85 MB); rows of the word table stay in the file until they are read.

use safetensors::{Dtype, SafeTensors};

use super::model::Model;
use super::{LAYERS, MAX_TOKENS, WIDTH, invalid};
use crate::checkpoint::{Checkpoint, Error, RawTensor};
use crate::linalg::{PackedMatrix, Values};

/// The weights of all-MiniLM-L6-v2.
const FILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/meaning.safetensors"));

/// The names of the word table and of the positions.
const WORDS: &str = "embeddings.word_embeddings.weight";
const POSITIONS: &str = "embeddings.position_embeddings.weight";

/// A linear layer.
pub(super) struct Linear {
    /// (outputs, inputs).
    pub(super) weight: PackedMatrix,
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

/// The word table.
enum Words {
    /// int8 rows and their scales.
    Int8(&'static [u8], Vec<f32>),
    /// f32 rows in a file.
    File(Checkpoint, String),
}

/// All weights.
pub(super) struct Weights {
    words: Words,
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
    pub(super) fn embedded() -> Result<Self, Error> {
        let file = Tensors::read(FILE)?;
        let layers = (0..LAYERS).map(|index| layer(&file, index));
        Ok(Self {
            words: Words::Int8(
                file.bytes(WORDS, Dtype::I8)?,
                file.floats(&format!("{WORDS}.scale"))?,
            ),
            positions: file.floats(POSITIONS)?,
            embedding_norm: norm(&file, "embeddings.LayerNorm")?,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }

    /// Reads those of a checkpoint; without the bias of the last layer norm.
    ///
    /// # Errors
    /// [`Error::Weights`] if it does not have the expected tensors.
    pub(super) fn of_checkpoint(file: Checkpoint, count: usize) -> Result<Self, Error> {
        let file = Floats::of(file);
        let layers = (0..count).map(|index| layer(&file, index));
        let mut layers: Vec<Layer> = layers.collect::<Result<_, _>>()?;
        if let Some(last) = layers.last_mut() {
            last.output_norm.bias.fill(0.0);
        }
        let mut positions = file.floats(POSITIONS)?;
        positions.truncate(MAX_TOKENS * WIDTH);
        let types = file.floats("embeddings.token_type_embeddings.weight")?;
        if positions.len() != MAX_TOKENS * WIDTH || types.len() < WIDTH {
            return Err(file.invalid(POSITIONS, "has the wrong shape"));
        }
        for row in positions.chunks_exact_mut(WIDTH) {
            row.iter_mut().zip(&types).for_each(|(p, t)| *p += t);
        }
        let embedding_norm = norm(&file, "embeddings.LayerNorm")?;
        let words = file.name(WORDS);
        file.raw(WORDS)?;
        Ok(Self {
            words: Words::File(file.file, words),
            positions,
            embedding_norm,
            layers,
        })
    }

    /// The input embeddings of a sequence, before their norm.
    pub(super) fn embed(&self, ids: &[u32]) -> Vec<f32> {
        let mut states = self.positions[..ids.len() * WIDTH].to_vec();
        for (&id, state) in ids.iter().zip(states.chunks_exact_mut(WIDTH)) {
            let at = id as usize * WIDTH;
            match &self.words {
                Words::Int8(rows, scales) => {
                    let scale = scales[id as usize];
                    let word = rows[at..at + WIDTH].iter().zip(state);
                    word.for_each(|(w, s)| *s += f32::from(w.cast_signed()) * scale);
                }
                Words::File(file, name) => {
                    let bytes = file.raw(name).map_or(&[][..], |raw| raw.bytes);
                    let (words, _) = bytes.as_chunks::<4>();
                    // A tokenizer with more tokens than the table has rows: such a token says nothing.
                    let word = words.get(at..at + WIDTH).into_iter().flatten().zip(state);
                    word.for_each(|(w, s)| *s += f32::from_le_bytes(*w));
                }
            }
        }
        states
    }
}

/// The tensors of a model by name.
trait Source {
    /// The values of a vector.
    fn floats(&self, name: &str) -> Result<Vec<f32>, Error>;

    /// A linear layer; the file has its matrix as (outputs, inputs).
    fn linear(&self, name: &str) -> Result<Linear, Error>;
}

fn norm(file: &impl Source, name: &str) -> Result<Norm, Error> {
    Ok(Norm {
        gain: file.floats(&format!("{name}.weight"))?,
        bias: file.floats(&format!("{name}.bias"))?,
    })
}

fn layer(file: &impl Source, index: usize) -> Result<Layer, Error> {
    let linear = |name: &str| file.linear(&format!("encoder.layer.{index}.{name}"));
    let norm = |name: &str| norm(file, &format!("encoder.layer.{index}.{name}"));
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

/// The tensors of a checkpoint.
struct Floats {
    file: Checkpoint,
    /// Before every name.
    prefix: &'static str,
}

impl Floats {
    fn of(file: Checkpoint) -> Self {
        let has = |prefix: &&str| file.shape(&format!("{prefix}{WORDS}")).is_some();
        let prefix = ["bert.", "roberta."].into_iter().find(has);
        Self {
            prefix: prefix.unwrap_or_default(),
            file,
        }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn raw(&self, name: &str) -> Result<RawTensor<'_>, Error> {
        match self.file.raw(&self.name(name))? {
            raw if raw.dtype == Dtype::F32 => Ok(raw),
            raw => Err(self.invalid(name, &format!("is {:?}, not F32", raw.dtype))),
        }
    }

    fn invalid(&self, name: &str, why: &str) -> Error {
        Model::Multilingual.invalid(format!("`{}` {why}", self.name(name)))
    }
}

impl Source for Floats {
    fn floats(&self, name: &str) -> Result<Vec<f32>, Error> {
        let (words, _) = self.raw(name)?.bytes.as_chunks::<4>();
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }

    fn linear(&self, name: &str) -> Result<Linear, Error> {
        let bias = self.floats(&format!("{name}.bias"))?;
        let matrix = format!("{name}.weight");
        let values = self.floats(&matrix)?;
        let outputs = bias.len();
        let &[rows, inputs] = self.raw(&matrix)?.shape else {
            return Err(self.invalid(&matrix, "is no matrix"));
        };
        if rows != outputs || inputs == 0 {
            return Err(self.invalid(&matrix, "has the wrong shape"));
        }
        let weight = PackedMatrix::new(Values::F32(&values), inputs);
        Ok(Linear { weight, bias })
    }
}

/// The embedded tensors.
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
}

impl Source for Tensors {
    fn floats(&self, name: &str) -> Result<Vec<f32>, Error> {
        let (words, _) = self.bytes(name, Dtype::F32)?.as_chunks::<4>();
        Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
    }

    fn linear(&self, name: &str) -> Result<Linear, Error> {
        let bias = self.floats(&format!("{name}.bias"))?;
        let scales = self.floats(&format!("{name}.weight.scale"))?;
        let values = self.bytes(&format!("{name}.weight"), Dtype::I8)?;
        let (outputs, inputs) = (bias.len(), values.len() / bias.len().max(1));
        if scales.len() != outputs || outputs * inputs != values.len() {
            return Err(invalid(format!("{name} has the wrong shape")));
        }
        let rows = values.chunks_exact(inputs).zip(&scales);
        let values: Vec<f32> = rows
            .flat_map(|(row, scale)| row.iter().map(move |v| f32::from(v.cast_signed()) * scale))
            .collect();
        let weight = PackedMatrix::new(Values::F32(&values), inputs);
        Ok(Linear { weight, bias })
    }
}
