//! The vision tower: patches to visual tokens. Qwen2.5 looks at the page through windows in most layers, Qwen2 and Qwen3
//! never do. Qwen3 has learnt places as well, and shows the language model what some of its layers saw.

use std::collections::HashMap;
use std::sync::Arc;

use mlx_rs::ops::concatenate;
use mlx_rs::{Array, Dtype};

use super::Error;
use super::attention::{Turns, attend};
use super::hooks::Hook;
use super::layers::{
    Linear, Matrix, Mlp, Norm, Result, gelu, numbers, quick_gelu, size, tanh_gelu,
};
use super::weights::Weights;
use crate::patch::{PatchGrid, Patches};
use crate::qwen::{self, Config, Family, PackedSequences, Vision, WindowIndex};

/// Added to the variance in every norm of the tower.
const EPS: f64 = 1e-6;
/// Layouts kept: manuals have a few page sizes, a folder of photographs has many.
const KEPT: usize = 64;

/// The vision tower; fields carry the checkpoint's names.
pub(super) struct VisionTower {
    config: Vision,
    patch_embed: Linear,
    /// None where places are told by rotation alone.
    pos_embed: Option<Matrix>,
    blocks: Vec<Block>,
    merger: Merger,
    deepstack_merger_list: Vec<Merger>,
    dtype: Dtype,
    window_indices: HashMap<PatchGrid, Arc<Placed>>,
}

/// What a vision tower saw.
pub(super) struct Seen {
    /// The visual tokens, (tokens, width of the text).
    pub(super) tokens: Array,
    /// What is added to them behind the first layers of the language model, one each.
    pub(super) deepstack: Vec<Array>,
}

/// A layout, and the angles of its patches.
struct Placed {
    window_index: WindowIndex,
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
    norm: Norm,
    first: Linear,
    second: Linear,
    device: i32,
    /// Whether the patches of a token are put together before the norm.
    joined: bool,
}

impl VisionTower {
    pub(super) fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, Error> {
        let vision = config.vision.clone();
        let load = |layer| Block::load(weights, config, layer);
        let deepstack = vision.deepstack.as_ref();
        let table = deepstack.map(|_| weights.matrix("visual.pos_embed"));
        let mergers = 0..deepstack.map_or(0, |deepstack| deepstack.layers.len());
        let merger = |number| {
            let name = format!("visual.deepstack_merger_list.{number}");
            Merger::load(weights, config, &name, true)
        };
        Ok(Self {
            patch_embed: weights.patch_embed(&vision)?,
            pos_embed: table.transpose()?,
            deepstack_merger_list: mergers.map(merger).collect::<std::result::Result<_, _>>()?,
            blocks: (0..vision.depth)
                .map(load)
                .collect::<std::result::Result<_, _>>()?,
            merger: Merger::load(weights, config, "visual.merger", false)?,
            dtype: weights.dtype(),
            window_indices: HashMap::new(),
            config: vision,
        })
    }

    /// The visual tokens of some pages, one behind the other.
    pub(super) fn forward(&mut self, pages: &[Patches], hook: Hook) -> Result<Seen> {
        let placed: Vec<_> = pages.iter().map(|page| self.place(page.grid)).collect();
        let patches = pages.iter().map(|page| page.grid.patches()).sum();
        let angles: Vec<f32> = placed
            .iter()
            .flat_map(|p| p.angles.iter().copied())
            .collect();
        // The tower turns in f32, whatever it computes in.
        let turns = Turns::new(&angles, patches, Dtype::Float32)?;
        let windows = placed
            .iter()
            .flat_map(|p| p.window_index.windows.iter().copied());
        let windows = PackedSequences::new(windows, false);
        let full = PackedSequences::new(pages.iter().map(|page| page.grid.patches()), false);

        let mut x = self.patch_embed.forward(&self.pixels(pages, &placed)?)?;
        hook("vit.patch_embed", 0, &x)?;
        if let Some(table) = &self.pos_embed {
            x = x.add(self.learnt(table, pages)?)?;
        }
        let (mut deepstack, places) = (Vec::new(), self.config.deepstack.as_ref());
        for (layer, block) in self.blocks.iter().enumerate() {
            let packed = match self.config.is_full_attention(layer) {
                true => &full,
                false => &windows,
            };
            x = block.forward(&x, &turns, packed)?;
            hook("vit.block", layer, &x)?;
            let shown =
                places.and_then(|deepstack| deepstack.layers.iter().position(|&at| at == layer));
            if let Some(number) = shown {
                deepstack.push(self.deepstack_merger_list[number].forward(&x)?);
                hook("vit.deep", number, &deepstack[deepstack.len() - 1])?;
            }
        }
        let x = self.merger.forward(&x)?;
        hook("vit.merger", 0, &x)?;
        let back = WindowIndex::inverse(placed.iter().map(|placed| &placed.window_index));
        let back = numbers(&back);
        hook("vit.order", 0, &back)?;
        let tokens = x.take_axis(&back, 0)?;
        hook("vit.out", 0, &tokens)?;
        let order = |x: &Array| x.take_axis(&back, 0);
        Ok(Seen {
            tokens,
            deepstack: deepstack.iter().map(order).collect::<Result<_>>()?,
        })
    }

