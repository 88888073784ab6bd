//! Model checkpoints: download from the hub, configuration files, and safetensors weights; independent of any backend.

pub mod digest;
mod hub;
mod json;
mod lora;
mod mmap;
mod quantized;
mod tensors;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

pub use hub::{Progress, Source};
pub use json::Json;
pub use lora::{Lora, LoraDelta, RANK_STABILISED};
pub use quantized::Quantization;
pub use tensors::{Checkpoint, RawTensor, Schema};

/// Weights file of a model without shards.
const SINGLE_FILE: &str = "model.safetensors";

/// Error of finding or reading the files of a model.
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
        /// The problem.
        why: String,
    },
    /// The hub cannot be reached, or refused.
    #[error("the model `{model}` cannot be downloaded: {why}")]
    Hub {
        /// Hub id.
        model: String,
        /// The problem; never contains a token.
        why: String,
    },
    /// The configuration requires an unsupported feature.
    #[error("{file}: {what} is not supported")]
    Unsupported {
        /// The file that requires it.
        file: String,
        /// The feature.
        what: String,
    },
    /// Tensors are missing, unused, or have another shape than the configuration requires.
    #[error("the weights of `{model}` do not match its configuration: {why}")]
    Weights {
        /// The model.
        model: String,
        /// The first few mismatches.
        why: String,
    },
}

impl Error {
    /// The error of an invalid file.
    pub fn file(file: &Path, why: &impl fmt::Display) -> Self {
        Self::File {
            file: file.to_owned(),
            why: why.to_string(),
        }
    }
}

/// Paths of the weight files of a model.
#[derive(Clone, Debug)]
pub struct WeightFiles {
    /// The shards of the base.
    pub base: Vec<PathBuf>,
    /// The adapter, if there is one.
    pub adapter: Option<AdapterFiles>,
}

/// The files of an adapter.
#[derive(Clone, Debug)]
pub struct AdapterFiles {
    /// `adapter_config.json`.
    pub config: Json,
    /// The adapter's tensors.
    pub weights: PathBuf,
    /// The task whose tensors are used, of an adapter for several tasks.
    pub task: Option<String>,
}

/// Checked weights: a checkpoint that matches the schema of a model exactly, and the adapter that changes it.
pub struct Weights {
    /// The tensors.
    pub checkpoint: Checkpoint,
    /// The adapter, if there is one.
    pub lora: Option<Lora>,
    /// Quantization by name of matrix.
    pub quantizations: HashMap<String, Quantization>,
}

impl Weights {
    /// Opens the files and compares them with the schema of the model, before anything is loaded.
    ///
    /// # Errors
    /// [`Error::File`] if a file cannot be read; [`Error::Weights`] if a tensor is missing, unused, quantized or of
    /// another shape.
    pub fn open(model: &str, files: &WeightFiles, schema: &Schema) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(model, &files.base)?;
        if let Some(name) = quantized::find_quantized(&checkpoint, schema) {
            let why = format!("`{name}` is quantized, which only MLX supports");
            return Err(tensors::mismatch_error(model, &[why]));
        }
        let weights = Self::with_adapter(checkpoint, model, files, schema)?;
        weights.check(schema)?;
        Ok(weights)
    }

    /// As [`Weights::open`], but also accepts the layout of MLX's converter: quantized matrices, channels last.
    ///
    /// # Errors
    /// As [`Weights::open`], and [`Error::Weights`] if an adapter changes a quantized matrix.
    pub fn open_quantized(
        model: &str,
        files: &WeightFiles,
        schema: &Schema,
    ) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(model, &files.base)?;
        let (expected, quantizations) = quantized::expected(&checkpoint, schema);
        // An adapter cannot change quantized matrices.
        let unquantized: Schema = schema
            .iter()
            .filter(|(name, _)| !quantizations.contains_key(name))
            .cloned()
            .collect();
        let weights = Self::with_adapter(checkpoint, model, files, &unquantized)?;
        weights.check(&expected)?;
        Ok(Self {
            quantizations,
            ..weights
        })
    }

    /// A tensor as stored in its file: that of the adapter, if it replaces the base's.
    ///
    /// # Errors
    /// As [`Checkpoint::raw`].
    pub fn raw(&self, name: &str) -> Result<RawTensor<'_>, Error> {
        match self.lora.as_ref().and_then(|lora| lora.replacement(name)) {
            Some(tensor) => Ok(tensor),
            None => self.checkpoint.raw(name),
        }
    }

    fn check(&self, schema: &Schema) -> Result<(), Error> {
        let replaced = self.lora.as_ref().map(Lora::replaced);
        self.checkpoint
            .check(schema, replaced.unwrap_or(&HashSet::new()))
    }

    /// Bytes of all tensors at `dtype_bytes` per element; quantized matrices count as stored.
    pub fn bytes(&self, dtype_bytes: u64) -> u64 {
        let checkpoint = &self.checkpoint;
        let bytes = |(name, shape): (&str, &[usize])| match self.quantizations.contains_key(name) {
            true => checkpoint.raw(name).map_or(0, |raw| raw.bytes.len() as u64),
            false => shape.iter().product::<usize>() as u64 * dtype_bytes,
        };
        checkpoint.shapes().map(bytes).sum()
    }

    fn with_adapter(
        checkpoint: Checkpoint,
        model: &str,
        files: &WeightFiles,
        schema: &Schema,
    ) -> Result<Self, Error> {
        let adapter = files.adapter.as_ref();
        let lora = adapter.map(|files| Lora::open(model, files, schema));
        let lora = lora.transpose()?;
        Ok(Self {
            checkpoint,
            lora,
            quantizations: HashMap::new(),
        })
    }
}

