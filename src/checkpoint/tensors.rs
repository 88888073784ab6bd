//! The tensors of a checkpoint by their canonical names: one file or shards, whoever exported them.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use super::Error;
use super::mmap::MappedFile;

/// What exporters put before a name, and the name that we know it by; the first that fits is taken.
const RENAMES: [(&str, &str); 17] = [
    // MLX's converter.
    ("vision_tower.", "visual."),
    ("language_model.lm_head.", HEAD),
    ("language_model.model.", "language_model."),
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
    ("embedding_proj_layer.", "custom_text_proj."),
    ("vlm.lm_head.", HEAD),
];

/// What makes words of rows. Models that make vectors ship it all the same, as do some whose table of words is the head.
const HEAD: &str = "lm_head.";

/// How many bad tensors an error names.
const NAMED: usize = 4;

/// The name that we know a tensor by.
fn canonical(found: &str) -> String {
    let name = found.strip_prefix("base_model.model.").unwrap_or(found);
    let name = name.replace(".base_layer.", ".");
    let renamed = RENAMES.iter().find_map(|(old, new)| {
        let rest = name.strip_prefix(old)?;
        Some(format!("{new}{rest}"))
    });
    renamed.unwrap_or(name)
}

/// Names and shapes of tensors.
pub type Schema = Vec<(String, Vec<usize>)>;

/// A tensor as it lies in its file.
#[derive(Clone, Copy, Debug)]
pub struct RawTensor<'a> {
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its numbers, little-endian, the last axis innermost.
    pub bytes: &'a [u8],
}

/// Tensors in mapped files.
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
    /// When a file cannot be read, is cut short, or names a tensor that another one has.
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
        // Checks that the file is as long as its header says: a download may have been cut.
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
                return Err(Error::file(
                    file,
                    &format!("tensor `{found}` is there twice"),
                ));
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

    /// Compares with what a model needs: nothing may be missing, left over (but for a head) or of another shape.
    ///
    /// # Errors
    /// Names the first few that do not fit.
    pub fn check(&self, schema: &Schema) -> Result<(), Error> {
        let mut faults: Vec<String> = Vec::new();
        for (name, shape) in schema {
            match self.shape(name) {
                None => faults.push(format!("`{name}` is missing")),
                Some(found) if found != shape => {
                    faults.push(format!("`{name}` has shape {found:?}, not {shape:?}"));
                }
                Some(_) => (),
            }
        }
        let known: std::collections::HashSet<&str> =
            schema.iter().map(|(name, _)| name.as_str()).collect();
        let mut unused: Vec<&str> = self.shapes().map(|(name, _)| name).collect();
        unused.retain(|name| !known.contains(name) && !name.starts_with(HEAD));
        unused.sort_unstable();
        faults.extend(unused.iter().map(|name| format!("`{name}` is not used")));
        refuse(&self.model, &faults)
    }

    /// A tensor as it lies in its file.
    ///
    /// # Errors
    /// When there is none of that name; never for one that was checked.
    pub fn raw(&self, name: &str) -> Result<RawTensor<'_>, Error> {
        let Some(entry) = self.entries.get(name) else {
            return Err(mismatch(&self.model, &[format!("`{name}` is missing")]));
        };
        Ok(RawTensor {
            dtype: entry.dtype,
            shape: &entry.shape,
            bytes: &self.shards[entry.shard].1[entry.bytes.clone()],
        })
    }
}

/// Refuses where there are faults.
pub(super) fn refuse(model: &str, faults: &[String]) -> Result<(), Error> {
    match faults {
        [] => Ok(()),
        faults => Err(mismatch(model, faults)),
    }
}

/// An error that names the first few faults.
pub(super) fn mismatch(model: &str, faults: &[String]) -> Error {
    let mut why = faults[..faults.len().min(NAMED)].join(", ");
    if faults.len() > NAMED {
        why.push_str(&format!(" and {} more", faults.len() - NAMED));
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
    fn names_of_all_exporters_are_known() {
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
