//! Model input: packed sequences of text and image segments, and their `inputs_embeds`.

use mlx_rs::Array;
use mlx_rs::ops::{concatenate, zeros_dtype};

use super::Segment;
use super::decoder::{Decoder, InputEmbeds};
use super::hooks::Hook;
use super::layers::{Result, indices, size};
use super::vision::VisionTower;
use crate::patch::Patches;
use crate::qwen::{self, PositionId, Span};

/// The segments of packed sequences.
#[derive(Default)]
pub(super) struct PackedInput {
    spans: Vec<Span>,
    /// Token ids of all text segments.
    tokens: Vec<u32>,
    images: Vec<Patches>,
    /// Position id of each token in its sequence.
    pub(super) position_ids: Vec<PositionId>,
    /// Tokens of each sequence.
    pub(super) lengths: Vec<usize>,
}

impl PackedInput {
    pub(super) fn new(sequences: Vec<Vec<Segment>>) -> Self {
        let mut input = Self::default();
        for sequence in sequences {
            let start = input.spans.len();
            for segment in sequence {
                input.spans.push(segment.span());
                match segment {
                    Segment::Text(tokens) => input.tokens.extend(tokens),
                    Segment::Image(patches) => input.images.push(patches),
                }
            }
            let position_ids = qwen::position_ids(&input.spans[start..]);
            input.lengths.push(position_ids.len());
            input.position_ids.extend(position_ids);
        }
        input
    }

    /// Embeds text and images and merges them in order.
    pub(super) fn embed(
        &self,
        visual: &mut VisionTower,
        language_model: &Decoder,
        hook: Hook,
    ) -> Result<InputEmbeds> {
        let text = language_model.embed(&indices(&self.tokens))?;
        if self.images.is_empty() {
            return Ok(InputEmbeds {
                embeds: text,
                deepstack: Vec::new(),
            });
        }
        let visual = visual.forward(&self.images, hook)?;
        // One gather puts both in order: the rows of text come first, then those of the images.
        let embeds = concatenate(&[&text, &visual.tokens], 0)?;
        let embeds = embeds.take_axis(self.order(0, 1, self.tokens.len() as u32), 0)?;
        // Text has no DeepStack features: all its rows are one row of zeros.
        let zeros = zeros_dtype(&[1, size(&text, 1)], text.dtype())?;
        let order = self.order(0, 0, 1);
        let merge = |features: &Array| concatenate(&[&zeros, features], 0)?.take_axis(&order, 0);
        let deepstack = visual.deepstack.iter().map(merge);
        Ok(InputEmbeds {
            embeds,
            deepstack: deepstack.collect::<Result<_>>()?,
        })
    }

    /// The row of each token, where the rows of text start at `text`, `step` apart, and those of images at `image`.
    fn order(&self, mut text: u32, step: u32, mut image: u32) -> Array {
        let mut rows = Vec::with_capacity(self.position_ids.len());
        for span in &self.spans {
            let (next, step, count) = match span {
                Span::Text(count) => (&mut text, step, *count as u32),
                Span::Image(grid) => (&mut image, 1, grid.tokens() as u32),
            };
            rows.extend((0..count).map(|row| *next + row * step));
            *next += count * step;
        }
        indices(&rows)
    }
}