    /// The learnt places of the patches of all pages, (patches, width): the table stretched over each page.
    fn learnt(&self, table: &Matrix, pages: &[Patches]) -> Result<Array> {
        let side = self
            .config
            .deepstack
            .as_ref()
            .map_or(1, |deepstack| deepstack.grid_side);
        let interpolated_pos_embed: Vec<_> = pages
            .iter()
            .flat_map(|page| qwen::interpolated_pos_embed(page.grid, side))
            .collect();
        let mut sum: Option<Array> = None;
        for corner in 0..4 {
            let rows: Vec<u32> = interpolated_pos_embed
                .iter()
                .map(|four| four[corner].0)
                .collect();
            let shares: Vec<f32> = interpolated_pos_embed
                .iter()
                .map(|four| four[corner].1)
                .collect();
            let shares = Array::from_slice(&shares, &[shares.len() as i32, 1]);
            let part = table.rows(&numbers(&rows))?;
            let part = part.multiply(shares.as_dtype(part.dtype())?)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => sum.add(part)?,
            });
        }
        sum.ok_or_else(|| mlx_rs::error::Exception::custom("a square has four corners"))
    }

    /// The pixels of all pages, visual tokens in the order of the layout, (patches, pixels of a patch).
    fn pixels(&self, pages: &[Patches], placed: &[Arc<Placed>]) -> Result<Array> {
        let (width, device) = (
            self.config.patch_dim() as i32,
            self.config.spatial_merge_unit() as i32,
        );
        let mut all = Vec::with_capacity(pages.len());
        for (page, placed) in pages.iter().zip(placed) {
            let tokens = page.grid.tokens() as i32;
            let rows = Array::from_slice(&page.rows, &[tokens, device * width]);
            let order = &placed.window_index.order;
            all.push(rows.take_axis(numbers(order), 0)?);
        }
        concatenate(&all, 0)?
            .reshape(&[-1, width])?
            .as_dtype(self.dtype)
    }

    fn place(&mut self, grid: PatchGrid) -> Arc<Placed> {
        if let Some(placed) = self.window_indices.get(&grid) {
            return Arc::clone(placed);
        }
        let side = self.config.windows.as_ref().map(|windows| windows.side);
        let window_index = WindowIndex::new(grid, side);
        let angles = window_index.rotary_angles(grid, self.config.head_dim());
        if self.window_indices.len() >= KEPT {
            self.window_indices.clear();
        }
        let placed = Arc::new(Placed {
            window_index,
            angles,
        });
        self.window_indices.insert(grid, Arc::clone(&placed));
        placed
    }
}

fn norm(weights: &Weights, config: &Config, name: &str) -> std::result::Result<Norm, Error> {
    match config.family {
        Family::Qwen2 | Family::Qwen3 => weights.layer_norm(name, EPS),
        Family::Qwen25 => weights.rms_norm(name, EPS),
    }
}

fn mlp(weights: &Weights, config: &Config, block: &str) -> std::result::Result<Mlp, Error> {
    let linear = |name: &str| weights.linear(&format!("{block}.mlp.{name}"), true);
    Ok(match config.family {
        Family::Qwen2 => Mlp::Plain {
            fc1: linear("fc1")?,
            fc2: linear("fc2")?,
            bend: quick_gelu,
        },
        Family::Qwen3 => Mlp::Plain {
            fc1: linear("linear_fc1")?,
            fc2: linear("linear_fc2")?,
            bend: tanh_gelu,
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

    fn forward(&self, x: &Array, turns: &Turns, packed: &PackedSequences) -> Result<Array> {
        let x = x.add(self.attention(&self.norm1.forward(x)?, turns, packed)?)?;
        x.add(self.mlp.forward(&self.norm2.forward(&x)?)?)
    }

    fn attention(&self, x: &Array, turns: &Turns, packed: &PackedSequences) -> Result<Array> {
        let qkv = self.qkv.forward(x)?.split_equal(3, 1)?;
        let heads = |x: &Array| x.reshape(&[size(x, 0), self.heads, -1]);
        let q = turns.rotate(&heads(&qkv[0])?)?;
        let k = turns.rotate(&heads(&qkv[1])?)?;
        self.proj
            .forward(&attend([&q, &k, &heads(&qkv[2])?], packed)?)
    }
}

impl Merger {
    fn load(
        weights: &Weights,
        config: &Config,
        name: &str,
        joined: bool,
    ) -> std::result::Result<Self, Error> {
        let parts = match config.family {
            Family::Qwen2 | Family::Qwen25 => ["ln_q", "mlp.0", "mlp.2"],
            Family::Qwen3 => ["norm", "linear_fc1", "linear_fc2"],
        };
        let [normed, first, second] = parts.map(|part| format!("{name}.{part}"));
        Ok(Self {
            norm: norm(weights, config, &normed)?,
            first: weights.linear(&first, true)?,
            second: weights.linear(&second, true)?,
            device: config.vision.spatial_merge_unit() as i32,
            joined,
        })
    }

    fn forward(&self, x: &Array) -> Result<Array> {
        let join = |x: &Array| x.reshape(&[-1, size(x, 1) * self.device]);
        let x = match self.joined {
            true => self.norm.forward(&join(x)?)?,
            false => join(&self.norm.forward(x)?)?,
        };
        self.second.forward(&gelu(&self.first.forward(&x)?)?)
    }
}
