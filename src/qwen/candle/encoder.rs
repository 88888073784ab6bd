//! The encoder: vision tower, language model and a projection of every token to a short vector.

use std::collections::HashMap;

use candle_core::{DType, Tensor};
use candle_nn::{Linear, Module};

use super::decoder::Decoder;
use super::device::{CandleDevice, Error, failed};
use super::vision::VisionTower;
use super::weights::Weights;
use super::{Hook, attention};
use crate::checkpoint;
use crate::patch::Patches;
use crate::qwen::{self, Config, PackedSequences, Span, Text};

/// Sequence shapes whose rotary embeddings are kept.
const KEPT: usize = 64;

/// A part of the input of a model.
#[derive(Clone, Copy, Debug)]
pub enum Segment<'a> {
    /// Tokens of text.
    Text(&'a [u32]),
    /// An image.
    Image(&'a Patches),
}

impl Segment<'_> {
    fn span(&self) -> Span {
        match self {
            Self::Text(tokens) => Span::Text(tokens.len()),
            Self::Image(page) => Span::Image(page.grid),
        }
    }
}

/// A model with a projection to vectors. Fields carry the checkpoint's names.
pub struct Encoder {
    visual: VisionTower,
    language_model: Decoder,
    custom_text_proj: Linear,
    text: Text,
    device: CandleDevice,
    turns: HashMap<Vec<Span>, [Tensor; 2]>,
}

impl Encoder {
    /// Loads a model onto a device.
    ///
    /// # Errors
    /// [`Error::Files`] when its weights cannot be read, [`Error::OutOfMemory`] when they do not fit.
    pub fn load(
        weights: checkpoint::Weights,
        config: &Config,
        device: CandleDevice,
    ) -> Result<Self, Error> {
        let weights = Weights::new(weights, device);
        Ok(Self {
            visual: VisionTower::load(&weights, config)?,
            language_model: Decoder::load(&weights, &config.text)?,
            custom_text_proj: weights.linear("custom_text_proj", true)?,
            text: config.text.clone(),
            device: weights.device().clone(),
            turns: HashMap::new(),
        })
    }

    /// Width of a vector.
    pub fn dim(&self) -> usize {
        self.custom_text_proj.weight().dim(0).unwrap_or(0)
    }

    /// Projections of all tokens of packed sequences, (tokens, dim), not normalised.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] apart from everything else: fewer sequences may fit.
    pub fn encode(
        &mut self,
        sequences: &[Vec<Segment<'_>>],
        hook: Hook,
    ) -> Result<Vec<f32>, Error> {
        self.forward(sequences, hook).map_err(failed)
    }

    fn forward(
        &mut self,
        sequences: &[Vec<Segment<'_>>],
        hook: Hook,
    ) -> candle_core::Result<Vec<f32>> {
        let words = self.embed(sequences, hook)?;
        let spans = |sequence: &Vec<Segment<'_>>| sequence.iter().map(Segment::span).collect();
        let spans: Vec<Vec<Span>> = sequences.iter().map(spans).collect();
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for spans in &spans {
            let [c, s] = self.turns(spans)?;
            cos.push(c);
            sin.push(s);
        }
        let lengths = cos.iter().map(|cos| cos.dim(0));
        let lengths = lengths.collect::<candle_core::Result<Vec<_>>>()?;
        let (cos, sin) = (Tensor::cat(&cos, 0)?, Tensor::cat(&sin, 0)?);
        hook("lm.cos", 0, &cos);
        hook("lm.sin", 0, &sin);
        let packed = PackedSequences::new(lengths, true);
        let read = self
            .language_model
            .forward(words, [&cos, &sin], &packed, hook)?;
        let rows = self.custom_text_proj.forward(&read)?;
        hook("proj", 0, &rows);
        rows.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
    }

    /// Token and visual embeddings of packed sequences, (tokens, hidden_size).
    fn embed(&mut self, sequences: &[Vec<Segment<'_>>], hook: Hook) -> candle_core::Result<Tensor> {
        let pages: Vec<&Patches> = sequences
            .iter()
            .flatten()
            .filter_map(|segment| match segment {
                Segment::Text(_) => None,
                Segment::Image(page) => Some(*page),
            })
            .collect();
        let seen = match pages.is_empty() {
            true => None,
            false => Some(self.visual.forward(&pages, hook)?),
        };
        let (mut parts, mut start) = (Vec::new(), 0);
        for segment in sequences.iter().flatten() {
            match (segment, &seen) {
                (Segment::Image(page), Some(seen)) => {
                    let tokens = page.grid.tokens();
                    parts.push(seen.narrow(0, start, tokens)?);
                    start += tokens;
                }
                (Segment::Text(tokens), _) => parts.push(self.language_model.embed(tokens)?),
                (Segment::Image(_), None) => {}
            }
        }
        Tensor::cat(&parts, 0)
    }

    /// The rotary embedding of a sequence, (tokens, head_dim / 2) each.
    fn turns(&mut self, spans: &[Span]) -> candle_core::Result<[Tensor; 2]> {
        if let Some(turns) = self.turns.get(spans) {
            return Ok(turns.clone());
        }
        let position_ids = qwen::position_ids(spans);
        let angles = qwen::rotary_angles(&position_ids, &self.text);
        let CandleDevice { device, dtype } = &self.device;
        let turns = attention::cos_sin(&angles, position_ids.len(), device, *dtype)?;
        if self.turns.len() >= KEPT {
            self.turns.clear();
        }
        self.turns.insert(spans.to_vec(), turns.clone());
        Ok(turns)
    }
}
