//! The vision tower: patches to visual tokens. Qwen2.5 uses windowed attention in most layers, Qwen2 and Qwen3 full attention
//! in all. Qwen3 also has learned position embeddings and DeepStack features.

use std::collections::HashMap;

use mlx_rs::ops::concatenate;
use mlx_rs::{Array, Dtype};

use super::Error;
use super::attention::{RotaryEmbedding, attend, reordered};
use super::hooks::Hook;
use super::layers::{
    Linear, Matrix, Mlp, Norm, Result, gelu, indices, quick_gelu, size, tanh_gelu,
};
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
    pos_embed: Option<Matrix>,
    blocks: Vec<Block>,
    merger: Merger,
    deepstack_merger_list: Vec<Merger>,
    dtype: Dtype,
    layouts: HashMap<Vec<PatchGrid>, Layout>,
}

/// The output of the vision tower.
pub(super) struct VisualFeatures {
    /// The visual tokens, (tokens, out_hidden_size).
    pub(super) tokens: Array,
    /// DeepStack features, added to them after the first layers of the language model, one per layer.
    pub(super) deepstack: Vec<Array>,
}

/// The rows of a list of images: their order, their sequences and their rotary embedding. Clones share arrays.
#[derive(Clone)]
struct Layout {
    /// Visual tokens in the order of the tower, and where each is in that order.
    order: Array,
    inverse: Array,
    windows: PackedSequences,
    images: PackedSequences,
    rotary: RotaryEmbedding,
    /// Where each patch lies in the table of position embeddings: four rows of it, and their weights. Empty before Qwen3.
    corners: Vec<(Array, Array)>,
    /// `None` if the tower's order is image by image.
    by_image: Option<ByImage>,
}

/// The order of full attention: visual tokens as positions in the order of the tower.
#[derive(Clone)]
struct ByImage {
    order: Array,
    inverse: Array,
    rotary: RotaryEmbedding,
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
    /// Patches of one visual token.
    merge_unit: i32,
    /// Whether the patches of a token are joined before the norm.
    post_shuffle_norm: bool,
}

impl VisionTower {
    pub(super) fn load(weights: &Weights, config: &Config) -> std::result::Result<Self, Error> {
        let vision = config.vision.clone();
        let load = |layer| Block::load(weights, config, layer);
        let deepstack = vision.deepstack.as_ref();
        let table = deepstack.map(|_| weights.matrix("visual.pos_embed"));
        let mergers = 0..deepstack.map_or(0, |deepstack| deepstack.layers.len());
        let merger = |index| {
            let name = format!("visual.deepstack_merger_list.{index}");
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
            layouts: HashMap::new(),
            config: vision,
        })
    }

    /// The visual tokens of packed images.
    pub(super) fn forward(&mut self, images: &[Patches], hook: Hook) -> Result<VisualFeatures> {
        let layout = self.layout(images.iter().map(|image| image.grid).collect())?;
        let pixels = self.pixels(images, &layout.order)?;
        let mut x = self.patch_embed.forward(&pixels)?;
        hook("vit.patch_embed", 0, &x)?;
        if let Some(table) = &self.pos_embed {
            x = x.add(interpolated_pos_embed(table, &layout.corners)?)?;
        }
        let (mut deepstack, config) = (Vec::new(), self.config.deepstack.as_ref());
        for (layer, block) in self.blocks.iter().enumerate() {
            x = match (self.config.is_full_attention(layer), &layout.by_image) {
                (false, _) => block.forward(&x, &layout.rotary, &layout.windows)?,
                (true, None) => block.forward(&x, &layout.rotary, &layout.images)?,
                (true, Some(by_image)) => {
                    let x = reordered(&x, &by_image.order)?;
                    let x = block.forward(&x, &by_image.rotary, &layout.images)?;
                    reordered(&x, &by_image.inverse)?
                }
            };
            hook("vit.block", layer, &x)?;
            let index = config.and_then(|config| config.layers.iter().position(|&l| l == layer));
            if let Some(index) = index {
                deepstack.push(self.deepstack_merger_list[index].forward(&x)?);
                hook("vit.deepstack", index, &deepstack[deepstack.len() - 1])?;
            }
        }
        let x = self.merger.forward(&x)?;
        hook("vit.merger", 0, &x)?;
        let inverse = &layout.inverse;
        hook("vit.order", 0, inverse)?;
        let tokens = x.take_axis(inverse, 0)?;
        hook("vit.out", 0, &tokens)?;
        let reorder = |x: &Array| x.take_axis(inverse, 0);
        Ok(VisualFeatures {
            tokens,
            deepstack: deepstack.iter().map(reorder).collect::<Result<_>>()?,
        })
    }

    /// The pixels of all images, visual tokens in the given order, (patches, patch_dim).
    fn pixels(&self, images: &[Patches], order: &Array) -> Result<Array> {
        let patch_dim = self.config.patch_dim() as i32;
        let token_dim = self.config.spatial_merge_unit() as i32 * patch_dim;
        let rows: Vec<Array> = images
            .iter()
            .map(|image| Array::from_slice(&image.rows, &[image.grid.tokens() as i32, token_dim]))
            .collect();
        concatenate(&rows, 0)?
            .take_axis(order, 0)?
            .reshape(&[-1, patch_dim])?
            .as_dtype(self.dtype)
    }

    /// The layout of images with these patch grids, cached.
    fn layout(&mut self, grids: Vec<PatchGrid>) -> Result<Layout> {
        if let Some(layout) = self.layouts.get(&grids) {
            return Ok(layout.clone());
        }
        if self.layouts.len() >= MAX_LAYOUTS {
            self.layouts.clear();
        }
        let layout = Layout::new(&grids, &self.config)?;
        self.layouts.insert(grids, layout.clone());
        Ok(layout)
    }
}

