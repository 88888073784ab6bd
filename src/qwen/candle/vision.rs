//! The vision tower: patches to visual tokens. Qwen2.5 uses windowed attention in most layers, Qwen2 and Qwen3 full attention
//! in all. Qwen3 also has learned position embeddings and DeepStack features.

use std::collections::HashMap;
use std::rc::Rc;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{LayerNorm, Module, RmsNorm};

use super::Hook;
use super::attention::attend;
use super::device::{CandleDevice, Error, failed};
use super::layers::{Activation, GatedMlp, Linear};
use super::linear_tensors::LinearTensors;
use super::pos_embed::Corners;
use super::rotary::{RotaryEmbedding, RowOrder};
use super::weights::Weights;
use crate::patch::{PatchGrid, Patches};
use crate::qwen::{Config, Family, PackedSequences, Vision, WindowIndex, inverse};

/// Added to the variance in every norm of the tower.
const EPS: f64 = 1e-6;
/// Maximum number of cached layouts, one per list of patch grids: a manual has a few page sizes, a folder of photographs many.
const MAX_LAYOUTS: usize = 16;

/// The vision tower; fields have the checkpoint's names.
pub(super) struct VisionTower {
    config: Vision,
    patch_embed: Linear,
    /// Learned position embeddings; `None` before Qwen3.
    pos_embed: Option<Tensor>,
    blocks: Vec<Block>,
    merger: Merger,
    deepstack_merger_list: Vec<Merger>,
    device: CandleDevice,
    layouts: HashMap<Vec<PatchGrid>, Rc<Layout>>,
}

/// The output of the vision tower.
pub(super) struct VisualFeatures {
    /// The visual tokens, (tokens, out_hidden_size).
    pub(super) tokens: Tensor,
    /// DeepStack features, added to them after the first layers of the language model, one per layer.
    pub(super) deepstack: Vec<Tensor>,
}

/// The rows of a list of images: their order, their sequences and their rotary embedding.
struct Layout {
    /// Visual tokens in the order of the tower, and where each is in that order.
    order: Vec<u32>,
    inverse: Tensor,
    windows: PackedSequences,
    images: PackedSequences,
    rotary: RotaryEmbedding,
    /// `None` before Qwen3.
    corners: Option<Corners>,
    /// `None` if the tower's order is image by image.
    by_image: Option<ByImage>,
}

/// The order of full attention.
struct ByImage {
    order: RowOrder,
    inverse: RowOrder,
    rotary: RotaryEmbedding,
}

/// A norm of either family.
enum Norm {
    Rms(RmsNorm),
    Layer(LayerNorm),
}

/// An MLP of either family.
enum Mlp {
    Gated(GatedMlp),
    Plain {
        fc1: Linear,
        fc2: Linear,
        activation: Activation,
    },
}

struct Block {
    norm1: Norm,
    norm2: Norm,
    /// Queries, keys and values.
    qkv: Vec<Linear>,
    proj: Linear,
    mlp: Mlp,
    heads: usize,
}

struct Merger {
    norm: Norm,
    first: Linear,
    second: Linear,
    /// Patches of one visual token.
    merge_unit: usize,
    /// Whether the patches of a token are joined before the norm.
    post_shuffle_norm: bool,
}

impl VisionTower {
    pub(super) fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, Error> {
        let vision = config.vision.clone();
        let patch = weights.matrix("visual.patch_embed.proj.weight")?;
        let patch = patch
            .reshape((vision.hidden_size, vision.patch_dim()))
            .map_err(failed)?;
        let device = weights.device();
        let load = |layer| Block::load(weights, config, layer);
        let deepstack = vision.deepstack.as_ref();
        let qwen3 = |name| deepstack.map(|_| weights.tensor(name)).transpose();
        let mergers = 0..deepstack.map_or(0, |deepstack| deepstack.layers.len());
        let merger = |index| {
            let name = format!("visual.deepstack_merger_list.{index}");
            Merger::load(weights, config, &name, true)
        };
        Ok(Self {
            patch_embed: Linear::new(
                LinearTensors {
                    weight: patch,
                    bias: qwen3("visual.patch_embed.proj.bias")?,
                    lora: None,
                },
                device,
            )
            .map_err(failed)?,
            pos_embed: qwen3("visual.pos_embed.weight")?,
            deepstack_merger_list: mergers.map(merger).collect::<std::result::Result<_, _>>()?,
            blocks: (0..vision.depth)
                .map(load)
                .collect::<std::result::Result<_, _>>()?,
            merger: Merger::load(weights, config, "visual.merger", false)?,
            device: device.clone(),
            layouts: HashMap::new(),
            config: vision,
        })
    }

