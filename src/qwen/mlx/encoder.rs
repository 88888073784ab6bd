//! The encoder: vision tower, language model and a projection of every token to a short vector.

use mlx_rs::{Array, Dtype};

use super::attention::RotaryEmbedding;
use super::decoder::Decoder;
use super::hooks::{Hook, capture, floats};
use super::input::PackedInput;
use super::layers::{Linear, Result as Mlx};
use super::thread::{OnThread, failed};
use super::vision::VisionTower;
use super::weights::Weights;
use super::{Activation, Device, Error, Segment};
use crate::checkpoint;
use crate::qwen::schema::PROJECTION;
use crate::qwen::{self, Config, PackedSequences, Text, VectorHead};

/// A ColQwen on MLX.
pub struct Encoder(OnThread<Model>);

/// The model on the MLX thread; fields have the checkpoint's names.
struct Model {
    visual: VisionTower,
    language_model: Decoder,
    /// `None`: the hidden states are the vectors.
    custom_text_proj: Option<Linear>,
    text: Text,
    dtype: Dtype,
}

impl Encoder {
    /// Loads a model.
    ///
    /// # Errors
    /// [`Error::Files`] when its weights cannot be read, [`Error::Memory`] when they do not fit.
    pub fn open(
        weights: checkpoint::Weights,
        shape: &Config,
        head: VectorHead,
        device: Device,
    ) -> Result<Self, Error> {
        let shape = shape.clone();
        let load = move || {
            let weights = Weights::new(weights, device);
            let projection = || {
                let projection = weights.linear(PROJECTION, true)?;
                projection.first(head.dim).map_err(failed)
            };
            Ok(Model {
                visual: VisionTower::load(&weights, &shape)?,
                language_model: Decoder::load(&weights, &shape.text)?,
                custom_text_proj: head.projection.map(|_| projection()).transpose()?,
                dtype: weights.dtype(),
                text: shape.text,
            })
        };
        OnThread::new(device, load).map(Self)
    }

    /// Projections of all tokens of packed sequences, (tokens, dim), not normalised.
    ///
    /// # Errors
    /// [`Error::Memory`] when fewer sequences may fit; [`Error::Failed`] for any other failure.
    pub fn encode(&mut self, sequences: Vec<Vec<Segment>>) -> Result<Vec<f32>, Error> {
        self.0
            .with(move |model| model.forward(sequences, &mut |_, _, _| Ok(())))
    }

    /// Activations of [`Encoder::encode`].
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn activations(&mut self, sequences: Vec<Vec<Segment>>) -> Result<Vec<Activation>, Error> {
        self.0.with(move |model| {
            let mut activations = Vec::new();
            let mut hook = |name, index, values: &Array| {
                activations.push(capture(name, index, values)?);
                Ok(())
            };
            model.forward(sequences, &mut hook)?;
            Ok(activations)
        })
    }
}

impl Model {
    fn forward(&mut self, sequences: Vec<Vec<Segment>>, hook: Hook) -> Mlx<Vec<f32>> {
        let input = PackedInput::new(sequences);
        let inputs = input.embed(&mut self.visual, &self.language_model, hook)?;
        let angles = qwen::rotary_angles(&input.position_ids, &self.text);
        let rotary = RotaryEmbedding::new(&angles, input.position_ids.len(), self.dtype)?;
        rotary.capture(hook)?;
        let sequences = PackedSequences::new(input.lengths, self.text.causal);
        let hidden = self
            .language_model
            .forward(inputs, &rotary, &sequences, hook)?;
        let projections = match &self.custom_text_proj {
            None => hidden,
            Some(projection) => projection.forward(&hidden)?,
        };
        hook("proj", 0, &projections)?;
        floats(&projections)
    }
}
