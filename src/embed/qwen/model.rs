//! A ColQwen: vision tower, language model and a projection to short vectors, one a token.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, Module};

use super::super::device::failed;
use super::super::weights::Weights;
use super::super::{Embedder, Error};
use super::attention::{self, Sight};
use super::config::{Config, Text};
use super::prompt::{self, Place, Prompt};
use super::text::Decoder;
use super::vision::VisionTower;
use super::{Tap, footprint};
use crate::page::PageError;
use crate::patch::{PatchGrid, Patches, Prepared};
use crate::vectors::{MultiVector, PageVectors, PatchMap, ShapeError};

/// Page shapes whose angles are kept.
const KEPT: usize = 64;

/// A model that embeds pages and questions. Fields carry the checkpoint's names.
pub struct ColQwen {
    visual: VisionTower,
    language_model: Decoder,
    custom_text_proj: Linear,
    prompt: Prompt,
    text: Text,
    chunk: usize,
    device: Device,
    dtype: DType,
    turns: HashMap<PatchGrid, [Tensor; 2]>,
}

impl ColQwen {
    pub(super) fn load(weights: &Weights, config: &Config, prompt: Prompt) -> Result<Self, Error> {
        let place = weights.place().clone();
        Ok(Self {
            visual: VisionTower::load(weights, config)?,
            language_model: Decoder::load(weights, &config.text)?,
            custom_text_proj: weights.linear("custom_text_proj", true)?,
            prompt,
            text: config.text.clone(),
            chunk: footprint::chunk(!place.device.is_cpu()),
            device: place.device,
            dtype: place.dtype,
            turns: HashMap::new(),
        })
    }

    /// How many patches go through the model at a time; pages are never cut.
    pub fn set_chunk(&mut self, patches: usize) {
        self.chunk = patches;
    }

