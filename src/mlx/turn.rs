//! What a model reads in one go: sequences of words and pictures, packed one behind the other.

use mlx_rs::Array;
use mlx_rs::ops::concatenate;

use super::Piece;
use super::layers::Result;
use super::reader::Watch;
use super::text::Decoder;
use super::vision::VisionTower;
use crate::patch::Patches;
use crate::qwen::{self, Place, Span};

/// Sequences, packed one behind the other.
#[derive(Default)]
pub(super) struct Turn {
    spans: Vec<Span>,
    tokens: Vec<u32>,
    pages: Vec<Patches>,
    /// Where each token stands in its sequence.
    pub(super) places: Vec<Place>,
    /// Tokens of each sequence.
    pub(super) lengths: Vec<usize>,
}

impl Turn {
    pub(super) fn new(sequences: Vec<Vec<Piece>>) -> Self {
        let mut turn = Self::default();
        for sequence in sequences {
            let start = turn.spans.len();
            for piece in sequence {
                turn.spans.push(piece.span());
                match piece {
                    Piece::Text(tokens) => turn.tokens.extend(tokens),
                    Piece::Image(page) => turn.pages.push(page),
                }
            }
            let places = qwen::places(&turn.spans[start..]);
            turn.lengths.push(places.len());
            turn.places.extend(places);
        }
        turn
    }

    /// Words and pictures as rows, in order, (rows, width).
    pub(super) fn embed(
        &self,
        visual: &mut VisionTower,
        words: &Decoder,
        watch: Watch,
    ) -> Result<Array> {
        let told = words.embed(&self.tokens)?;
        if self.pages.is_empty() {
            return Ok(told);
        }
        let seen = visual.forward(&self.pages, watch)?;
        // One gather puts both in order: rows of text stand first, those of pictures behind them.
        let (mut text, mut picture) = (0, self.tokens.len() as u32);
        let mut rows = Vec::with_capacity(self.places.len());
        for span in &self.spans {
            let (next, count) = match span {
                Span::Text(count) => (&mut text, *count as u32),
                Span::Image(grid) => (&mut picture, grid.tokens() as u32),
            };
            rows.extend(*next..*next + count);
            *next += count;
        }
        let rows = Array::from_slice(&rows, &[rows.len() as i32]);
        concatenate(&[told, seen], 0)?.take_axis(rows, 0)
    }
}