    /// The visual tokens of packed images.
    pub(super) fn forward(&mut self, images: &[&Patches], hook: Hook) -> Result<VisualFeatures> {
        let layout = self.layout(images.iter().map(|image| image.grid).collect())?;
        let pixels = self.pixels(images, &layout.order)?;
        let mut x = self.patch_embed.forward(&pixels)?;
        hook("vit.patch_embed", 0, &x);
        if let (Some(table), Some(corners)) = (&self.pos_embed, &layout.corners) {
            x = (x + corners.interpolate(table)?)?;
        }
        let (mut deepstack, config) = (Vec::new(), self.config.deepstack.as_ref());
        for (layer, block) in self.blocks.iter().enumerate() {
            x = match (self.config.is_full_attention(layer), &layout.by_image) {
                (false, _) => block.forward(&x, &layout.rotary, &layout.windows)?,
                (true, None) => block.forward(&x, &layout.rotary, &layout.images)?,
                (true, Some(by_image)) => {
                    let x = by_image.order.apply(&x)?;
                    let x = block.forward(&x, &by_image.rotary, &layout.images)?;
                    by_image.inverse.apply(&x)?
                }
            };
            hook("vit.block", layer, &x);
            let index = config.and_then(|config| config.layers.iter().position(|&l| l == layer));
            if let Some(index) = index {
                let features = self.deepstack_merger_list[index].forward(&x)?;
                hook("vit.deepstack", index, &features);
                deepstack.push(features.index_select(&layout.inverse, 0)?);
            }
        }
        let x = self.merger.forward(&x)?;
        hook("vit.merger", 0, &x);
        let tokens = x.index_select(&layout.inverse, 0)?;
        hook("vit.order", 0, &layout.inverse);
        hook("vit.out", 0, &tokens);
        Ok(VisualFeatures { tokens, deepstack })
    }

    /// The pixels of all images, visual tokens in the given order, (patches, patch_dim).
    fn pixels(&self, images: &[&Patches], order: &[u32]) -> Result<Tensor> {
        let patch_dim = self.config.patch_dim();
        let token_dim = self.config.spatial_merge_unit() * patch_dim;
        let tokens: Vec<&[f32]> = images
            .iter()
            .flat_map(|image| image.rows.chunks_exact(token_dim))
            .collect();
        let mut rows = Vec::with_capacity(order.len() * token_dim);
        for &token in order {
            rows.extend_from_slice(tokens[token as usize]);
        }
        Tensor::from_vec(rows, ((), patch_dim), &Device::Cpu)?
            .to_dtype(self.device.dtype)?
            .to_device(&self.device.device)
    }

    /// The layout of images with these patch grids, cached.
    fn layout(&mut self, grids: Vec<PatchGrid>) -> Result<Rc<Layout>> {
        if let Some(layout) = self.layouts.get(&grids) {
            return Ok(Rc::clone(layout));
        }
        if self.layouts.len() >= MAX_LAYOUTS {
            self.layouts.clear();
        }
        let layout = Rc::new(Layout::new(&grids, &self.config, &self.device.device)?);
        self.layouts.insert(grids, Rc::clone(&layout));
        Ok(layout)
    }
}

impl Layout {
    fn new(grids: &[PatchGrid], config: &Vision, device: &Device) -> Result<Self> {
        let side = config.windows.as_ref().map(|windows| windows.side);
        let index = WindowIndex::new(grids, side);
        let patches = grids.iter().map(PatchGrid::patches).sum();
        let angles = index.rotary_angles(grids, config.head_dim());
        // The reference rotates in f32, in any dtype of the model.
        let rotary = RotaryEmbedding::new(&angles, patches, device, DType::F32)?;
        let indices = |order: &[u32]| Tensor::new(order, device);
        let corners = config.deepstack.as_ref().map(|deepstack| {
            let corners = index.interpolated_pos_embed(grids, deepstack.grid_side);
            Corners::new(&corners, device)
        });
        let by_image = match index.is_image_order() {
            true => None,
            false => {
                let order = RowOrder {
                    indices: indices(&index.image_order)?,
                };
                Some(ByImage {
                    rotary: rotary.reordered(&order)?,
                    order,
                    inverse: RowOrder {
                        indices: indices(&inverse(&index.image_order))?,
                    },
                })
            }
        };
        Ok(Self {
            inverse: indices(&inverse(&index.order))?,
            order: index.order,
            windows: PackedSequences::new(index.window_lens, false),
            images: PackedSequences::new(index.image_lens, false),
            rotary,
            corners: corners.transpose()?,
            by_image,
        })
    }
}