    /// The vectors of pages, unchecked: for each page its rows, one behind the other.
    ///
    /// # Errors
    /// When the tensor library fails.
    pub fn pages(&mut self, pages: &[&Patches], tap: Tap) -> Result<Vec<Vec<f32>>, Error> {
        let mut vectors = Vec::with_capacity(pages.len());
        let mut rest = pages;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(self.fitting(rest));
            vectors.extend(self.packed(chunk, tap).map_err(failed)?);
            rest = behind;
        }
        Ok(vectors)
    }

    /// The vectors of a question, unchecked.
    ///
    /// # Errors
    /// When the question cannot be read as tokens, or the tensor library fails.
    pub fn query(&mut self, question: &str, tap: Tap) -> Result<Vec<f32>, Error> {
        let tokens = self.prompt.query(question)?;
        let mut read = || {
            let turns = self.angles(&prompt::query_places(tokens.len()))?;
            let words = self.language_model.embed(&tokens)?;
            let sight = Sight::of([tokens.len()], true);
            self.read(words, [&turns[0], &turns[1]], &sight, tap)
        };
        read().map_err(failed)
    }

    /// How many pages go into a chunk: at least one.
    fn fitting(&self, pages: &[&Patches]) -> usize {
        let mut patches = 0;
        let fits = |page: &&&Patches| {
            patches += page.grid.patches();
            patches <= self.chunk
        };
        pages.iter().take_while(fits).count().max(1)
    }

    fn packed(&mut self, pages: &[&Patches], tap: Tap) -> candle_core::Result<Vec<Vec<f32>>> {
        let seen = self.visual.forward(pages, tap)?;
        let before = self.language_model.embed(&self.prompt.before)?;
        let after = self.language_model.embed(&self.prompt.after)?;
        let (mut parts, mut cos, mut sin) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for page in pages {
            let tokens = page.grid.tokens();
            parts.extend([
                before.clone(),
                seen.narrow(0, start, tokens)?,
                after.clone(),
            ]);
            let [c, s] = self.page_turns(page.grid)?;
            cos.push(c);
            sin.push(s);
            start += tokens;
        }
        let (cos, sin) = (Tensor::cat(&cos, 0)?, Tensor::cat(&sin, 0)?);
        let lengths: Vec<usize> = pages.iter().map(|page| self.rows(page.grid)).collect();
        let sight = Sight::of(lengths.iter().copied(), true);
        let rows = self.read(Tensor::cat(&parts, 0)?, [&cos, &sin], &sight, tap)?;
        let width = rows.len() / lengths.iter().sum::<usize>();
        let mut rest = rows.as_slice();
        let cut = |length: usize| {
            let (page, behind) = rest.split_at(length * width);
            rest = behind;
            page.to_vec()
        };
        Ok(lengths.into_iter().map(cut).collect())
    }

    /// From embedded tokens to rows of length 1.
    fn read(
        &self,
        words: Tensor,
        [cos, sin]: [&Tensor; 2],
        sight: &Sight,
        tap: Tap,
    ) -> candle_core::Result<Vec<f32>> {
        tap("lm.cos", 0, cos);
        tap("lm.sin", 0, sin);
        let read = self.language_model.forward(words, [cos, sin], sight, tap)?;
        let rows = self.custom_text_proj.forward(&read)?;
        tap("proj", 0, &rows);
        let width = rows.dim(1)?;
        let mut rows = rows.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        // In f32 whatever the model computes in: a bf16 length would leave rows up to 0.4 % off.
        for row in rows.chunks_exact_mut(width) {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter_mut().for_each(|x| *x /= length);
        }
        Ok(rows)
    }

    /// Vectors of a page of this shape.
    fn rows(&self, grid: PatchGrid) -> usize {
        self.prompt.before.len() + grid.tokens() + self.prompt.after.len()
    }

    fn page_turns(&mut self, grid: PatchGrid) -> candle_core::Result<[Tensor; 2]> {
        if let Some(turns) = self.turns.get(&grid) {
            return Ok(turns.clone());
        }
        let (before, after) = (self.prompt.before.len(), self.prompt.after.len());
        let turns = self.angles(&prompt::page_places(before, grid, after))?;
        if self.turns.len() >= KEPT {
            self.turns.clear();
        }
        self.turns.insert(grid, turns.clone());
        Ok(turns)
    }

    fn angles(&self, places: &[Place]) -> candle_core::Result<[Tensor; 2]> {
        let angles = prompt::angles(places, &self.text);
        attention::angles(&angles, places.len(), &self.device, self.dtype)
    }

    fn checked(&self, rows: Vec<f32>) -> Result<MultiVector, ShapeError> {
        let dim = self.custom_text_proj.weight().dim(0).unwrap_or(0);
        let dim = std::num::NonZeroUsize::new(dim).ok_or(ShapeError::Empty)?;
        MultiVector::new(rows, dim)
    }

    /// Where the rows of a page look.
    fn places(&self, grid: PatchGrid) -> PatchMap {
        let nowhere = |tokens: &[u32]| vec![PatchMap::NOWHERE; tokens.len()];
        let mut cells = nowhere(&self.prompt.before);
        cells.extend((0..grid.tokens()).map(|cell| cell as u16));
        cells.extend(nowhere(&self.prompt.after));
        PatchMap {
            columns: (grid.columns / grid.merge) as u16,
            rows: (grid.rows / grid.merge) as u16,
            cells,
        }
    }

    /// Checks the vectors of a page; a page that is not finite gets a second chance, alone.
    fn finish(
        &mut self,
        page: &Patches,
        rows: Vec<f32>,
    ) -> Result<Result<PageVectors, PageError>, Error> {
        let vectors = match self.checked(rows) {
            Ok(vectors) => Ok(vectors),
            Err(_) => {
                let again = self.pages(&[page], &mut |_, _, _| ())?.concat();
                self.checked(again)
            }
        };
        let places = self.places(page.grid);
        Ok(vectors
            .map(|vectors| PageVectors { vectors, places })
            .map_err(|_| PageError::NotFinite))
    }
}

impl Embedder for ColQwen {
    fn embed_pages(
        &mut self,
        pages: &[Prepared],
    ) -> Result<Vec<Result<PageVectors, PageError>>, Error> {
        let pages = pages.iter().map(patches).collect::<Result<Vec<_>, _>>()?;
        let rows = self.pages(&pages, &mut |_, _, _| ())?;
        let finish = |(page, rows)| self.finish(page, rows);
        pages.into_iter().zip(rows).map(finish).collect()
    }

    fn embed_query(&mut self, text: &str) -> Result<MultiVector, Error> {
        let rows = self.query(text, &mut |_, _, _| ())?;
        self.checked(rows)
            .map_err(|error| Error::Model(error.to_string()))
    }
}

fn patches(page: &Prepared) -> Result<&Patches, Error> {
    match page {
        Prepared::Qwen(patches) => Ok(patches),
        Prepared::Gray(_) => Err(Error::WrongInput),
    }
}
