//! The config of a Qwen-VL model, read from `config.json`: both the nested layout of transformers 5 and the older flat one.

use serde::Serialize;

use crate::checkpoint::{Error, Json};

/// The model family, which decides the kind of vision tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Family {
    /// Qwen2-VL: full attention in every vision layer.
    #[serde(rename = "qwen2_vl")]
    Qwen2,
    /// Qwen2.5-VL: windowed attention in most vision layers.
    #[serde(rename = "qwen2_5_vl")]
    Qwen25,
    /// Qwen3-VL: learned position embeddings and DeepStack features.
    #[serde(rename = "qwen3_vl")]
    Qwen3,
}

/// The shape of a Qwen-VL model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// The model family.
    pub family: Family,
    /// The vision tower.
    pub vision: Vision,
    /// The language model.
    pub text: Text,
    /// Id of the placeholder token of an image.
    pub image_token: u32,
}

/// The shape of the vision tower; field names are the checkpoint's where they agree between families.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Vision {
    /// Number of layers.
    pub depth: usize,
    /// Width of a patch.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Patches merged into one visual token along one axis.
    pub spatial_merge_size: usize,
    /// Frames of a patch.
    pub temporal_patch_size: usize,
    /// Width of a visual token.
    pub out_hidden_size: usize,
    /// Windowed attention; `None`: full attention in every layer.
    pub windows: Option<WindowedAttention>,
    /// Learned position embeddings and DeepStack; `None` before Qwen3.
    #[serde(rename = "deep", skip_serializing_if = "Option::is_none")]
    pub deepstack: Option<DeepStack>,
}

/// Additions of Qwen3-VL's vision tower: learned position embeddings and DeepStack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeepStack {
    /// Side of the table of learned position embeddings, which is interpolated over the image: 48.
    #[serde(rename = "side")]
    pub grid_side: usize,
    /// Layers whose output is added to the visual tokens after the first, second, third layer of the language model
    /// (DeepStack, Meng et al. 2024).
    pub layers: Vec<usize>,
}

/// Windowed attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WindowedAttention {
    /// Side of a window in visual tokens.
    pub side: usize,
    /// Layers with full attention.
    #[serde(rename = "full")]
    pub full_layers: Vec<usize>,
}

/// The shape of the language model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Text {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Numbers of rotary frequencies that follow time, height and width.
    pub mrope_section: [usize; 3],
    /// Width of a head with QK-norm; `None` before Qwen3. With it, no layer has a bias, the axes of the rotary frequencies
    /// are interleaved, and the width of a head is independent of `hidden_size`.
    #[serde(rename = "normed_head", skip_serializing_if = "Option::is_none")]
    pub qk_norm_head_dim: Option<usize>,
    /// Whether tokens attend to earlier tokens only. `config.json` does not tell: some embedding models attend to all.
    // Skipped if true, as in the profile ids of older versions.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub causal: bool,
}

/// How hidden states become vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorHead {
    /// Width of the projection; `None`: the hidden states are the vectors.
    pub projection: Option<usize>,
    /// Width of a vector: the first numbers of the projection.
    pub dim: usize,
}

impl Vision {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads
    }

    /// Floats of an unfolded patch.
    pub fn patch_dim(&self) -> usize {
        3 * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    /// Patches of one visual token.
    pub fn spatial_merge_unit(&self) -> usize {
        self.spatial_merge_size * self.spatial_merge_size
    }

    /// Whether a layer has full attention.
    pub fn is_full_attention(&self, layer: usize) -> bool {
        self.windows
            .as_ref()
            .is_none_or(|w| w.full_layers.contains(&layer))
    }
}

impl Text {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        let share = self.hidden_size / self.num_attention_heads;
        self.qk_norm_head_dim.unwrap_or(share)
    }
}

impl Config {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`Error::File`] when a size is missing, [`Error::Unsupported`] when the file requires something else.
    pub fn read(json: &Json) -> Result<Self, Error> {
        // transformers' own `ColQwen2ForRetrieval` wraps the backbone.
        let root = json.part("vlm_config").unwrap_or_else(|| json.clone());
        let family = family(&root)?;
        let text = text(&root, family)?;
        let vision = vision(&root, family, text.hidden_size)?;
        if vision.out_hidden_size != text.hidden_size {
            return Err(root.unsupported(format!(
                "visual tokens {} wide with text {} wide",
                vision.out_hidden_size, text.hidden_size
            )));
        }
        Ok(Self {
            family,
            vision,
            text,
            image_token: root.need(&["image_token_id"])? as u32,
        })
    }
}

impl DeepStack {
    fn read(json: &Json) -> Result<Self, Error> {
        let count = json.need(&["num_position_embeddings"])?;
        let side = count.isqrt();
        if side * side != count {
            return Err(json.unsupported(format!(
                "{count} position embeddings, which are not a square,"
            )));
        }
        let layers = json.whole_numbers("deepstack_visual_indexes");
        Ok(Self {
            grid_side: side,
            layers: layers.unwrap_or_default(),
        })
    }
}

/// Values of `model_type`.
const MODEL_TYPES: [(&str, Family); 8] = [
    ("qwen2_vl", Family::Qwen2),
    ("colqwen2", Family::Qwen2),
    ("qwen2_5_vl", Family::Qwen25),
    ("colqwen2_5", Family::Qwen25),
    ("qwen3_vl", Family::Qwen3),
    ("colqwen3", Family::Qwen3),
    ("ops_colqwen3", Family::Qwen3),
    ("qwen3_vl_nemotron_embed", Family::Qwen3),
];

