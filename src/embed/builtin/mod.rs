//! The built-in model: a two-tower convolutional network that matches printed words by their pixels. Needs no download.
//!
//! A page becomes one vector per printed cell of 16 x 48 pixels, a query one vector per word; contrastive training made
//! the vector of a word similar to those of the cells that contain it. Headings count a little more than body text
//! (`emphasis`). The model matches spelling, not meaning. `train/README.md` describes the training.

mod emphasis;
mod feature_map;
mod ink;
mod line_segments;
mod page_tower;
mod query_words;
mod scales;
mod spelling;
mod weights;
mod word_tower;

use std::num::NonZeroUsize;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use self::ink::Ink;
pub(in crate::embed) use self::page_tower::DIM;
use self::query_words::QueryWords;
pub(super) use self::query_words::can_read;
use self::weights::Weights;
use super::{BUILT_IN, Card, Embedder, Error, Footprint, KnownModel, QueryWord, VisualWeight};
use crate::page::PageError;
use crate::patch::{GrayPage, Prepare, Prepared};
use crate::units::ByteSize;
use crate::vectors::{MultiVector, PageVectors, PatchMap, Profile};

/// Pixels of a prepared page: A4 at 107 dpi.
const PAGE_PIXELS: u32 = 1_100_000;
/// Bytes of live activations per pixel of a page: two maps of 48 floats per 4 x 4 pixels and
/// two of 128 floats per 16 x 4 pixels.
const BYTES_PER_PIXEL: u64 = 48;
/// Weight of image search in score fusion: the smallest at which the fused list loses no point of recall@5 to the
/// better list, neither for section titles, where image search is better, nor for words from paragraphs, where text
/// search is. The smallest, since the text layer is more reliable for words not spelt as in the query. Chosen on
/// circuit-macros and octave, never on manuals that evaluate the model.
const VISUAL_WEIGHT: f32 = 0.7;
/// Similarity of the best page to a query of which no word is printed, and to one of which all are. Chosen on circuit-macros,
/// scanned: nine titles of ten have 0.72 to 0.78 where they are found.
const SIMILARITY: (f32, f32) = (0.69, 0.73);
/// Version of the arithmetic; changes whenever the same weights would give other vectors.
const VERSION: &str = "built-in 2";
/// Width of a row: the tower's vector and the extra float of [`emphasis`].
const ROW_WIDTH: NonZeroUsize = NonZeroUsize::new(DIM + 1).unwrap();

/// The model's entry in the list of known models.
pub(super) fn known_model() -> KnownModel {
    let card = card();
    KnownModel {
        model: BUILT_IN.into(),
        dim: card.profile.dim,
        parameters: card.parameters,
        download: ByteSize(0),
        licence: card.licence,
        commercial: true,
        page_bytes: None,
        page_teraflops: None,
        vidore_v1: None,
        nano_vidore_v3: None,
    }
}

/// The model card, without loading the weights. The page size is fixed and the model always runs on the CPU, whatever
/// the configuration.
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
            dim: ROW_WIDTH.get() as u32,
            pool_factor: 1,
        },
        prepare: Prepare::Gray {
            pixels: PAGE_PIXELS,
        },
        max_rows: scales::MAX_ROWS as u32,
        parameters,
        licence: "MIT OR Apache-2.0".into(),
        memory: Footprint {
            weights: parameters * 4,
            fixed: 16 << 20,
            per_cost: BYTES_PER_PIXEL,
        },
        device: "cpu (f32)".into(),
        is_gpu: false,
        device_memory: None,
        visual_weight: VisualWeight {
            full: VISUAL_WEIGHT,
            similarity: Some(SIMILARITY),
        },
    }
}

/// Loads the model from the embedded weights.
///
/// # Errors
/// [`Error::Files`] if the embedded weights do not have the expected tensors.
pub fn open() -> Result<BuiltIn, Error> {
    Ok(BuiltIn {
        weights: Weights::read(weights::FILE)?,
    })
}

/// The loaded model.
pub struct BuiltIn {
    weights: Weights,
}

/// The vectors of words, `DIM` floats each, concatenated.
///
/// # Errors
/// As [`open`].
pub(super) fn word_vectors(words: &[&str]) -> Result<Vec<f32>, Error> {
    let weights = Weights::read(weights::FILE)?.word;
    let vectors = words.par_iter();
    Ok(vectors
        .flat_map_iter(|word| word_tower::vector(&weights, word))
        .collect())
}

impl BuiltIn {
    fn embed_page(&self, page: &GrayPage) -> Result<PageVectors, PageError> {
        let ink = Ink::new(page);
        let too_long = || {
            PageError::Shape(format!(
                "a page image of {} pixels has too many cells",
                page.size
            ))
        };
        let cell_index = |n: usize| u16::try_from(n).map_err(|_| too_long());
        let (mut cells, mut rows) = scales::rows(&self.weights.page, page, &ink);
        if cells.is_empty() {
            cells.push(0); // a page needs a row, and this one is orthogonal to all words
            rows = vec![0.0; DIM];
            rows.push(1.0);
        }
        let cells = cells
            .iter()
            .map(|c| cell_index(*c))
            .collect::<Result<_, _>>()?;
        let vectors = MultiVector::new(rows, ROW_WIDTH).map_err(|_| PageError::NotFinite)?;
        let [columns, rows] = [cell_index(ink.columns)?, cell_index(ink.rows)?];
        let patches = PatchMap::new(columns, rows, cells, vectors.len())
            .map_err(|why| PageError::Shape(why.to_string()))?;
        Ok(PageVectors { vectors, patches })
    }
}

impl Embedder for BuiltIn {
    fn embed_pages(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<PageVectors, PageError>>, Error> {
        let embed = |prepared: &Prepared| match prepared {
            Prepared::Gray(page) => Ok(self.embed_page(page)),
            Prepared::Qwen(_) => Err(Error::WrongInput),
        };
        pages.par_iter().map(embed).collect()
    }

    fn embed_query(&mut self, text: &str) -> Result<MultiVector, Error> {
        let words = QueryWords::of(text);
        let rows: Vec<f32> = words
            .vectors
            .iter()
            .flat_map(|w| {
                word_tower::vector(&self.weights.word, w)
                    .into_iter()
                    .chain([0.0])
            })
            .collect();
        MultiVector::new(rows, ROW_WIDTH).map_err(|e| Error::Model(e.to_string()))
    }

    fn query_words(&self, query: &str) -> Result<Vec<QueryWord>, Error> {
        Ok(QueryWords::of(query).in_text)
    }

    fn can_read(&self, query: &str) -> bool {
        can_read(query)
    }
}
