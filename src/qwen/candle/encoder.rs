//! The encoder: vision tower, language model and a projection of every token to a short vector.

use std::collections::HashMap;

use candle_core::{DType, Tensor};

use super::Hook;
use super::decoder::{Decoder, InputEmbeds};
use super::device::{CandleDevice, Error, autoreleased, failed};
use super::layers::Linear;
use super::rotary::RotaryEmbedding;
use super::vision::{VisionTower, VisualFeatures};
use super::weights::Weights;
use crate::checkpoint;
use crate::patch::Patches;
use crate::qwen::schema::PROJECTION;
use crate::qwen::{self, Config, PackedSequences, Span, Text, VectorHead};

/// Maximum number of sequence shapes whose rotary embeddings are cached.
const MAX_CACHED: usize = 64;

/// A part of the input of a model. It borrows its data: pixels are copied only onto the device.
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
            Self::Image(patches) => Span::Image(patches.grid),
        }
    }
}

/// Projections of packed sequences on their device, (tokens, dim).
pub struct Projections(Tensor);

/// A model with a projection to vectors. Fields have the checkpoint's names.
pub struct Encoder {
    visual: VisionTower,
    language_model: Decoder,
    /// `None`: the hidden states are the vectors.
    custom_text_proj: Option<Linear>,
    dim: usize,
    text: Text,
    device: CandleDevice,
    rotary_embeddings: HashMap<Vec<Span>, RotaryEmbedding>,
}

impl Encoder {
    /// Loads a model onto a device.
    ///
    /// # Errors
    /// [`Error::Files`] when its weights cannot be read, [`Error::OutOfMemory`] when they do not fit.
    pub fn load(
        weights: checkpoint::Weights,
        config: &Config,
        head: VectorHead,
        device: CandleDevice,
    ) -> Result<Self, Error> {
        let weights = Weights::new(weights, device);
        let projection = || {
            let tensors = weights.linear_tensors(PROJECTION, true)?.first(head.dim);
            tensors
                .and_then(|tensors| Linear::new(tensors, weights.device()))
                .map_err(failed)
        };
        Ok(Self {
            visual: VisionTower::load(&weights, config)?,
            language_model: Decoder::load(&weights, &config.text)?,
            custom_text_proj: head.projection.map(|_| projection()).transpose()?,
            dim: head.dim,
            text: config.text.clone(),
            device: weights.device().clone(),
            rotary_embeddings: HashMap::new(),
        })
    }