/// The shape of a tensor in a file of weights; `None` if the file does not contain it.
///
/// # Errors
/// [`Error::File`] if the file cannot be read.
pub fn shape_in(model: &str, file: &Path, name: &str) -> Result<Option<Vec<usize>>, Error> {
    let checkpoint = Checkpoint::open(model, &[file.to_owned()])?;
    Ok(checkpoint.shape(name).map(<[usize]>::to_vec))
}

/// The shape of a tensor of a model; downloads the file that contains it. `None` if no file does.
///
/// # Errors
/// [`Error::File`] if a file cannot be read, [`Error::Hub`] if it cannot be downloaded.
pub fn shape_of(model: &str, source: &Source, name: &str) -> Result<Option<Vec<usize>>, Error> {
    let file = match weight_map(source)? {
        None => Some(SINGLE_FILE.to_owned()),
        Some(map) => map
            .into_iter()
            .find_map(|(found, file)| (tensors::canonical(&found) == name).then_some(file)),
    };
    match file {
        None => Ok(None),
        Some(file) => shape_in(model, &source.file(&file, &mut |_, _, _| ())?, name),
    }
}

/// File names of a model's weights.
///
/// # Errors
/// [`Error::File`] if the index of the shards cannot be read.
pub fn shards(source: &Source) -> Result<Vec<String>, Error> {
    let Some(map) = weight_map(source)? else {
        return Ok(vec![SINGLE_FILE.to_owned()]);
    };
    let names: BTreeSet<String> = map.into_values().collect();
    Ok(names.into_iter().collect())
}

/// The shard of each tensor; `None` for a model without shards.
fn weight_map(source: &Source) -> Result<Option<BTreeMap<String, String>>, Error> {
    if source.has(SINGLE_FILE) {
        return Ok(None);
    }
    let Some(index) = source.optional("model.safetensors.index.json")? else {
        return Ok(None);
    };
    let json = Json::read(&index)?;
    let map = json
        .part("weight_map")
        .ok_or_else(|| Error::file(json.file(), &"`weight_map` is missing"))?;
    let entries = map.value().as_object().into_iter().flatten();
    let map: Option<BTreeMap<String, String>> = entries
        .map(|(name, file)| Some((name.clone(), file.as_str()?.to_owned())))
        .collect();
    let map = map.unwrap_or_default();
    let is_valid = |name: &String| !name.contains(['/', '\\']) && name.ends_with(".safetensors");
    if map.is_empty() || !map.values().all(is_valid) {
        return Err(Error::file(json.file(), &"`weight_map` lists no shards"));
    }
    Ok(Some(map))
}
