//! The vision tower: patches to visual tokens. Qwen2.5 looks at the page through windows in most layers, Qwen2 never does.

use std::collections::HashMap;
use std::sync::Arc;

use mlx_rs::ops::concatenate;
use mlx_rs::{Array, Dtype};

use super::Error;
use super::attention::{Turns, attend};
use super::layers::{Linear, Mlp, Norm, Result, gelu, size};
use super::reader::Watch;
use super::weights::Weights;
use crate::patch::{PatchGrid, Patches};
use crate::qwen::{Config, Family, Layout, Sight, Vision};

/// Added to the variance in every norm of the tower.
const EPS: f64 = 1e-6;
/// Layouts kept: manuals have a few page sizes, a folder of photographs has many.
const KEPT: usize = 64;

/// The vision tower; fields carry the checkpoint's names.
pub(super) struct VisionTower {
    config: Vision,
    patch_embed: Linear,
    blocks: Vec<Block>,
    merger: Merger,
    dtype: Dtype,
    layouts: HashMap<PatchGrid, Arc<Placed>>,
}

/// A layout, and the angles of its patches.
struct Placed {
    layout: Layout,
    angles: Vec<f32>,
}

struct Block {
    norm1: Norm,
    norm2: Norm,
    qkv: Linear,
    proj: Linear,
    mlp: Mlp,
    heads: i32,
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
        let load = |layer| Block::load(weights, config, layer);
        Ok(Self {
            patch_embed: weights.patch_embed(&vision)?,
            blocks: (0..vision.depth)
                .map(load)
                .collect::<std::result::Result<_, _>>()?,
            merger: Merger::load(weights, config)?,
            dtype: weights.dtype(),
            layouts: HashMap::new(),
            config: vision,
        })
    }

    /// The visual tokens of some pages, one behind the other, (tokens, width of the text).
    pub(super) fn forward(&mut self, pages: &[Patches], watch: Watch) -> Result<Array> {
        let placed: Vec<_> = pages.iter().map(|page| self.place(page.grid)).collect();
        let patches = pages.iter().map(|page| page.grid.patches()).sum();
        let angles: Vec<f32> = placed
            .iter()
            .flat_map(|p| p.angles.iter().copied())
            .collect();
        // The tower turns in f32, whatever it computes in.
        let turns = Turns::new(&angles, patches, Dtype::Float32)?;
        let windows = placed.iter().flat_map(|p| p.layout.windows.iter().copied());
        let windows = Sight::of(windows, false);
        let full = Sight::of(pages.iter().map(|page| page.grid.patches()), false);

        let mut x = self.patch_embed.forward(&self.pixels(pages, &placed)?)?;
        watch("vit.patch_embed", 0, &x)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            let sight = if self.config.is_full(layer) {
                &full
            } else {
                &windows
            };
            x = block.forward(&x, &turns, sight)?;
            watch("vit.block", layer, &x)?;
        }
        let x = self.merger.forward(&x)?;
        watch("vit.merger", 0, &x)?;
        let back = Layout::unorder(placed.iter().map(|placed| &placed.layout));
        let back = Array::from_slice(&back, &[back.len() as i32]);
        let x = x.take_axis(&back, 0)?;
        watch("vit.order", 0, &back)?;
        watch("vit.out", 0, &x)?;
        Ok(x)
    }

    /// The pixels of all pages, visual tokens in the order of the layout, (patches, pixels of a patch).
    fn pixels(&self, pages: &[Patches], placed: &[Arc<Placed>]) -> Result<Array> {
        let (width, unit) = (self.config.pixels() as i32, self.config.unit() as i32);
        let mut all = Vec::with_capacity(pages.len());
        for (page, placed) in pages.iter().zip(placed) {
            let tokens = page.grid.tokens() as i32;
            let rows = Array::from_slice(&page.rows, &[tokens, unit * width]);
            let order = &placed.layout.order;
            all.push(rows.take_axis(Array::from_slice(order, &[tokens]), 0)?);
        }
        concatenate(&all, 0)?
            .reshape(&[-1, width])?
            .as_dtype(self.dtype)
    }

    fn place(&mut self, grid: PatchGrid) -> Arc<Placed> {
        if let Some(placed) = self.layouts.get(&grid) {
            return Arc::clone(placed);
        }
        let side = self.config.windows.as_ref().map(|windows| windows.side);
        let layout = Layout::new(grid, side);
        let angles = layout.angles(grid, self.config.head());
        if self.layouts.len() >= KEPT {
            self.layouts.clear();
        }
        let placed = Arc::new(Placed { layout, angles });
        self.layouts.insert(grid, Arc::clone(&placed));
        placed
    }
}

fn norm(weights: &Weights, config: &Config, name: &str) -> std::result::Result<Norm, Error> {
    match config.family {
        Family::Qwen2 => weights.layer_norm(name, EPS),
        Family::Qwen25 => weights.rms_norm(name, EPS),
    }
}

fn mlp(weights: &Weights, config: &Config, block: &str) -> std::result::Result<Mlp, Error> {
    let linear = |name: &str| weights.linear(&format!("{block}.mlp.{name}"), true);
    Ok(match config.family {
        Family::Qwen2 => Mlp::Plain {
            fc1: linear("fc1")?,
            fc2: linear("fc2")?,
        },
        Family::Qwen25 => Mlp::Gated {
            gate: linear("gate_proj")?,
            up: linear("up_proj")?,
            down: linear("down_proj")?,
        },
    })
}

impl Block {
    fn load(weights: &Weights, config: &Config, layer: usize) -> std::result::Result<Self, Error> {
        let block = format!("visual.blocks.{layer}");
        Ok(Self {
            norm1: norm(weights, config, &format!("{block}.norm1"))?,
            norm2: norm(weights, config, &format!("{block}.norm2"))?,
            qkv: weights.linear(&format!("{block}.attn.qkv"), true)?,
            proj: weights.linear(&format!("{block}.attn.proj"), true)?,
            mlp: mlp(weights, config, &block)?,
            heads: config.vision.num_heads as i32,
        })
    }

    fn forward(&self, x: &Array, turns: &Turns, sight: &Sight) -> Result<Array> {
        let x = x.add(self.attention(&self.norm1.forward(x)?, turns, sight)?)?;
        x.add(self.mlp.forward(&self.norm2.forward(&x)?)?)
    }

    fn attention(&self, x: &Array, turns: &Turns, sight: &Sight) -> Result<Array> {
        let qkv = self.qkv.forward(x)?.split_equal(3, 1)?;
        let heads = |x: &Array| x.reshape(&[size(x, 0), self.heads, -1]);
        let q = turns.rotate(&heads(&qkv[0])?)?;
        let k = turns.rotate(&heads(&qkv[1])?)?;
        self.proj
            .forward(&attend([&q, &k, &heads(&qkv[2])?], sight)?)
    }
}

impl Merger {
    fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, Error> {
        Ok(Self {
            ln_q: norm(weights, config, "visual.merger.ln_q")?,
            first: weights.linear("visual.merger.mlp.0", true)?,
            second: weights.linear("visual.merger.mlp.2", true)?,
            unit: config.vision.unit(),
        })
    }

    fn forward(&self, x: &Array) -> Result<Array> {
        let x = self.ln_q.forward(x)?;
        let x = x.reshape(&[-1, size(&x, 1) * self.unit as i32])?;
        self.second.forward(&gelu(&self.first.forward(&x)?)?)
    }
}
