//! The vision tower: patches to visual tokens. Qwen2.5 uses windowed attention in most layers, Qwen2 full attention in all.

use std::collections::HashMap;
use std::rc::Rc;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{LayerNorm, Linear, Module, RmsNorm};

use super::Hook;
use super::attention::{RotaryEmbedding, attend};
use super::device::{Error, failed};
use super::weights::Weights;
use crate::patch::{PatchGrid, Patches};
use crate::qwen::{Config, PackedSequences, Vision, WindowIndex};

/// Added to the variance in every norm of the tower.
const EPS: f64 = 1e-6;
/// Maximum number of cached layouts, one per patch grid: manuals have a few page sizes, a folder of photographs has many.
const MAX_LAYOUTS: usize = 64;

/// The vision tower; fields have the checkpoint's names.
pub(super) struct VisionTower {
    config: Vision,
    patch_embed: Linear,
    blocks: Vec<Block>,
    merger: Merger,
    device: Device,
    layouts: HashMap<PatchGrid, Rc<Layout>>,
}

/// The window index of a patch grid, and the rotary embedding of its patches.
struct Layout {
    window_index: WindowIndex,
    rotary: RotaryEmbedding,
}

/// A norm of either family.
enum Norm {
    Rms(RmsNorm),
    Layer(LayerNorm),
}

/// An MLP of either family.
enum Mlp {
    Gated {
        gate: Linear,
        up: Linear,
        down: Linear,
    },
    Plain {
        fc1: Linear,
        fc2: Linear,
    },
}

struct Block {
    norm1: Norm,
    norm2: Norm,
    qkv: Linear,
    proj: Linear,
    mlp: Mlp,
    heads: usize,
}

struct Merger {
    ln_q: Norm,
    first: Linear,
    second: Linear,
    /// Patches of one visual token.
    merge_unit: usize,
}

impl VisionTower {
    pub(super) fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, Error> {
        let vision = config.vision.clone();
        let patch = weights.tensor("visual.patch_embed.proj.weight")?;
        let patch = patch
            .reshape((vision.hidden_size, vision.patch_dim()))
            .map_err(failed)?;
        let load = |layer| Block::load(weights, config, layer);
        Ok(Self {
            patch_embed: Linear::new(patch, None),
            blocks: (0..vision.depth)
                .map(load)
                .collect::<std::result::Result<_, _>>()?,
            merger: Merger::load(weights, config)?,
            device: weights.device().device.clone(),
            layouts: HashMap::new(),
            config: vision,
        })
    }

    /// The visual tokens of packed images, (tokens, out_hidden_size).
    pub(super) fn forward(&mut self, images: &[&Patches], hook: Hook) -> Result<Tensor> {
        let layouts = images
            .iter()
            .map(|image| self.layout(image.grid))
            .collect::<Result<Vec<_>>>()?;
        let rotary = RotaryEmbedding::concat(layouts.iter().map(|layout| &layout.rotary))?;
        let window_lens = layouts
            .iter()
            .flat_map(|layout| layout.window_index.window_lens.iter().copied());
        let windows = PackedSequences::new(window_lens, false);
        let full = PackedSequences::new(images.iter().map(|image| image.grid.patches()), false);

        let pixels = self.pixels(images, &layouts)?;
        let mut x = self.patch_embed.forward(&pixels)?;
        hook("vit.patch_embed", 0, &x);
        for (layer, block) in self.blocks.iter().enumerate() {
            let sequences = if self.config.is_full_attention(layer) {
                &full
            } else {
                &windows
            };
            x = block.forward(&x, &rotary, sequences)?;
            hook("vit.block", layer, &x);
        }
        let x = self.merger.forward(&x)?;
        hook("vit.merger", 0, &x);
        let inverse = WindowIndex::inverse(layouts.iter().map(|layout| &layout.window_index));
        let inverse = Tensor::from_vec(inverse, x.dim(0)?, &self.device)?;
        let x = x.index_select(&inverse, 0)?;
        hook("vit.order", 0, &inverse);
        hook("vit.out", 0, &x);
        Ok(x)
    }