    /// Width of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Projections of all tokens of packed sequences. A GPU may still compute them when this returns.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when fewer sequences may fit; [`Error::Failed`] for any other failure.
    pub fn encode(
        &mut self,
        sequences: &[Vec<Segment<'_>>],
        hook: Hook,
    ) -> Result<Projections, Error> {
        autoreleased(|| self.forward(sequences, hook))
            .map(Projections)
            .map_err(|error| {
                // What a GPU still computes must not fail the next batch.
                self.device.device.synchronize().ok();
                failed(error)
            })
    }

    /// Waits for projections and copies their rows, (tokens, dim) of each, one after another; not normalised.
    ///
    /// # Errors
    /// As [`Encoder::encode`], of anything enqueued before.
    pub fn read(&self, projections: &[Projections]) -> Result<Vec<f32>, Error> {
        let read = || {
            if projections.is_empty() {
                return Ok(Vec::new());
            }
            let rows: Vec<&Tensor> = projections.iter().map(|one| &one.0).collect();
            let rows = Tensor::cat(&rows, 0)?.flatten_all()?;
            // On Metal, reading reports a failure of the last command buffer only; this reports any.
            self.device.device.synchronize()?;
            rows.to_vec1()
        };
        autoreleased(read).map_err(failed)
    }

    fn forward(
        &mut self,
        sequences: &[Vec<Segment<'_>>],
        hook: Hook,
    ) -> candle_core::Result<Tensor> {
        let inputs = self.embed(sequences, hook)?;
        let spans = |sequence: &Vec<Segment<'_>>| sequence.iter().map(Segment::span).collect();
        let spans: Vec<Vec<Span>> = sequences.iter().map(spans).collect();
        let rotary = spans.iter().map(|spans| self.rotary_embedding(spans));
        let rotary = rotary.collect::<candle_core::Result<Vec<_>>>()?;
        let lengths = rotary.iter().map(RotaryEmbedding::rows);
        let sequences = PackedSequences::new(lengths, self.text.causal);
        let rotary = RotaryEmbedding::concat(rotary.iter())?;
        rotary.capture(hook)?;
        let hidden = self
            .language_model
            .forward(inputs, &rotary, &sequences, hook)?;
        let projections = match &self.custom_text_proj {
            None => hidden,
            Some(projection) => projection.forward(&hidden)?,
        };
        hook("proj", 0, &projections);
        projections.to_dtype(DType::F32)
    }

    /// The input of the language model of packed sequences.
    fn embed(
        &mut self,
        sequences: &[Vec<Segment<'_>>],
        hook: Hook,
    ) -> candle_core::Result<InputEmbeds> {
        let images: Vec<&Patches> = sequences
            .iter()
            .flatten()
            .filter_map(|segment| match segment {
                Segment::Text(_) => None,
                Segment::Image(patches) => Some(*patches),
            })
            .collect();
        let visual = match images.is_empty() {
            true => None,
            false => Some(self.visual.forward(&images, hook)?),
        };
        let (tokens, deepstack) = match &visual {
            None => (None, [].as_slice()),
            Some(VisualFeatures { tokens, deepstack }) => (Some(tokens), deepstack.as_slice()),
        };
        let embeds = merged(sequences, tokens, |text| self.language_model.embed(text))?;
        // Text has no DeepStack features.
        let CandleDevice { device, dtype } = &self.device;
        let zeros =
            |text: &[u32]| Tensor::zeros((text.len(), self.text.hidden_size), *dtype, device);
        let deepstack = deepstack
            .iter()
            .map(|features| merged(sequences, Some(features), zeros));
        Ok(InputEmbeds {
            deepstack: deepstack.collect::<candle_core::Result<_>>()?,
            embeds,
        })
    }

    /// The rotary embedding of a sequence, cached.
    fn rotary_embedding(&mut self, spans: &[Span]) -> candle_core::Result<RotaryEmbedding> {
        if let Some(rotary) = self.rotary_embeddings.get(spans) {
            return Ok(rotary.clone());
        }
        let position_ids = qwen::position_ids(spans);
        let angles = qwen::rotary_angles(&position_ids, &self.text);
        let CandleDevice { device, dtype } = &self.device;
        let rotary = RotaryEmbedding::new(&angles, position_ids.len(), device, *dtype)?;
        if self.rotary_embeddings.len() >= MAX_CACHED {
            self.rotary_embeddings.clear();
        }
        self.rotary_embeddings
            .insert(spans.to_vec(), rotary.clone());
        Ok(rotary)
    }
}

/// Rows of packed sequences in order, (tokens, hidden_size): those of text segments, and those of images from `visual`.
fn merged(
    sequences: &[Vec<Segment<'_>>],
    visual: Option<&Tensor>,
    text: impl Fn(&[u32]) -> candle_core::Result<Tensor>,
) -> candle_core::Result<Tensor> {
    let (mut parts, mut start) = (Vec::new(), 0);
    for segment in sequences.iter().flatten() {
        match (segment, visual) {
            (Segment::Image(patches), Some(visual)) => {
                let tokens = patches.grid.tokens();
                parts.push(visual.narrow(0, start, tokens)?);
                start += tokens;
            }
            // Metal has no buffers of length 0.
            (Segment::Text([]), _) | (Segment::Image(_), None) => {}
            (Segment::Text(tokens), _) => parts.push(text(tokens)?),
        }
    }
    Tensor::cat(&parts, 0)
}
