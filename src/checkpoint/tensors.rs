//! Tensors of a safetensors checkpoint by canonical name, from one file or shards, in the layout of any exporter.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use super::Error;
use super::mmap::MappedFile;

/// Name prefixes of exporters, and our canonical prefixes; the first match is used.
const PREFIXES: [(&str, &str); 21] = [
    // MLX's converter.
    ("vision_tower.", "visual."),
    ("language_model.lm_head.", LM_HEAD),
    ("language_model.model.", "language_model."),
    ("vlm.vision_tower.", "visual."),
    ("vlm.language_model.model.", "language_model."),
    ("model.visual.", "visual."),
    ("vlm.visual.", "visual."),
    ("vlm.model.visual.", "visual."),
    ("model.language_model.", "language_model."),
    ("vlm.language_model.", "language_model."),
    ("vlm.model.language_model.", "language_model."),
    ("model.layers.", "language_model.layers."),
    ("model.embed_tokens.", "language_model.embed_tokens."),
    ("model.norm.", "language_model.norm."),
    ("vlm.model.layers.", "language_model.layers."),
    ("vlm.model.embed_tokens.", "language_model.embed_tokens."),
    ("vlm.model.norm.", "language_model.norm."),
    ("model.custom_text_proj.", "custom_text_proj."),
    ("embedding_proj_layer.", "custom_text_proj."),
    ("multi_vector_projector.", "custom_text_proj."),
    ("vlm.lm_head.", LM_HEAD),
];

/// The LM head. Embedding models contain it without using it, as do some models with tied word embeddings.
const LM_HEAD: &str = "lm_head.";

/// Maximum number of mismatches that an error lists.
const MAX_LISTED: usize = 4;

/// Canonical name of a tensor.
pub(super) fn canonical(found: &str) -> String {
    let name = found.strip_prefix("base_model.model.").unwrap_or(found);
    let name = name.replace(".base_layer.", ".");
    let renamed = PREFIXES.iter().find_map(|(old, new)| {
        let rest = name.strip_prefix(old)?;
        Some(format!("{new}{rest}"))
    });
    renamed.unwrap_or(name)
}

/// Names and shapes of expected tensors.
pub type Schema = Vec<(String, Vec<usize>)>;

/// A tensor as stored in its file.
#[derive(Clone, Copy, Debug)]
pub struct RawTensor<'a> {
    /// Data type.
    pub dtype: Dtype,
    /// Shape.
    pub shape: &'a [usize],
    /// Elements, little-endian, row-major.
    pub bytes: &'a [u8],
}

/// Tensors in memory-mapped files.
pub struct Checkpoint {
    model: String,
    shards: Vec<(PathBuf, MappedFile)>,
    entries: HashMap<String, Entry>,
}

struct Entry {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

impl Checkpoint {
    /// Opens the files of a checkpoint.
    ///
    /// # Errors
    /// [`Error::File`] if a file cannot be read, is truncated, or contains a tensor of another file.
    pub fn open(model: &str, files: &[PathBuf]) -> Result<Self, Error> {
        let mut checkpoint = Self {
            model: model.to_owned(),
            shards: Vec::new(),
            entries: HashMap::new(),
        };
        for file in files {
            checkpoint.add(file)?;
        }
        Ok(checkpoint)
    }

    fn add(&mut self, file: &Path) -> Result<(), Error> {
        let map = MappedFile::open(file)?;
        // Checks that the file has the length given in its header: a download may be incomplete.
        SafeTensors::deserialize(&map).map_err(|error| Error::file(file, &error))?;
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| Error::file(file, &error))?;
        let start = header + size_of::<u64>();
        for (found, info) in metadata.tensors() {
            let name = canonical(&found);
            let entry = Entry {
                shard: self.shards.len(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                bytes: start + info.data_offsets.0..start + info.data_offsets.1,
            };
            if self.entries.insert(name, entry).is_some() {
                return Err(Error::file(file, &format!("duplicate tensor `{found}`")));
            }
        }
        self.shards.push((file.to_owned(), map));
        Ok(())
    }