    /// The pixels of all images, visual tokens in the order of the window index, (patches, patch_dim).
    fn pixels(&self, images: &[&Patches], layouts: &[Rc<Layout>]) -> Result<Tensor> {
        let patch_dim = self.config.patch_dim();
        let token_dim = self.config.spatial_merge_unit() * patch_dim;
        let patches: usize = images.iter().map(|image| image.grid.patches()).sum();
        let mut rows = Vec::with_capacity(patches * patch_dim);
        for (image, layout) in images.iter().zip(layouts) {
            for &token in &layout.window_index.order {
                let start = token as usize * token_dim;
                rows.extend_from_slice(&image.rows[start..start + token_dim]);
            }
        }
        Tensor::from_vec(rows, (patches, patch_dim), &Device::Cpu)?
            .to_dtype(self.patch_embed.weight().dtype())?
            .to_device(&self.device)
    }

    /// The layout of a patch grid, cached.
    fn layout(&mut self, grid: PatchGrid) -> Result<Rc<Layout>> {
        if let Some(layout) = self.layouts.get(&grid) {
            return Ok(Rc::clone(layout));
        }
        let side = self.config.windows.as_ref().map(|windows| windows.side);
        let window_index = WindowIndex::new(grid, side);
        let angles = window_index.rotary_angles(grid, self.config.head_dim());
        // The reference rotates in f32, in any dtype of the model.
        let rotary = RotaryEmbedding::new(&angles, grid.patches(), &self.device, DType::F32)?;
        if self.layouts.len() >= MAX_LAYOUTS {
            self.layouts.clear();
        }
        let layout = Rc::new(Layout {
            window_index,
            rotary,
        });
        self.layouts.insert(grid, Rc::clone(&layout));
        Ok(layout)
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
        Ok(match config.vision.windows {
            None => Self::Plain {
                fc1: linear("fc1")?,
                fc2: linear("fc2")?,
            },
            Some(_) => Self::Gated {
                gate: linear("gate_proj")?,
                up: linear("up_proj")?,
                down: linear("down_proj")?,
            },
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gated { gate, up, down } => {
                down.forward(&(gate.forward(x)?.silu()? * up.forward(x)?)?)
            }
            Self::Plain { fc1, fc2 } => fc2.forward(&quick_gelu(&fc1.forward(x)?)?),
        }
    }
}

/// The sigmoid approximation of GELU that Qwen2-VL was trained with (Hendrycks & Gimpel 2016, §2).
fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    x * candle_nn::ops::sigmoid(&(x * 1.702)?)?
}

impl Block {
    fn load(weights: &Weights, config: &Config, layer: usize) -> std::result::Result<Self, Error> {
        let block = format!("visual.blocks.{layer}");
        Ok(Self {
            norm1: Norm::load(weights, config, &format!("{block}.norm1"))?,
            norm2: Norm::load(weights, config, &format!("{block}.norm2"))?,
            qkv: weights.linear(&format!("{block}.attn.qkv"), true)?,
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
        let x = (x + self.attention(&self.norm1.forward(x)?, rotary, sequences)?)?;
        &x + self.mlp.forward(&self.norm2.forward(&x)?)?
    }

    fn attention(
        &self,
        x: &Tensor,
        rotary: &RotaryEmbedding,
        sequences: &PackedSequences,
    ) -> Result<Tensor> {
        let rows = x.dim(0)?;
        let qkv = self.qkv.forward(x)?;
        let qkv = qkv
            .reshape((rows, 3, self.heads, ()))?
            .permute((1, 2, 0, 3))?;
        let q = rotary.apply(&qkv.get(0)?)?;
        let k = rotary.apply(&qkv.get(1)?)?;
        self.proj
            .forward(&attend([&q, &k, &qkv.get(2)?], sequences)?)
    }
}

impl Merger {
    fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, Error> {
        Ok(Self {
            ln_q: Norm::load(weights, config, "visual.merger.ln_q")?,
            first: weights.linear("visual.merger.mlp.0", true)?,
            second: weights.linear("visual.merger.mlp.2", true)?,
            merge_unit: config.vision.spatial_merge_unit(),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.ln_q.forward(x)?;
        let width = x.dim(D::Minus1)? * self.merge_unit;
        let x = x.reshape(((), width))?;
        self.second.forward(&self.first.forward(&x)?.gelu_erf()?)
    }
}
