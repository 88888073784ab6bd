//! A model that reads: vision tower, language model and a projection of every token, for vectors.

use mlx_rs::{Array, Dtype};

use super::attention::Turns;
use super::decoder::Decoder;
use super::hooks::{Hook, floats, tap};
use super::input::Turn;
use super::layers::{Linear, Result as Mlx};
use super::thread::Kept;
use super::vision::VisionTower;
use super::weights::Weights;
use super::{Activation, Device, Error, Segment};
use crate::checkpoint;
use crate::qwen::{self, Config, PackedSequences, Text};

/// A ColQwen on MLX.
pub struct Encoder(Kept<Model>);

/// What lives on MLX's thread; fields carry the checkpoint's names.
struct Model {
    visual: VisionTower,
    language_model: Decoder,
    custom_text_proj: Linear,
    text: Text,
    dtype: Dtype,
}

impl Encoder {
    /// Loads a model.
    ///
    /// # Errors
    /// When its weights cannot be read or do not fit into memory.
    pub fn open(
        weights: checkpoint::Weights,
        shape: &Config,
        device: Device,
    ) -> Result<Self, Error> {
        let shape = shape.clone();
        let load = move || {
            let weights = Weights::new(weights, device);
            Ok(Model {
                visual: VisionTower::load(&weights, &shape)?,
                language_model: Decoder::load(&weights, &shape.text)?,
                custom_text_proj: weights.linear("custom_text_proj", true)?,
                dtype: weights.dtype(),
                text: shape.text,
            })
        };
        Kept::make(device, load).map(Self)
    }

    /// The projections of all tokens of some sequences, one behind the other; not yet of length 1.
    ///
    /// # Errors
    /// [`Error::Memory`] apart from everything else: fewer sequences may fit.
    pub fn encode(&mut self, sequences: Vec<Vec<Segment>>) -> Result<Vec<f32>, Error> {
        self.0
            .with(move |model| model.read(sequences, &mut |_, _, _| Ok(())))
    }

    /// What is computed on the way.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn activations(&mut self, sequences: Vec<Vec<Segment>>) -> Result<Vec<Activation>, Error> {
        self.0.with(move |model| {
            let mut taps = Vec::new();
            let mut keep = |name, number, values: &Array| {
                taps.push(tap(name, number, values)?);
                Ok(())
            };
            model.read(sequences, &mut keep)?;
            Ok(taps)
        })
    }
}

impl Model {
    fn read(&mut self, sequences: Vec<Vec<Segment>>, hook: Hook) -> Mlx<Vec<f32>> {
        let turn = Turn::new(sequences);
        let words = turn.embed(&mut self.visual, &self.language_model, hook)?;
        // No ColQwen is made of a Qwen3-VL: there is nothing to add behind layers.
        let words = words.rows;
        let angles = qwen::rotary_angles(&turn.position_ids, &self.text);
        let turns = Turns::new(&angles, turn.position_ids.len(), self.dtype)?;
        turns.show("lm.cos", "lm.sin", hook)?;
        let packed = PackedSequences::new(turn.lengths, true);
        let read = self.language_model.forward(words, &turns, &packed, hook)?;
        let rows = self.custom_text_proj.forward(&read)?;
        hook("proj", 0, &rows)?;
        floats(&rows)
    }
}