    /// Names and shapes of all tensors.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let entries = self.entries.iter();
        entries.map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Compares with the schema of a model: no tensor may be missing, unused (except an LM head) or of another shape.
    /// `replaced` tensors are taken from elsewhere, so theirs do not matter.
    ///
    /// # Errors
    /// [`Error::Weights`] lists the first few mismatches.
    pub fn check(&self, schema: &Schema, replaced: &HashSet<String>) -> Result<(), Error> {
        let mut mismatches: Vec<String> = Vec::new();
        let needed = schema.iter().filter(|(name, _)| !replaced.contains(name));
        for (name, shape) in needed {
            match self.shape(name) {
                None => mismatches.push(format!("`{name}` is missing")),
                Some(found) if found != shape => {
                    mismatches.push(format!("`{name}` has shape {found:?}, not {shape:?}"));
                }
                Some(_) => (),
            }
        }
        let expected: HashSet<&str> = schema.iter().map(|(name, _)| name.as_str()).collect();
        let mut unused: Vec<&str> = self.shapes().map(|(name, _)| name).collect();
        unused.retain(|name| !expected.contains(name) && !name.starts_with(LM_HEAD));
        unused.sort_unstable();
        mismatches.extend(unused.iter().map(|name| format!("`{name}` is not used")));
        check_mismatches(&self.model, &mismatches)
    }

    /// A tensor as stored in its file.
    ///
    /// # Errors
    /// [`Error::Weights`] if there is no such tensor; never after [`Checkpoint::check`] with a schema that contains it.
    pub fn raw(&self, name: &str) -> Result<RawTensor<'_>, Error> {
        let Some(entry) = self.entries.get(name) else {
            return Err(mismatch_error(
                &self.model,
                &[format!("`{name}` is missing")],
            ));
        };
        Ok(RawTensor {
            dtype: entry.dtype,
            shape: &entry.shape,
            bytes: &self.shards[entry.shard].1[entry.bytes.clone()],
        })
    }
}

/// Returns an error if there are mismatches.
pub(super) fn check_mismatches(model: &str, mismatches: &[String]) -> Result<(), Error> {
    match mismatches {
        [] => Ok(()),
        mismatches => Err(mismatch_error(model, mismatches)),
    }
}

/// The error that lists the first few mismatches.
pub(super) fn mismatch_error(model: &str, mismatches: &[String]) -> Error {
    let mut why = mismatches[..mismatches.len().min(MAX_LISTED)].join(", ");
    if mismatches.len() > MAX_LISTED {
        why.push_str(&format!(" and {} more", mismatches.len() - MAX_LISTED));
    }
    Error::Weights {
        model: model.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn names_of_all_exporters_become_canonical() {
        for (found, name) in [
            ("visual.merger.ln_q.weight", "visual.merger.ln_q.weight"),
            (
                "model.visual.blocks.0.norm1.weight",
                "visual.blocks.0.norm1.weight",
            ),
            ("vlm.model.visual.x", "visual.x"),
            (
                "model.layers.3.mlp.up_proj.weight",
                "language_model.layers.3.mlp.up_proj.weight",
            ),
            (
                "model.language_model.norm.weight",
                "language_model.norm.weight",
            ),
            (
                "vlm.model.language_model.layers.0.x",
                "language_model.layers.0.x",
            ),
            ("vlm.model.norm.weight", "language_model.norm.weight"),
            ("embedding_proj_layer.bias", "custom_text_proj.bias"),
            ("model.custom_text_proj.bias", "custom_text_proj.bias"),
            ("multi_vector_projector.bias", "custom_text_proj.bias"),
            ("vlm.vision_tower.x", "visual.x"),
            (
                "vlm.language_model.model.layers.0.x",
                "language_model.layers.0.x",
            ),
            ("language_model.lm_head.weight", "lm_head.weight"),
            ("vlm.lm_head.weight", "lm_head.weight"),
            (
                "vision_tower.blocks.0.norm1.weight",
                "visual.blocks.0.norm1.weight",
            ),
            (
                "language_model.model.layers.0.x",
                "language_model.layers.0.x",
            ),
            (
                "base_model.model.model.layers.0.mlp.up_proj.base_layer.weight",
                "language_model.layers.0.mlp.up_proj.weight",
            ),
        ] {
            assert_eq!(canonical(found), name);
        }
    }
}
