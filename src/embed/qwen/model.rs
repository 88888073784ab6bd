//! A ColQwen: vision tower, language model and a projection to short vectors, one a token.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, Module};

use super::super::Error;
use super::super::device::failed;
use super::super::weights::Weights;
use super::core::{self, Core};
use super::prompt::Prompt;
use super::text::Decoder;
use super::vision::VisionTower;
use super::{Tap, attention, footprint};
use crate::patch::{PatchGrid, Patches};
use crate::qwen::{self, Config, Place, Sight, Span, Text};

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
        for chunk in core::chunks(pages, self.chunk) {
            vectors.extend(self.packed(chunk, tap).map_err(failed)?);
        }
        Ok(vectors)
    }

    fn question(&mut self, tokens: &[u32], tap: Tap) -> candle_core::Result<Vec<f32>> {
        let turns = self.angles(&qwen::places(&[Span::Text(tokens.len())]))?;
        let words = self.language_model.embed(tokens)?;
        let sight = Sight::of([tokens.len()], true);
        self.read(words, [&turns[0], &turns[1]], &sight, tap)
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
        let lengths: Vec<usize> = pages
            .iter()
            .map(|page| self.prompt.rows(page.grid))
            .collect();
        let sight = Sight::of(lengths.iter().copied(), true);
        let rows = self.read(Tensor::cat(&parts, 0)?, [&cos, &sin], &sight, tap)?;
        Ok(core::cut(rows, &lengths))
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
        core::normalise(&mut rows, width);
        Ok(rows)
    }

    fn page_turns(&mut self, grid: PatchGrid) -> candle_core::Result<[Tensor; 2]> {
        if let Some(turns) = self.turns.get(&grid) {
            return Ok(turns.clone());
        }
        let turns = self.angles(&self.prompt.page_places(grid))?;
        if self.turns.len() >= KEPT {
            self.turns.clear();
        }
        self.turns.insert(grid, turns.clone());
        Ok(turns)
    }

    fn angles(&self, places: &[Place]) -> candle_core::Result<[Tensor; 2]> {
        let angles = qwen::angles(places, &self.text);
        attention::angles(&angles, places.len(), &self.device, self.dtype)
    }
}

impl Core for ColQwen {
    fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    fn dim(&self) -> usize {
        self.custom_text_proj.weight().dim(0).unwrap_or(0)
    }

    fn see(&mut self, pages: &[&Patches]) -> Result<Vec<Vec<f32>>, Error> {
        self.pages(pages, &mut |_, _, _| ())
    }

    fn ask(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        self.question(tokens, &mut |_, _, _| ()).map_err(failed)
    }
}
