//! What a model reads in one go: sequences of words and pictures, packed one behind the other.

use mlx_rs::Array;
use mlx_rs::ops::{concatenate, zeros_dtype};

use super::Segment;
use super::decoder::Decoder;
use super::hooks::Hook;
use super::layers::{Result, numbers, size};
use super::vision::VisionTower;
use crate::patch::Patches;
use crate::qwen::{self, PositionId, Span};

/// Sequences, packed one behind the other.
#[derive(Default)]
pub(super) struct Turn {
    spans: Vec<Span>,
    tokens: Vec<u32>,
    pages: Vec<Patches>,
    /// Where each token stands in its sequence.
    pub(super) position_ids: Vec<PositionId>,
    /// Tokens of each sequence.
    pub(super) lengths: Vec<usize>,
}

/// What the language model is given, row by row.
pub(super) struct Embedded {
    /// Words and pictures, (rows, width).
    pub(super) rows: Array,
    /// What is added behind its first layers, (rows, width) each.
    pub(super) deepstack: Vec<Array>,
}

impl Turn {
    pub(super) fn new(sequences: Vec<Vec<Segment>>) -> Self {
        let mut turn = Self::default();
        for sequence in sequences {
            let start = turn.spans.len();
            for segment in sequence {
                turn.spans.push(segment.span());
                match segment {
                    Segment::Text(tokens) => turn.tokens.extend(tokens),
                    Segment::Image(page) => turn.pages.push(page),
                }
            }
            let position_ids = qwen::position_ids(&turn.spans[start..]);
            turn.lengths.push(position_ids.len());
            turn.position_ids.extend(position_ids);
        }
        turn
    }

    /// Words and pictures, in order.
    pub(super) fn embed(
        &self,
        visual: &mut VisionTower,
        words: &Decoder,
        hook: Hook,
    ) -> Result<Embedded> {
        let told = words.embed(&numbers(&self.tokens))?;
        if self.pages.is_empty() {
            return Ok(Embedded {
                rows: told,
                deepstack: Vec::new(),
            });
        }
        let seen = visual.forward(&self.pages, hook)?;
        // One gather puts both in order: rows of text stand first, those of pictures behind them.
        let rows = concatenate(&[&told, &seen.tokens], 0)?;
        let rows = rows.take_axis(self.order(0, 1, self.tokens.len() as u32), 0)?;
        // Nothing is added to text: its rows are one row of zeros.
        let blank = zeros_dtype(&[1, size(&told, 1)], told.dtype())?;
        let order = self.order(0, 0, 1);
        let place = |deepstack: &Array| concatenate(&[&blank, deepstack], 0)?.take_axis(&order, 0);
        Ok(Embedded {
            rows,
            deepstack: seen.deepstack.iter().map(place).collect::<Result<_>>()?,
        })
    }

    /// The row of each token, where those of text begin at `text`, `step` apart, and those of pictures at `picture`.
    fn order(&self, mut text: u32, step: u32, mut picture: u32) -> Array {
        let mut rows = Vec::with_capacity(self.position_ids.len());
        for span in &self.spans {
            let (next, step, count) = match span {
                Span::Text(count) => (&mut text, step, *count as u32),
                Span::Image(grid) => (&mut picture, 1, grid.tokens() as u32),
            };
            rows.extend((0..count).map(|row| *next + row * step));
            *next += count * step;
        }
        numbers(&rows)
    }
}