fn family(root: &Json) -> Result<Family, Error> {
    let found = root.text("model_type");
    let known = MODEL_TYPES.iter().find(|(name, _)| Some(*name) == found);
    known.map(|(_, family)| *family).ok_or_else(|| {
        let known = MODEL_TYPES.map(|(name, _)| name).join(", ");
        let found = found.unwrap_or("(none)");
        root.unsupported(format!("model_type {found}, which is none of {known},"))
    })
}

fn text(root: &Json, family: Family) -> Result<Text, Error> {
    let json = root.part("text_config").unwrap_or_else(|| root.clone());
    expect(&json, "hidden_act", &["silu"])?;
    let qk_norm = family == Family::Qwen3;
    for (flag, refused) in [("use_sliding_window", true), ("attention_bias", qk_norm)] {
        if refused && json.flag(flag) {
            return Err(json.unsupported(flag));
        }
    }
    let rope = ["rope_parameters", "rope_scaling"]
        .iter()
        .find_map(|name| json.part(name).or_else(|| root.part(name)))
        .ok_or_else(|| json.unsupported("a language model without rope_scaling"))?;
    for name in ["type", "rope_type"] {
        expect(&rope, name, &["mrope", "default"])?;
    }
    let heads = json.need(&["num_attention_heads"])?;
    let theta = rope
        .float("rope_theta")
        .or_else(|| json.float("rope_theta"));
    let text = Text {
        vocab_size: json.need(&["vocab_size"])?,
        hidden_size: json.need(&["hidden_size"])?,
        intermediate_size: json.need(&["intermediate_size"])?,
        num_hidden_layers: json.need(&["num_hidden_layers"])?,
        num_attention_heads: heads,
        num_key_value_heads: json.number(&["num_key_value_heads"]).unwrap_or(heads),
        rms_norm_eps: json.float("rms_norm_eps").unwrap_or(1e-6),
        rope_theta: theta.unwrap_or(1e6),
        mrope_section: sections(&rope)?,
        qk_norm_head_dim: qk_norm.then(|| json.need(&["head_dim"])).transpose()?,
        causal: true,
    };
    let head_dim = text.head_dim();
    if 2 * text.mrope_section.iter().sum::<usize>() != head_dim {
        return Err(rope.unsupported(format!("mrope_section with heads {head_dim} wide")));
    }
    if !qk_norm {
        divides(&json, text.hidden_size, heads)?;
    }
    divides(&json, text.num_attention_heads, text.num_key_value_heads)?;
    Ok(text)
}

fn sections(rope: &Json) -> Result<[usize; 3], Error> {
    rope.whole_numbers("mrope_section")
        .and_then(|list| list.try_into().ok())
        .ok_or_else(|| rope.unsupported("rope without an mrope_section of three"))
}

fn vision(root: &Json, family: Family, text_width: usize) -> Result<Vision, Error> {
    let json = root
        .part("vision_config")
        .ok_or_else(|| root.unsupported("a model without vision_config"))?;
    if json.number(&["in_channels", "in_chans"]).unwrap_or(3) != 3 {
        return Err(json.unsupported("other than three colour channels"));
    }
    let patch = json
        .number(&["patch_size", "spatial_patch_size"])
        .unwrap_or(if family == Family::Qwen3 { 16 } else { 14 });
    let merge = json.number(&["spatial_merge_size"]).unwrap_or(2);
    let out = json.number(&["out_hidden_size"]).unwrap_or(text_width);
    let mut deepstack = None;
    let (hidden, inter, out, windows) = match family {
        Family::Qwen2 => {
            expect(&json, "hidden_act", &["quick_gelu"])?;
            let hidden = json.need(&["embed_dim"])?;
            let inter = hidden * json.number(&["mlp_ratio"]).unwrap_or(4);
            let out = json.number(&["hidden_size"]).unwrap_or(text_width);
            (hidden, inter, out, None)
        }
        Family::Qwen25 => {
            expect(&json, "hidden_act", &["silu"])?;
            let windows = WindowedAttention {
                side: json.number(&["window_size"]).unwrap_or(112) / merge / patch,
                full_layers: json
                    .whole_numbers("fullatt_block_indexes")
                    .unwrap_or_else(|| vec![7, 15, 23, 31]),
            };
            let inter = json.need(&["intermediate_size"])?;
            (json.need(&["hidden_size"])?, inter, out, Some(windows))
        }
        Family::Qwen3 => {
            expect(&json, "hidden_act", &["gelu_pytorch_tanh"])?;
            deepstack = Some(DeepStack::read(&json)?);
            let inter = json.need(&["intermediate_size"])?;
            (json.need(&["hidden_size"])?, inter, out, None)
        }
    };
    let vision = Vision {
        depth: json.need(&["depth"])?,
        hidden_size: hidden,
        intermediate_size: inter,
        num_heads: json.need(&["num_heads"])?,
        patch_size: patch,
        spatial_merge_size: merge,
        temporal_patch_size: json.number(&["temporal_patch_size"]).unwrap_or(2),
        out_hidden_size: out,
        windows,
        deepstack,
    };
    if vision.temporal_patch_size != crate::patch::FRAMES {
        return Err(json.unsupported("a temporal_patch_size other than 2"));
    }
    divides(&json, hidden, vision.num_heads * 4)?;
    Ok(vision)
}

/// Checks that a field, where present, has an allowed value.
fn expect(json: &Json, field: &str, allowed: &[&str]) -> Result<(), Error> {
    match json.text(field) {
        Some(value) if !allowed.contains(&value) => {
            Err(json.unsupported(format!("{field} = {value}")))
        }
        _ => Ok(()),
    }
}

/// Checks that a width is a multiple of a number of heads.
fn divides(json: &Json, whole: usize, parts: usize) -> Result<(), Error> {
    if parts == 0 || !whole.is_multiple_of(parts) {
        return Err(json.unsupported(format!("a width of {whole} for {parts} heads")));
    }
    Ok(())
}
