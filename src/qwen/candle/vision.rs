//! The vision tower: patches to visual tokens. Qwen2.5 looks at the page through windows in most layers, Qwen2 never does.

use std::collections::HashMap;
use std::rc::Rc;

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{LayerNorm, Linear, Module, RmsNorm};

use super::Hook;
use super::attention::{attend, cos_sin, rotate};
use super::device::{Error, failed};
use super::weights::Weights;
use crate::patch::{PatchGrid, Patches};
use crate::qwen::{Config, PackedSequences, Vision, WindowIndex};

/// Added to the variance in every norm of the tower.
const EPS: f64 = 1e-6;
/// Layouts kept: manuals have a few page sizes, a folder of photographs has many.
const KEPT: usize = 64;

/// The vision tower of a ColQwen; fields carry the checkpoint's names.
pub(super) struct VisionTower {
    config: Vision,
    patch_embed: Linear,
    blocks: Vec<Block>,
    merger: Merger,
    device: Device,
    window_indices: HashMap<PatchGrid, Rc<Placed>>,
}

/// A layout, and its angles on the device.
struct Placed {
    window_index: WindowIndex,
    turns: [Tensor; 2],
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
    unit: usize,
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
            window_indices: HashMap::new(),
            config: vision,
        })
    }

    /// The visual tokens of some pages, one behind the other.
    pub(super) fn forward(&mut self, pages: &[&Patches], hook: Hook) -> Result<Tensor> {
        let placed = pages
            .iter()
            .map(|page| self.place(page.grid))
            .collect::<Result<Vec<_>>>()?;
        let turns =
            [0, 1].map(|i| Tensor::cat(&placed.iter().map(|p| &p.turns[i]).collect::<Vec<_>>(), 0));
        let [cos, sin] = turns;
        let (cos, sin) = (cos?, sin?);
        let windows = placed
            .iter()
            .flat_map(|p| p.window_index.windows.iter().copied());
        let windows = PackedSequences::new(windows, false);
        let full = PackedSequences::new(pages.iter().map(|page| page.grid.patches()), false);

        let mut x = self.patch_embed.forward(&self.pixels(pages, &placed)?)?;
        hook("vit.patch_embed", 0, &x);
        for (layer, block) in self.blocks.iter().enumerate() {
            let packed = if self.config.is_full_attention(layer) {
                &full
            } else {
                &windows
            };
            x = block.forward(&x, [&cos, &sin], packed)?;
            hook("vit.block", layer, &x);
        }
        let x = self.merger.forward(&x)?;
        hook("vit.merger", 0, &x);
        let back = WindowIndex::inverse(placed.iter().map(|placed| &placed.window_index));
        let back = Tensor::from_vec(back, x.dim(0)?, &self.device)?;
        let x = x.index_select(&back, 0)?;
        hook("vit.order", 0, &back);
        hook("vit.out", 0, &x);
        Ok(x)
    }

    /// The pixels of all pages, visual tokens in the order of the layout.
    fn pixels(&self, pages: &[&Patches], placed: &[Rc<Placed>]) -> Result<Tensor> {
        let width = self.config.patch_dim();
        let unit = self.config.spatial_merge_unit() * width;
        let patches: usize = pages.iter().map(|page| page.grid.patches()).sum();
        let mut rows = Vec::with_capacity(patches * width);
        for (page, placed) in pages.iter().zip(placed) {
            for &token in &placed.window_index.order {
                let start = token as usize * unit;
                rows.extend_from_slice(&page.rows[start..start + unit]);
            }
        }
        Tensor::from_vec(rows, (patches, width), &Device::Cpu)?
            .to_dtype(self.patch_embed.weight().dtype())?
            .to_device(&self.device)
    }

    fn place(&mut self, grid: PatchGrid) -> Result<Rc<Placed>> {
        if let Some(placed) = self.window_indices.get(&grid) {
            return Ok(Rc::clone(placed));
        }
        let side = self.config.windows.as_ref().map(|windows| windows.side);
        let window_index = WindowIndex::new(grid, side);
        let turned = window_index.rotary_angles(grid, self.config.head_dim());
        let turns = cos_sin(&turned, grid.patches(), &self.device, DType::F32)?;
        if self.window_indices.len() >= KEPT {
            self.window_indices.clear();
        }
        let placed = Rc::new(Placed {
            window_index,
            turns,
        });
        self.window_indices.insert(grid, Rc::clone(&placed));
        Ok(placed)
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

    fn forward(&self, x: &Tensor, turns: [&Tensor; 2], packed: &PackedSequences) -> Result<Tensor> {
        let x = (x + self.attention(&self.norm1.forward(x)?, turns, packed)?)?;
        &x + self.mlp.forward(&self.norm2.forward(&x)?)?
    }

    fn attention(
        &self,
        x: &Tensor,
        [cos, sin]: [&Tensor; 2],
        packed: &PackedSequences,
    ) -> Result<Tensor> {
        let rows = x.dim(0)?;
        let qkv = self.qkv.forward(x)?;
        let qkv = qkv
            .reshape((rows, 3, self.heads, ()))?
            .permute((1, 2, 0, 3))?;
        let q = rotate(&qkv.get(0)?, cos, sin)?;
        let k = rotate(&qkv.get(1)?, cos, sin)?;
        self.proj.forward(&attend([&q, &k, &qkv.get(2)?], packed)?)
    }
}

impl Merger {
    fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, Error> {
        Ok(Self {
            ln_q: Norm::load(weights, config, "visual.merger.ln_q")?,
            first: weights.linear("visual.merger.mlp.0", true)?,
            second: weights.linear("visual.merger.mlp.2", true)?,
            unit: config.vision.spatial_merge_unit(),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.ln_q.forward(x)?;
        let width = x.dim(D::Minus1)? * self.unit;
        let x = x.reshape(((), width))?;
        self.second.forward(&self.first.forward(&x)?.gelu_erf()?)
    }
}
