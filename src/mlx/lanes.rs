//! Answers under way, on MLX's thread: each step reads one more token of all of them.

use std::sync::Weak;
use std::sync::mpsc::Sender;

use mlx_rs::memory as mlx;

use super::cache::Cache;
use super::hall::Asked;
use super::reader::tap;
use super::speaker::{Draw, Model, STRETCH, choose};
use super::worker::failed;
use super::{Error, Piece, Recipe, Said, Tap};

/// The model and the answers under way.
#[derive(Default)]
pub(super) struct Floor {
    pub(super) model: Option<Model>,
    pub(super) lanes: Vec<Lane>,
}

/// An answer under way.
pub(super) struct Lane {
    cache: Cache,
    /// Bytes of its keys and values in the end.
    kept: u64,
    /// The token to be read next, and where it stands.
    token: u32,
    place: i32,
    draw: Draw,
    left: usize,
    pub(super) tell: Sender<Result<Said, Error>>,
    pub(super) wanted: Weak<()>,
}

impl Floor {
    /// Bytes that the answers under way will have taken in the end.
    pub(super) fn kept(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.kept).sum()
    }

    /// Reads a question and says the first token of its answer.
    pub(super) fn take_in(&mut self, recipe: &Recipe, asked: Asked) -> Result<(), Error> {
        let model = load(&mut self.model, recipe)?;
        let mut draw = Draw {
            temperature: asked.question.temperature,
            number: 0,
        };
        let still = &mut |_: &_| Ok(asked.wanted.strong_count() > 0);
        let begin = || {
            let unseen = &mut |_: &'static str, _: usize, _: &_| Ok(());
            let pieces = asked.question.pieces;
            let Some(reading) = model.read(pieces, STRETCH, unseen, still)? else {
                return Ok(None);
            };
            let token = choose(&model.scores(&reading.last)?, &[draw])?[0];
            Ok(Some((reading, token)))
        };
        let Some((reading, token)) = begin().map_err(failed)? else {
            return Ok(());
        };
        draw.number = 1;
        let mut lane = Lane {
            cache: reading.cache,
            kept: asked.need.kept,
            token,
            place: reading.place,
            draw,
            left: asked.question.max_tokens,
            tell: asked.tell,
            wanted: asked.wanted,
        };
        if lane.say(token, &recipe.stop) {
            self.lanes.push(lane);
        }
        let _ = mlx::clear_cache();
        Ok(())
    }

    /// One more token of every answer.
    pub(super) fn step(&mut self, recipe: &Recipe) -> Result<(), Error> {
        if self.lanes.is_empty() {
            return Ok(());
        }
        let model = load(&mut self.model, recipe)?;
        let tokens: Vec<u32> = self.lanes.iter().map(|lane| lane.token).collect();
        let places: Vec<i32> = self.lanes.iter().map(|lane| lane.place).collect();
        let draws: Vec<Draw> = self.lanes.iter().map(|lane| lane.draw).collect();
        let mut caches: Vec<&mut Cache> =
            self.lanes.iter_mut().map(|lane| &mut lane.cache).collect();
        let mut next = || {
            let rows = model.step(&tokens, &places, &mut caches)?;
            choose(&model.scores(&rows)?, &draws)
        };
        let mut taken = next().map_err(failed)?.into_iter();
        self.lanes.retain_mut(|lane| {
            lane.place += 1;
            lane.draw.number += 1;
            taken
                .next()
                .is_some_and(|token| lane.say(token, &recipe.stop))
        });
        Ok(())
    }

    /// See [`Speaker::inside`].
    pub(super) fn inside(
        &mut self,
        recipe: &Recipe,
        pieces: Vec<Piece>,
        answer: &[u32],
        stretch: usize,
    ) -> Result<Vec<Tap>, Error> {
        let model = load(&mut self.model, recipe)?;
        let mut read = Vec::new();
        let compute = || {
            let keep = &mut |rows: &_| {
                read.push(mlx_rs::Array::clone(rows));
                Ok(true)
            };
            let mut taps = Vec::new();
            let watch = &mut |name, number, values: &_| {
                taps.push(tap(name, number, values)?);
                Ok(())
            };
            let Some(mut reading) = model.read(pieces, stretch, watch, keep)? else {
                return Ok(Vec::new());
            };
            let rows = mlx_rs::ops::concatenate(&read, 0)?;
            taps.push(tap("lm.scores", 0, &model.scores(&rows)?)?);
            for (number, (place, &token)) in (reading.place..).zip(answer).enumerate() {
                let row = model.step(&[token], &[place], &mut [&mut reading.cache])?;
                taps.push(tap("lm.scores", number + 1, &model.scores(&row)?)?);
            }
            Ok(taps)
        };
        compute().map_err(failed)
    }
}

impl Lane {
    /// Says a token; returns whether more is to come.
    fn say(&mut self, token: u32, stop: &[u32]) -> bool {
        let tell = |said| self.tell.send(Ok(said)).is_ok();
        if stop.contains(&token) {
            tell(Said::End { truncated: false });
            return false;
        }
        self.token = token;
        self.left -= 1;
        let heard = tell(Said::Token(token));
        if self.left == 0 {
            tell(Said::End { truncated: true });
        }
        heard && self.left > 0
    }
}

/// The model, loaded where it is not there.
fn load<'m>(model: &'m mut Option<Model>, recipe: &Recipe) -> Result<&'m mut Model, Error> {
    match model {
        Some(model) => Ok(model),
        none => Ok(none.insert(Model::load(recipe)?)),
    }
}
