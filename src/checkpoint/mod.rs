//! The files of a model: where they come from, what they say, and the bytes of their tensors, whatever computes with them.

pub mod digest;
mod hub;
mod json;
mod lora;
mod mmap;
mod quantized;
mod tensors;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use hub::{Progress, Source};
pub use json::Json;
pub use lora::{Lora, LoraDelta};
pub use quantized::Quantization;
pub use tensors::{Checkpoint, RawTensor, Schema};

/// The weights of a model that is not cut into shards.
const WHOLE: &str = "model.safetensors";

/// Why the files of a model are of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such model.
    #[error("`{0}` is neither a folder, nor a hub id, nor a built-in model")]
    Unknown(String),
    /// A file of the model is missing or cannot be read.
    #[error("{}: {why}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The hub could not be reached, or refused.
    #[error("the model `{model}` cannot be fetched: {why}")]
    Hub {
        /// Hub id.
        model: String,
        /// What went wrong; never holds a token.
        why: String,
    },
    /// The configuration asks for something that we do not have.
    #[error("{file}: {what} is not supported")]
    Unsupported {
        /// The file that asks for it.
        file: String,
        /// What it asks for.
        what: String,
    },
    /// Tensors missing, unused, or of another shape than the configuration says.
    #[error("the weights of `{model}` do not fit: {why}")]
    Weights {
        /// The model.
        model: String,
        /// The first few tensors and what is wrong with them.
        why: String,
    },
}

impl Error {
    /// The error that a file is not as it should be.
    pub fn file(file: &Path, why: &impl fmt::Display) -> Self {
        Self::File {
            file: file.to_owned(),
            why: why.to_string(),
        }
    }
}

/// Where the weights of a model are.
#[derive(Clone, Debug)]
pub struct Files {
    /// The shards of the base.
    pub base: Vec<PathBuf>,
    /// `adapter_config.json` and the adapter's tensors.
    pub adapter: Option<(Json, PathBuf)>,
}

/// Checked weights: a checkpoint that has what a model needs and no more, and the adapter that changes it.
pub struct Weights {
    /// The tensors.
    pub checkpoint: Checkpoint,
    /// The adapter, if there is one.
    pub lora: Option<Lora>,
    /// Which matrices are packed, and how.
    pub quantizations: HashMap<String, Quantization>,
}

impl Weights {
    /// Opens the files and compares them with what the model needs, before anything is loaded.
    ///
    /// # Errors
    /// When a file cannot be read, or a tensor is missing, left over or of another shape.
    pub fn open(model: &str, files: &Files, schema: &Schema) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(model, &files.base)?;
        if let Some(name) = quantized::any(&checkpoint, schema) {
            let why = format!("`{name}` is packed, which only MLX reads");
            return Err(tensors::mismatch(model, &[why]));
        }
        checkpoint.check(schema)?;
        Self::with_adapter(checkpoint, model, files, schema)
    }

    /// The same, and what MLX's converter makes of a checkpoint will do as well: packed matrices, channels last.
    ///
    /// # Errors
    /// As [`Weights::open`], and when an adapter changes a matrix that is packed.
    pub fn open_quantized(model: &str, files: &Files, schema: &Schema) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(model, &files.base)?;
        let (expected, quantizations) = quantized::expected(&checkpoint, schema);
        checkpoint.check(&expected)?;
        // What is packed is out of an adapter's reach.
        let plain: Schema = schema
            .iter()
            .filter(|(name, _)| !quantizations.contains_key(name))
            .cloned()
            .collect();
        let weights = Self::with_adapter(checkpoint, model, files, &plain)?;
        Ok(Self {
            quantizations,
            ..weights
        })
    }

    /// Bytes of all tensors at so many bytes a number; what is packed stays as it is.
    pub fn bytes(&self, number: u64) -> u64 {
        let checkpoint = &self.checkpoint;
        let bytes = |(name, shape): (&str, &[usize])| match self.quantizations.contains_key(name) {
            true => checkpoint.raw(name).map_or(0, |raw| raw.bytes.len() as u64),
            false => shape.iter().product::<usize>() as u64 * number,
        };
        checkpoint.shapes().map(bytes).sum()
    }

    fn with_adapter(
        checkpoint: Checkpoint,
        model: &str,
        files: &Files,
        schema: &Schema,
    ) -> Result<Self, Error> {
        let lora = files
            .adapter
            .clone()
            .map(|(config, tensors)| Lora::open(model, &config, tensors, schema))
            .transpose()?;
        Ok(Self {
            checkpoint,
            lora,
            quantizations: HashMap::new(),
        })
    }
}

/// The names of a model's files of weights.
///
/// # Errors
/// When the index of the shards cannot be read.
pub fn shards(source: &Source) -> Result<Vec<String>, Error> {
    if source.has(WHOLE) {
        return Ok(vec![WHOLE.to_owned()]);
    }
    let Some(index) = source.optional("model.safetensors.index.json")? else {
        return Ok(vec![WHOLE.to_owned()]);
    };
    let json = Json::read(&index)?;
    let map = json
        .part("weight_map")
        .ok_or_else(|| Error::file(json.file(), &"`weight_map` is missing"))?;
    let files = map.value().as_object().into_iter().flatten();
    let names: Option<std::collections::BTreeSet<String>> = files
        .map(|(_, file)| Some(file.as_str()?.to_owned()))
        .collect();
    let names = names.unwrap_or_default();
    let plain = |name: &String| !name.contains(['/', '\\']) && name.ends_with(".safetensors");
    if names.is_empty() || !names.iter().all(plain) {
        return Err(Error::file(json.file(), &"`weight_map` names no shards"));
    }
    Ok(names.into_iter().collect())
}
