//! From the picture of a page to what a model eats. Pure maths: no model library is named here.

mod gray;
mod grid;
mod pixels;

pub use pixels::{FRAMES, order};

use crate::page::{PageImage, Size};

/// How a model wants its pages.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepare {
    /// The Qwen families: patches of normalised pixels.
    Qwen(PatchSpec),
    /// The built-in model: a gray raster of about `pixels` pixels.
    Gray {
        /// Pixels of a prepared page, at most.
        pixels: u32,
    },
}

/// The pixel budget and patch geometry of a Qwen-family processor (colpali-engine / transformers `Qwen2VLImageProcessor`).
#[derive(Clone, Debug, PartialEq)]
pub struct PatchSpec {
    /// Side of a patch in pixels: 14 for Qwen2 and Qwen2.5.
    pub patch: u32,
    /// Patches merged into one visual token along one axis: 2.
    pub merge: u32,
    /// Fewest pixels of a prepared page.
    pub min_pixels: u64,
    /// Most pixels of a prepared page.
    pub max_pixels: u64,
    /// Mean of each channel, 0..1.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, 0..1.
    pub std: [f32; 3],
}

/// The patch grid of a page, in patches (not in visual tokens).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PatchGrid {
    /// Patches from top to bottom.
    pub rows: u32,
    /// Patches from left to right.
    pub columns: u32,
    /// Patches merged into one visual token along one axis.
    pub merge: u32,
}

impl PatchGrid {
    /// Number of patches.
    pub const fn patches(&self) -> usize {
        self.rows as usize * self.columns as usize
    }

    /// Number of visual tokens, the vectors of the page less its prompt's.
    pub const fn tokens(&self) -> usize {
        self.patches() / (self.merge as usize * self.merge as usize)
    }
}

/// A page as a Qwen vision tower eats it.
#[derive(Clone, Debug, PartialEq)]
pub struct Patches {
    /// The grid.
    pub grid: PatchGrid,
    /// `grid.patches()` rows of `3 * 2 * patch * patch` floats, in the order of the reference's patchify.
    pub rows: Vec<f32>,
}

/// A page as the built-in model eats it: 8-bit gray, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct GrayPage {
    /// Width and height.
    pub size: Size,
    /// `width * height` bytes, 0 is black.
    pub pixels: Vec<u8>,
}

/// A page ready for the model that asked for it.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepared {
    /// Patches for a Qwen vision tower.
    Qwen(Patches),
    /// A gray raster for the built-in model.
    Gray(GrayPage),
}

/// A page that the reference preprocessing refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// Reference: `absolute aspect ratio must be smaller than 200`.
    #[error("a picture of {0} pixels is more than 200 times longer than wide")]
    AspectRatio(Size),
    /// The picture could not be resized.
    #[error("a picture of {0} pixels cannot be resized: {1}")]
    Resize(Size, String),
}

impl PatchSpec {
    /// The geometry and normalisation that Qwen2-VL and Qwen2.5-VL share, for a pixel budget.
    pub const fn qwen(min_pixels: u64, max_pixels: u64) -> Self {
        Self {
            patch: 14,
            merge: 2,
            min_pixels,
            max_pixels,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_55, 0.261_302_6, 0.275_777_1],
        }
    }
}

impl Prepare {
    /// Prepares one page.
    ///
    /// # Errors
    /// When the reference refuses the page.
    pub fn prepare(&self, page: &PageImage) -> Result<Prepared, PrepareError> {
        match self {
            Self::Qwen(spec) => pixels::prepare(page, spec).map(Prepared::Qwen),
            Self::Gray { pixels } => gray::prepare(page, *pixels).map(Prepared::Gray),
        }
    }

    /// What a page of `px` pixels costs the model: patches for Qwen, pixels for the built-in model. Needs no picture.
    ///
    /// # Errors
    /// When the reference refuses the page.
    pub fn cost(&self, px: Size) -> Result<u64, PrepareError> {
        match self {
            Self::Qwen(spec) => Ok(spec.grid_from_px(px)?.patches() as u64),
            Self::Gray { pixels } => Ok(gray::fit(px, *pixels).area()),
        }
    }

    /// The most a page can cost, whatever its shape.
    pub fn max_cost(&self) -> u64 {
        match self {
            Self::Qwen(spec) => spec.max_patches(),
            Self::Gray { pixels } => u64::from(*pixels),
        }
    }
}

impl Prepared {
    /// What this page costs the model where shorter pages of a batch are padded to it; none where each goes by itself.
    pub fn padded_cost(&self) -> Option<u64> {
        match self {
            Self::Qwen(_) => Some(self.cost()),
            Self::Gray(_) => None,
        }
    }

    /// What this page costs the model, in the unit of [`Prepare::cost`].
    pub fn cost(&self) -> u64 {
        match self {
            Self::Qwen(patches) => patches.grid.patches() as u64,
            Self::Gray(page) => page.size.area(),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Qwen(patches) => (patches.rows.len() * size_of::<f32>()) as u64,
            Self::Gray(page) => page.pixels.len() as u64,
        }
    }
}
