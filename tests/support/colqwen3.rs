//! Checkpoints of the families of ColQwen3, from the tiny one of `tests/golden/`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device as Candle, Tensor, safetensors};
use serde_json::{Value, json};

/// A family, as its checkpoints differ from colpali-engine's own ColQwen3.
pub(crate) struct Family {
    /// Its name in the reference.
    pub(crate) name: &'static str,
    /// Fields of `config.json`.
    config: Value,
    /// Name of a tensor.
    rename: fn(&str) -> String,
    /// Width of a vector.
    pub(crate) dim: u32,
}

/// colpali-engine's own, and those on the hub.
pub(crate) fn families() -> [Family; 5] {
    [
        Family {
            name: "engine",
            config: json!({}),
            rename: str::to_owned,
            dim: 24,
        },
        Family {
            name: "sauerkraut",
            config: json!({"dim": 24}),
            rename: |name| match name.starts_with("custom_text_proj.") {
                true => name.to_owned(),
                false => format!("model.{name}"),
            },
            dim: 24,
        },
        Family {
            name: "tomoro",
            config: json!({"model_type": "colqwen3", "embed_dim": 20}),
            rename: |name| match name.strip_prefix("custom_text_proj.") {
                Some(rest) => format!("embedding_proj_layer.{rest}"),
                None => format!("vlm.model.{name}"),
            },
            dim: 20,
        },
        Family {
            name: "ops",
            config: json!({"model_type": "ops_colqwen3", "dims": 20}),
            rename: str::to_owned,
            dim: 20,
        },
        Family {
            name: "nemotron",
            config: json!({"model_type": "qwen3_vl_nemotron_embed"}),
            rename: |name| format!("model.{name}"),
            dim: 32,
        },
    ]
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

impl Family {
    /// Writes its checkpoint into an empty folder, without a card.
    pub(crate) fn write(&self, folder: &Path) {
        for file in fs::read_dir(golden("colqwen3-tiny")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
        let path = folder.join("config.json");
        let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let fields = self.config.as_object().unwrap().clone();
        json.as_object_mut().unwrap().extend(fields);
        fs::write(path, json.to_string()).unwrap();

        let weights = folder.join("model.safetensors");
        let tensors = safetensors::load(&weights, &Candle::Cpu).unwrap();
        let bare = |name: String| name.strip_prefix("model.").unwrap().to_owned();
        let mut tensors: HashMap<String, Tensor> = tensors
            .into_iter()
            .map(|(name, tensor)| (bare(name), tensor))
            .collect();
        let reference = safetensors::load(golden("colqwen3.safetensors"), &Candle::Cpu).unwrap();
        for part in ["weight", "bias"] {
            let name = format!("custom_text_proj.{part}");
            if self.name == "nemotron" {
                tensors.remove(&name);
            } else if let Some(own) = reference.get(&format!("{}.{part}", self.name)) {
                tensors.insert(name, own.clone());
            }
        }
        let tensors: HashMap<String, Tensor> = tensors
            .into_iter()
            .map(|(name, tensor)| ((self.rename)(&name), tensor))
            .collect();
        safetensors::save(&tensors, weights).unwrap();
    }
}
