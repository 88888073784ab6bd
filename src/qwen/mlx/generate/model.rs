//! A model that speaks: it reads a question in stretches and then says token by token what is likely to follow.

use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::transforms::eval;
use mlx_rs::{Array, Dtype};

use super::super::attention::Turns;
use super::super::decoder::Decoder;
use super::super::hooks::Hook;
use super::super::input::Turn;
use super::super::kv_cache::Cache;
use super::super::layers::{Linear, Result as Mlx};
use super::super::vision::VisionTower;
use super::super::weights::Weights;
use super::super::{Error, GeneratorConfig, Segment};
use crate::qwen::{self, Text};

/// Tokens of a question that are read at a time: what they take in the MLPs of a large model stays below 100 MB.
pub(super) const STRETCH: usize = 512;

/// What lives on MLX's thread; fields carry the checkpoint's names.
pub(super) struct Model {
    visual: VisionTower,
    language_model: Decoder,
    /// None where the table of words is the head.
    lm_head: Option<Linear>,
    text: Text,
    dtype: Dtype,
}

/// A question that was read.
pub(super) struct Reading {
    /// Keys and values of its tokens.
    pub(super) cache: Cache,
    /// Where the next token stands.
    pub(super) place: i32,
    /// The last row, (1, width).
    pub(super) last: Array,
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

    /// Reads a question, `stretch` tokens at a time; `on` is shown the rows of each stretch and says whether to go on,
    /// `hook` what the vision tower sees.
    pub(super) fn read(
        &mut self,
        segments: Vec<Segment>,
        stretch: usize,
        hook: Hook,
        on: &mut dyn FnMut(&Array) -> Mlx<bool>,
    ) -> Mlx<Option<Reading>> {
        let turn = Turn::new(vec![segments]);
        let words = turn.embed(&mut self.visual, &self.language_model, hook)?;
        eval(std::iter::once(&words.rows).chain(&words.deepstack))?;
        let mut cache = Cache::new(&self.text);
        let mut last = None;
        for (number, position_ids) in turn.position_ids.chunks(stretch).enumerate() {
            let start = (number * stretch) as i32;
            let cut = |x: &Array| x.try_index(start..start + position_ids.len() as i32);
            let deepstack: Vec<Array> = words.deepstack.iter().map(cut).collect::<Mlx<_>>()?;
            let angles = qwen::rotary_angles(position_ids, &self.text);
            let turns = Turns::new(&angles, position_ids.len(), self.dtype)?;
            let rows = cut(&words.rows)?;
            let read = self
                .language_model
                .follow(rows, &deepstack, &turns, &mut cache)?;
            read.eval()?;
            if !on(&read)? {
                return Ok(None);
            }
            let end = position_ids.len() as i32;
            last = Some(read.try_index(end - 1..end)?);
        }
        let end = turn
            .position_ids
            .iter()
            .flatten()
            .max()
            .map_or(0, |end| end + 1);
        Ok(last.map(|last| Reading {
            cache,
            place: end as i32,
            last,
        }))
    }

    /// Reads one more token of each of several sequences; returns a row of each, (sequences, width).
    pub(super) fn step(
        &self,
        tokens: &Array,
        position_ids: &[i32],
        caches: &mut [&mut Cache],
    ) -> Mlx<Array> {
        let words = self.language_model.embed(tokens)?;
        self.language_model.step(words, position_ids, caches)
    }

    /// The scores of all words behind some rows, (rows, words).
    pub(super) fn scores(&self, rows: &Array) -> Mlx<Array> {
        let scores = match &self.lm_head {
            Some(head) => head.forward(rows)?,
            None => self.language_model.tied_logits(rows)?,
        };
        scores.as_dtype(Dtype::Float32)
    }
}
