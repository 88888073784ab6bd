//! A model that reads: vision tower, language model and a projection of every token, for vectors.

use mlx_rs::ops::concatenate;
use mlx_rs::{Array, Dtype};

use super::attention::Turns;
use super::layers::{Linear, Result as Mlx};
use super::text::Decoder;
use super::vision::VisionTower;
use super::weights::Weights;
use super::worker::Kept;
use super::{Error, Piece, Tap, Unit};
use crate::checkpoint;
use crate::patch::Patches;
use crate::qwen::{self, Config, Place, Sight, Span, Text};

/// Told the name, the number and the values of what a model computes on its way.
pub(super) type Watch<'a> = &'a mut dyn FnMut(&'static str, usize, &Array) -> Mlx<()>;

/// A ColQwen on MLX.
pub struct Reader(Kept<Model>);

/// What lives on MLX's thread; fields carry the checkpoint's names.
struct Model {
    visual: VisionTower,
    language_model: Decoder,
    custom_text_proj: Linear,
    text: Text,
    dtype: Dtype,
}

impl Reader {
    /// Loads a model.
    ///
    /// # Errors
    /// When its weights cannot be read or do not fit into memory.
    pub fn open(weights: checkpoint::Weights, shape: &Config, unit: Unit) -> Result<Self, Error> {
        let shape = shape.clone();
        let load = move || {
            let weights = Weights::new(weights, unit);
            Ok(Model {
                visual: VisionTower::load(&weights, &shape)?,
                language_model: Decoder::load(&weights, &shape.text)?,
                custom_text_proj: weights.linear("custom_text_proj", true)?,
                dtype: weights.dtype(),
                text: shape.text,
            })
        };
        Kept::make(unit, load).map(Self)
    }

    /// The projections of all tokens of some sequences, one behind the other; not yet of length 1.
    ///
    /// # Errors
    /// [`Error::Memory`] apart from everything else: fewer sequences may fit.
    pub fn read(&mut self, sequences: Vec<Vec<Piece>>) -> Result<Vec<f32>, Error> {
        self.0
            .with(move |model| model.read(sequences, &mut |_, _, _| Ok(())))
    }

    /// What is computed on the way.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn inside(&mut self, sequences: Vec<Vec<Piece>>) -> Result<Vec<Tap>, Error> {
        self.0.with(move |model| {
            let mut taps = Vec::new();
            let mut keep = |name, number, values: &Array| {
                let width = values.shape().last().map_or(1, |&width| width as usize);
                taps.push(Tap {
                    name,
                    number,
                    width,
                    values: floats(values)?,
                });
                Ok(())
            };
            model.read(sequences, &mut keep)?;
            Ok(taps)
        })
    }
}

impl Model {
    fn read(&mut self, sequences: Vec<Vec<Piece>>, watch: Watch) -> Mlx<Vec<f32>> {
        let turn = Turn::new(sequences);
        let words = self.embed(&turn, watch)?;
        let angles = qwen::angles(&turn.places, &self.text);
        let turns = Turns::new(&angles, turn.places.len(), self.dtype)?;
        turns.show("lm.cos", "lm.sin", watch)?;
        let sight = Sight::of(turn.lengths, true);
        let read = self.language_model.forward(words, &turns, &sight, watch)?;
        let rows = self.custom_text_proj.forward(&read)?;
        watch("proj", 0, &rows)?;
        floats(&rows)
    }

    /// Words and pictures as rows, in order, (rows, width).
    fn embed(&mut self, turn: &Turn, watch: Watch) -> Mlx<Array> {
        let told = self.language_model.embed(&turn.tokens)?;
        if turn.pages.is_empty() {
            return Ok(told);
        }
        let seen = self.visual.forward(&turn.pages, watch)?;
        // One gather puts both in order: rows of text stand first, those of pictures behind them.
        let (mut text, mut picture) = (0, turn.tokens.len() as u32);
        let mut rows = Vec::with_capacity(turn.places.len());
        for span in &turn.spans {
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

/// Sequences, packed one behind the other.
#[derive(Default)]
struct Turn {
    spans: Vec<Span>,
    tokens: Vec<u32>,
    pages: Vec<Patches>,
    places: Vec<Place>,
    lengths: Vec<usize>,
}

impl Turn {
    fn new(sequences: Vec<Vec<Piece>>) -> Self {
        let mut turn = Self::default();
        for sequence in sequences {
            let start = turn.spans.len();
            for piece in sequence {
                match piece {
                    Piece::Text(tokens) => {
                        turn.spans.push(Span::Text(tokens.len()));
                        turn.tokens.extend(tokens);
                    }
                    Piece::Image(page) => {
                        turn.spans.push(Span::Image(page.grid));
                        turn.pages.push(page);
                    }
                }
            }
            let places = qwen::places(&turn.spans[start..]);
            turn.lengths.push(places.len());
            turn.places.extend(places);
        }
        turn
    }
}

/// The numbers of an array.
fn floats(values: &Array) -> Mlx<Vec<f32>> {
    let values = values.as_dtype(Dtype::Float32)?.flatten(None, None)?;
    values
        .contiguous()?
        .to_vec_exact()
        .map_err(|error| mlx_rs::error::Exception::custom(error.to_string()))
}