impl Norm {
    fn load(weights: &Weights, config: &Config, name: &str) -> std::result::Result<Self, Error> {
        Ok(match config.vision.windows {
            None => Self::Layer(weights.layer_norm(name, EPS)?),
            Some(_) => Self::Rms(weights.rms_norm(name, EPS)?),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rms(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
        }
    }
}

impl Mlp {
    fn load(weights: &Weights, config: &Config, block: &str) -> std::result::Result<Self, Error> {
        let linear = |name: &str| weights.linear(&format!("{block}.mlp.{name}"), true);
        Ok(match config.family {
            Family::Qwen2 => Self::Plain {
                fc1: linear("fc1")?,
                fc2: linear("fc2")?,
                activation: Activation::QuickGelu,
            },
            Family::Qwen3 => Self::Plain {
                fc1: linear("linear_fc1")?,
                fc2: linear("linear_fc2")?,
                activation: Activation::GeluTanh,
            },
            Family::Qwen25 => Self::Gated(weights.gated_mlp(&format!("{block}.mlp"), true)?),
        })
    }

    /// Of `x`, added to `addend`.
    fn forward_add(&self, x: &Tensor, addend: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gated(mlp) => mlp.forward_add(x, addend),
            Self::Plain {
                fc1,
                fc2,
                activation,
            } => fc2.forward_add(&fc1.forward_activated(x, *activation)?, addend),
        }
    }
}

impl Block {
    fn load(weights: &Weights, config: &Config, layer: usize) -> std::result::Result<Self, Error> {
        let block = format!("visual.blocks.{layer}");
        let on_device = |part| Linear::new(part, weights.device());
        Ok(Self {
            norm1: Norm::load(weights, config, &format!("{block}.norm1"))?,
            norm2: Norm::load(weights, config, &format!("{block}.norm2"))?,
            // Apart, so that each is contiguous.
            qkv: weights
                .linear_tensors(&format!("{block}.attn.qkv"), true)?
                .split(3)
                .and_then(|parts| parts.into_iter().map(on_device).collect())
                .map_err(failed)?,
            proj: weights.linear(&format!("{block}.attn.proj"), true)?,
            mlp: Mlp::load(weights, config, &block)?,
            heads: config.vision.num_heads,
        })
    }

    fn forward(
        &self,
        x: &Tensor,
        rotary: &RotaryEmbedding,
        sequences: &PackedSequences,
    ) -> Result<Tensor> {
        let output = self.attention(&self.norm1.forward(x)?, rotary, sequences)?;
        let x = self.proj.forward_add(&output, x)?;
        self.mlp.forward_add(&self.norm2.forward(&x)?, &x)
    }

    fn attention(
        &self,
        x: &Tensor,
        rotary: &RotaryEmbedding,
        sequences: &PackedSequences,
    ) -> Result<Tensor> {
        let rows = x.dim(0)?;
        let heads = |linear: &Linear| linear.forward(x)?.reshape((rows, self.heads, ()));
        let q = rotary.apply(heads(&self.qkv[0])?)?;
        let k = rotary.apply(heads(&self.qkv[1])?)?;
        attend([&q, &k, &heads(&self.qkv[2])?], sequences)
    }
}

impl Merger {
    fn load(
        weights: &Weights,
        config: &Config,
        name: &str,
        post_shuffle_norm: bool,
    ) -> std::result::Result<Self, Error> {
        let parts = match config.family {
            Family::Qwen2 | Family::Qwen25 => ["ln_q", "mlp.0", "mlp.2"],
            Family::Qwen3 => ["norm", "linear_fc1", "linear_fc2"],
        };
        let [norm, first, second] = parts.map(|part| format!("{name}.{part}"));
        Ok(Self {
            norm: Norm::load(weights, config, &norm)?,
            first: weights.linear(&first, true)?,
            second: weights.linear(&second, true)?,
            merge_unit: config.vision.spatial_merge_unit(),
            post_shuffle_norm,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let width = x.dim(D::Minus1)? * self.merge_unit;
        let join = |x: &Tensor| x.reshape(((), width));
        let x = match self.post_shuffle_norm {
            true => self.norm.forward(&join(x)?)?,
            false => join(&self.norm.forward(x)?)?,
        };
        self.second.forward(&self.first.forward(&x)?.gelu_erf()?)
    }
}