impl Layout {
    fn new(grids: &[PatchGrid], config: &Vision) -> Result<Self> {
        let side = config.windows.as_ref().map(|windows| windows.side);
        let index = WindowIndex::new(grids, side);
        let patches = grids.iter().map(PatchGrid::patches).sum();
        let angles = index.rotary_angles(grids, config.head_dim());
        // The reference rotates in f32, in any dtype of the model.
        let rotary = RotaryEmbedding::new(&angles, patches, Dtype::Float32)?;
        let by_image = match index.is_image_order() {
            true => None,
            false => {
                let order = indices(&index.image_order);
                Some(ByImage {
                    rotary: rotary.reordered(&order)?,
                    inverse: indices(&inverse(&index.image_order)),
                    order,
                })
            }
        };
        let corners = config.deepstack.as_ref().map(|deepstack| {
            let corners = index.interpolated_pos_embed(grids, deepstack.grid_side);
            let corner = |corner: usize| {
                let rows: Vec<u32> = corners.iter().map(|four| four[corner].0).collect();
                let weights: Vec<f32> = corners.iter().map(|four| four[corner].1).collect();
                let shape = [weights.len() as i32, 1];
                (indices(&rows), Array::from_slice(&weights, &shape))
            };
            (0..4).map(corner).collect()
        });
        Ok(Self {
            corners: corners.unwrap_or_default(),
            order: indices(&index.order),
            inverse: indices(&inverse(&index.order)),
            windows: PackedSequences::new(index.window_lens, false),
            images: PackedSequences::new(index.image_lens, false),
            rotary,
            by_image,
        })
    }
}

/// The learned position embeddings of patches, (patches, hidden_size), interpolated from `table`. Summed in f32, as the
/// reference does.
fn interpolated_pos_embed(table: &Matrix, corners: &[(Array, Array)]) -> Result<Array> {
    let mut sum: Option<Array> = None;
    let mut dtype = Dtype::Float32;
    for (rows, weights) in corners {
        let part = table.rows(rows)?;
        dtype = part.dtype();
        let part = part.as_dtype(Dtype::Float32)?.multiply(weights)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => sum.add(part)?,
        });
    }
    let sum = sum.ok_or_else(|| mlx_rs::error::Exception::custom("no corners to interpolate"))?;
    sum.as_dtype(dtype)
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
            activation: quick_gelu,
        },
        Family::Qwen3 => Mlp::Plain {
            fc1: linear("linear_fc1")?,
            fc2: linear("linear_fc2")?,
            activation: tanh_gelu,
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

    fn forward(
        &self,
        x: &Array,
        rotary: &RotaryEmbedding,
        sequences: &PackedSequences,
    ) -> Result<Array> {
        let x = x.add(self.attention(&self.norm1.forward(x)?, rotary, sequences)?)?;
        x.add(self.mlp.forward(&self.norm2.forward(&x)?)?)
    }

    fn attention(
        &self,
        x: &Array,
        rotary: &RotaryEmbedding,
        sequences: &PackedSequences,
    ) -> Result<Array> {
        let qkv = self.qkv.forward(x)?.split_equal(3, 1)?;
        let heads = |x: &Array| x.reshape(&[size(x, 0), self.heads, -1]);
        let q = rotary.apply(&heads(&qkv[0])?)?;
        let k = rotary.apply(&heads(&qkv[1])?)?;
        self.proj
            .forward(&attend([&q, &k, &heads(&qkv[2])?], sequences)?)
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
        let [norm_name, first, second] = parts.map(|part| format!("{name}.{part}"));
        Ok(Self {
            norm: norm(weights, config, &norm_name)?,
            first: weights.linear(&first, true)?,
            second: weights.linear(&second, true)?,
            merge_unit: config.vision.spatial_merge_unit() as i32,
            post_shuffle_norm,
        })
    }

    fn forward(&self, x: &Array) -> Result<Array> {
        let join = |x: &Array| x.reshape(&[-1, size(x, 1) * self.merge_unit]);
        let x = match self.post_shuffle_norm {
            true => self.norm.forward(&join(x)?)?,
            false => join(&self.norm.forward(x)?)?,
        };
        self.second.forward(&gelu(&self.first.forward(&x)?)?)
    }
}
