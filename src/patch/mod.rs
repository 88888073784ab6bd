//! Page preprocessing: resizes, normalises and patchifies page images. Pure maths, independent of any model library.

mod gray;
mod grid;
mod pixels;
mod turn;

pub use pixels::{FRAMES, order};

use crate::page::{PageImage, Size};

/// Preprocessing of pages that a model requires.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepare {
    /// The Qwen families: patches of normalised pixels.
    Qwen(PatchSpec),
    /// The built-in model: a grayscale image of about `pixels` pixels.
    Gray {
        /// Maximum pixels of a prepared page.
        pixels: u32,
    },
}

/// Pixel budget and patch geometry of a Qwen-family image processor (colpali-engine / transformers
/// `Qwen2VLImageProcessor`).
#[derive(Clone, Debug, PartialEq)]
pub struct PatchSpec {
    /// Side of a patch in pixels: 14 for Qwen2 and Qwen2.5.
    pub patch: u32,
    /// Patches merged into one visual token along each axis: 2.
    pub merge: u32,
    /// Minimum pixels of a prepared page.
    pub min_pixels: u64,
    /// Maximum pixels of a prepared page.
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
    /// Patches merged into one visual token along each axis.
    pub merge: u32,
}

impl PatchGrid {
    /// Number of patches.
    pub const fn patches(&self) -> usize {
        self.rows as usize * self.columns as usize
    }

    /// Number of visual tokens: the vectors of the page without those of its prompt.
    pub const fn tokens(&self) -> usize {
        self.patches() / (self.merge as usize * self.merge as usize)
    }
}

/// Input of a Qwen vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct Patches {
    /// Patch grid.
    pub grid: PatchGrid,
    /// `grid.patches()` rows of `3 * 2 * patch * patch` floats, in the order of the reference's patchify.
    pub rows: Vec<f32>,
}

/// Input of the built-in model: an 8-bit grayscale image, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct GrayPage {
    /// Width and height.
    pub size: Size,
    /// `width * height` bytes, 0 is black.
    pub pixels: Vec<u8>,
}

/// A preprocessed page.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepared {
    /// Patches for a Qwen vision tower.
    Qwen(Patches),
    /// A grayscale image for the built-in model.
    Gray(GrayPage),
}

/// Error of preprocessing a page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// Reference: `absolute aspect ratio must be smaller than 200`.
    #[error("an image of {0} pixels has an aspect ratio above 200")]
    AspectRatio(Size),
    /// The image cannot be resized.
    #[error("an image of {0} pixels cannot be resized: {1}")]
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
    /// Preprocesses one page.
    ///
    /// # Errors
    /// [`PrepareError::AspectRatio`] if the reference rejects the page, [`PrepareError::Resize`] if resizing fails.
    pub fn prepare(&self, page: &PageImage) -> Result<Prepared, PrepareError> {
        match self {
            Self::Qwen(spec) => pixels::prepare(page, spec).map(Prepared::Qwen),
            Self::Gray { pixels } => gray::prepare(page, *pixels).map(Prepared::Gray),
        }
    }

    /// Cost of a page of `px` pixels, from its size alone: patches for Qwen, pixels for the built-in model.
    ///
    /// # Errors
    /// [`PrepareError::AspectRatio`] if the reference rejects the page.
    pub fn cost(&self, px: Size) -> Result<u64, PrepareError> {
        match self {
            Self::Qwen(spec) => Ok(spec.grid_from_px(px)?.patches() as u64),
            Self::Gray { pixels } => Ok(gray::fit(px, *pixels).area()),
        }
    }

    /// Maximum cost of a page of any size.
    pub fn max_cost(&self) -> u64 {
        match self {
            Self::Qwen(spec) => spec.max_patches(),
            Self::Gray { pixels } => u64::from(*pixels),
        }
    }
}

impl Prepared {
    /// Cost of this page if shorter pages of its batch are padded to it; `None` if pages are not padded.
    pub fn padded_cost(&self) -> Option<u64> {
        match self {
            Self::Qwen(_) => Some(self.cost()),
            Self::Gray(_) => None,
        }
    }

    /// Cost of this page, in the unit of [`Prepare::cost`].
    pub fn cost(&self) -> u64 {
        match self {
            Self::Qwen(patches) => patches.grid.patches() as u64,
            Self::Gray(page) => page.size.area(),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Qwen(patches) => (patches.rows.len() * size_of::<f32>()) as u64,
            Self::Gray(page) => page.pixels.len() as u64,
        }
    }
}
