//! A model with an LM head: loading, decoding a token, logits.

use mlx_rs::{Array, Dtype};

use super::super::decoder::Decoder;
use super::super::kv_cache::KvCache;
use super::super::layers::{Linear, Result as Mlx};
use super::super::vision::VisionTower;
use super::super::weights::Weights;
use super::super::{Error, GeneratorConfig};
use crate::qwen::Text;

/// The model on the MLX thread; fields have the checkpoint's names.
pub(super) struct Model {
    pub(super) visual: VisionTower,
    pub(super) language_model: Decoder,
    /// `None` where the token embeddings are the LM head.
    lm_head: Option<Linear>,
    pub(super) text: Text,
    pub(super) dtype: Dtype,
}

impl Model {
    pub(super) fn load(config: &GeneratorConfig) -> Result<Self, Error> {
        let weights = Weights::new((config.weights)()?, config.device);
        let head = (!config.tie_word_embeddings).then(|| weights.linear("lm_head", false));
        Ok(Self {
            visual: VisionTower::load(&weights, &config.shape)?,
            language_model: Decoder::load(&weights, &config.shape.text)?,
            lm_head: head.transpose()?,
            text: config.shape.text.clone(),
            dtype: weights.dtype(),
        })
    }

    /// Decodes one token of each of several sequences; returns their hidden states, (sequences, hidden_size).
    pub(super) fn decode(
        &self,
        tokens: &Array,
        position_ids: &[i32],
        caches: &mut [&mut KvCache],
    ) -> Mlx<Array> {
        let embeds = self.language_model.embed(tokens)?;
        self.language_model.decode(embeds, position_ids, caches)
    }

    /// Logits of hidden states, (rows, vocabulary), in f32.
    pub(super) fn logits(&self, hidden: &Array) -> Mlx<Array> {
        let logits = match &self.lm_head {
            Some(head) => head.forward(hidden)?,
            None => self.language_model.tied_logits(hidden)?,
        };
        logits.as_dtype(Dtype::Float32)
    }
}
