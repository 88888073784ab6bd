//! The model that needs no download: it reads printed words from the pixels of a page.
//!
//! A page becomes one vector for each printed cell of 16 x 48 pixels, a question one vector for each of its words; both
//! towers were trained so that a word and the cells it is printed in come out alike. Headings count a little more than
//! body text (`emphasis`). It knows spelling, not meaning.
//! `train/README.md` tells how the weights were made.

mod emphasis;
mod feature_map;
mod gemm;
mod ink;
mod page;
mod scales;
mod spelling;
mod stretch;
mod weights;
mod word;
mod words;

use std::num::NonZeroUsize;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use self::ink::Ink;
use self::page::DIM;
use self::weights::Weights;
use super::{BUILT_IN, Card, Embedder, Error, Footprint, Known};
use crate::page::PageError;
use crate::patch::{GrayPage, Prepare, Prepared};
use crate::units::ByteSize;
use crate::vectors::{MultiVector, PageVectors, PatchMap, Profile};

/// Pixels of a prepared page: an A4 page at 107 dpi.
const PIXELS: u32 = 1_100_000;
/// Bytes of features alive for a pixel of a page: two maps of 48 floats a 4 x 4 pixels and two of 128 floats a 16 x 4 pixels.
const BYTES_PER_PIXEL: u64 = 48;
/// Chosen on circuit-macros and octave, never on manuals that the model is judged by: the least weight at which the fused
/// list loses no point of recall@5 to the better one, neither for section titles, where pixels do better, nor for words
/// out of paragraphs, where the text does. The least, since the text layer is surer of what is not spelt like the question.
const VISUAL_WEIGHT: f32 = 0.7;
/// Changes when the same weights would make other vectors.
const VERSION: &str = "built-in 2";
const WIDTH: NonZeroUsize = NonZeroUsize::new(DIM + 1).unwrap();

/// The model's line in the list of models.
pub(super) fn known() -> Known {
    let card = card();
    Known {
        model: BUILT_IN.into(),
        dim: card.profile.dim,
        parameters: card.parameters,
        download: ByteSize(0),
        licence: card.licence,
    }
}

/// What is known of the model without reading its weights. It has one size of page and runs on the CPU, whatever the
/// configuration says.
pub fn card() -> Card {
    let digest = Sha256::new()
        .chain_update(VERSION)
        .chain_update(weights::FILE)
        .finalize();
    let parameters = weights::parameters();
    Card {
        profile: Profile {
            id: digest[..6].iter().map(|b| format!("{b:02x}")).collect(),
            model: BUILT_IN.into(),
            dim: WIDTH.get() as u32,
            pool_factor: 1,
        },
        prepare: Prepare::Gray { pixels: PIXELS },
        max_rows: scales::MOST as u32,
        parameters,
        licence: "MIT OR Apache-2.0".into(),
        memory: Footprint {
            weights: parameters * 4,
            fixed: 16 << 20,
            per_cost: BYTES_PER_PIXEL,
        },
        device: "cpu (f32)".into(),
        on_gpu: false,
        device_memory: None,
        visual_weight: VISUAL_WEIGHT,
    }
}

/// Reads the weights and makes the model.
///
/// # Errors
/// When the weights that are part of the program do not fit it.
pub fn open() -> Result<BuiltIn, Error> {
    Ok(BuiltIn {
        weights: Weights::read(weights::FILE)?,
    })
}

/// The model, ready to use.
pub struct BuiltIn {
    weights: Weights,
}

impl BuiltIn {
    fn page(&self, page: &GrayPage) -> Result<PageVectors, PageError> {
        let ink = Ink::of(page);
        let too_long = || {
            PageError::Shape(format!(
                "a picture of {} pixels has too many cells",
                page.size
            ))
        };
        let number = |n: usize| u16::try_from(n).map_err(|_| too_long());
        let (mut cells, mut rows) = scales::rows(&self.weights.page, page, &ink);
        if cells.is_empty() {
            cells.push(0); // a page needs a row, and this one looks like no word
            rows = vec![0.0; DIM];
            rows.push(1.0);
        }
        let cells = cells.iter().map(|c| number(*c)).collect::<Result<_, _>>()?;
        let vectors = MultiVector::new(rows, WIDTH).map_err(|_| PageError::NotFinite)?;
        let [columns, rows] = [number(ink.columns)?, number(ink.rows)?];
        let places = PatchMap::new(columns, rows, cells, vectors.len())
            .map_err(|why| PageError::Shape(why.to_string()))?;
        Ok(PageVectors { vectors, places })
    }
}

impl Embedder for BuiltIn {
    fn embed_pages(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<PageVectors, PageError>>, Error> {
        let one = |prepared: &Prepared| match prepared {
            Prepared::Gray(page) => Ok(self.page(page)),
            Prepared::Qwen(_) => Err(Error::WrongInput),
        };
        pages.par_iter().map(one).collect()
    }

    fn embed_query(&mut self, text: &str) -> Result<MultiVector, Error> {
        let words = words::of_question(text);
        let rows: Vec<f32> = words
            .iter()
            .flat_map(|w| word::vector(&self.weights.word, w).into_iter().chain([0.0]))
            .collect();
        MultiVector::new(rows, WIDTH).map_err(|e| Error::Model(e.to_string()))
    }
}
