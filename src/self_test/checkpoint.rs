//! Tiny random checkpoints in the hub's layout: ColQwen3, ColQwen2.5 and ColQwen2 with the head widths of the released models,
//! so that they take the same kernels.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::Path;

use safetensors::tensor::{Dtype, View, serialize_to_file};
use serde_json::{Value, json};

use super::Error;
use crate::checkpoint::Json;
use crate::qwen::{Config, schema};

/// Width of a vector.
const DIM: usize = 128;
/// Words of the tokenizer, `w0` to `w255`; other words are unknown.
pub(super) const WORDS: u32 = 256;
/// Special tokens of the families' prompts, after the words and the unknown word.
const SPECIAL: [&str; 6] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
];
/// Seed of all weights: every run tests the same model.
const SEED: u64 = 0x5e1f;

/// The families that are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Full attention, learned positions, DeepStack, normed queries and keys.
    ColQwen3,
    /// Windowed and full attention, RMS norms, gated MLPs.
    ColQwen25,
    /// Full attention, layer norms, plain MLPs.
    ColQwen2,
}

impl Family {
    pub(super) const ALL: [Self; 3] = [Self::ColQwen25, Self::ColQwen2, Self::ColQwen3];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ColQwen3 => "ColQwen3",
            Self::ColQwen25 => "ColQwen2.5",
            Self::ColQwen2 => "ColQwen2",
        }
    }

    /// Side of a patch in pixels.
    pub(super) fn patch_size(self) -> usize {
        match self {
            Self::ColQwen3 => 16,
            Self::ColQwen25 | Self::ColQwen2 => 14,
        }
    }

    /// Writes a checkpoint of this family into an empty folder.
    pub(super) fn write(self, folder: &Path) -> Result<(), Error> {
        fs::write(folder.join("tokenizer.json"), tokenizer().to_string())?;
        let path = folder.join("config.json");
        fs::write(&path, self.config().to_string())?;
        let shapes = schema::embedding_model(&Config::read(&Json::read(&path)?)?, Some(DIM));
        let mut random = fastrand::Rng::with_seed(SEED);
        let tensors = shapes.into_iter().map(|(name, shape)| {
            let tensor = Tensor::random(&name, shape, &mut random);
            (name, tensor)
        });
        serialize_to_file(tensors, None, &folder.join("model.safetensors"))
            .map_err(|error| Error::Io(io::Error::other(error)))
    }

    /// `config.json`: heads 80 wide in the vision tower (64 in ColQwen3's) and 128 in the language model, as in the released
    /// models.
    fn config(self) -> Value {
        let rope = json!({ "type": "mrope", "mrope_section": [16, 24, 24], "rope_theta": 1e6 });
        let (model_type, vision, rope) = match self {
            Self::ColQwen3 => (
                "qwen3_vl",
                json!({
                    "depth": 3, "hidden_size": 128, "intermediate_size": 352, "num_heads": 2, "out_hidden_size": 512,
                    "hidden_act": "gelu_pytorch_tanh", "patch_size": self.patch_size(), "num_position_embeddings": 2304,
                    "deepstack_visual_indexes": [0, 1, 2],
                }),
                json!({
                    "rope_type": "default", "mrope_interleaved": true, "mrope_section": [24, 20, 20], "rope_theta": 5e6,
                }),
            ),
            Self::ColQwen25 => (
                "qwen2_5_vl",
                json!({
                    "depth": 4, "hidden_size": 160, "intermediate_size": 432, "num_heads": 2, "out_hidden_size": 512,
                    "hidden_act": "silu", "window_size": 112, "fullatt_block_indexes": [1, 3],
                }),
                rope,
            ),
            Self::ColQwen2 => (
                "qwen2_vl",
                json!({
                    "depth": 3, "embed_dim": 160, "mlp_ratio": 3, "num_heads": 2, "hidden_size": 512,
                    "hidden_act": "quick_gelu",
                }),
                rope,
            ),
        };
        json!({
            "model_type": model_type,
            "image_token_id": WORDS as usize + SPECIAL.len(),
            "vision_config": vision,
            "text_config": {
                "vocab_size": WORDS as usize + 1 + SPECIAL.len(), "hidden_size": 512, "intermediate_size": 704,
                "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
                "head_dim": 128, "rope_parameters": rope,
            },
        })
    }
}

/// `tokenizer.json` of a word-level tokenizer with the special tokens of the family.
fn tokenizer() -> Value {
    let mut vocabulary: serde_json::Map<String, Value> =
        (0..WORDS).map(|id| (format!("w{id}"), json!(id))).collect();
    vocabulary.insert("[UNK]".to_owned(), json!(WORDS));
    let special = SPECIAL.iter().zip(WORDS + 1..).map(|(token, id)| {
        json!({
            "id": id, "content": token, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false,
        })
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null, "decoder": null,
        "added_tokens": special.collect::<Vec<_>>(),
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]" },
    })
}

/// A tensor in f32.
struct Tensor {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    /// Random values of a scale that keeps activations near 1: norms around 1, embeddings 1, matrices by their input width.
    fn random(name: &str, shape: Vec<usize>, random: &mut fastrand::Rng) -> Self {
        let is_norm = name.contains("norm") || name.contains("ln_q");
        let (mean, deviation) = match shape.as_slice() {
            [_] if is_norm && name.ends_with("weight") => (1.0, 0.1),
            [_] => (0.0, 0.1),
            _ if name.contains("embed_tokens") || name.contains("pos_embed") => (0.0, 1.0),
            [_, inputs @ ..] => (0.0, 1.0 / (inputs.iter().product::<usize>() as f32).sqrt()),
            [] => (0.0, 0.0),
        };
        let mut value = || mean + deviation * noise(random);
        let count = shape.iter().product();
        let values = std::iter::repeat_with(&mut value).take(count);
        Self {
            bytes: values.flat_map(f32::to_le_bytes).collect(),
            shape,
        }
    }
}

impl View for Tensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// A uniform value of mean 0 and variance 1.
pub(super) fn noise(random: &mut fastrand::Rng) -> f32 {
    (random.f32() - 0.5) * 12f32.sqrt()
}
