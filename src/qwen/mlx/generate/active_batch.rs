//! Answers under way, on MLX's thread: each step reads one more token of all of them.

use std::sync::Weak;
use std::sync::mpsc::Sender;

use mlx_rs::ops::concatenate;
use mlx_rs::transforms::async_eval;
use mlx_rs::{Array, memory as mlx};

use super::super::hooks::tap;
use super::super::kv_cache::Cache;
use super::super::thread::failed;
use super::super::{
    Activation, Error, FinishReason, GenerationRequest, GeneratorConfig, Segment, TokenEvent,
};
use super::memory::Need;
use super::model::{Model, STRETCH};
use super::sampling::{Draw, choose, tokens};

/// A question that was asked.
pub(super) struct Asked {
    pub(super) question: GenerationRequest,
    pub(super) need: Need,
    pub(super) tell: Sender<Result<TokenEvent, Error>>,
    pub(super) wanted: Weak<()>,
}

/// The model and the answers under way.
#[derive(Default)]
pub(super) struct Floor {
    pub(super) model: Option<Model>,
    pub(super) lanes: Vec<Lane>,
    /// The next token of each answer, (lanes): maybe still being computed.
    ahead: Option<Array>,
}

/// An answer under way.
pub(super) struct Lane {
    cache: Cache,
    /// Bytes of its keys and values in the end.
    kept: u64,
    /// Where its next token stands.
    place: i32,
    draw: Draw,
    left: usize,
    tell: Sender<Result<TokenEvent, Error>>,
    wanted: Weak<()>,
}

impl Floor {
    /// Bytes that the answers under way will have taken in the end.
    pub(super) fn kept(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.kept).sum()
    }

    /// Reads a question.
    pub(super) fn take_in(&mut self, config: &GeneratorConfig, asked: Asked) -> Result<(), Error> {
        let model = load(&mut self.model, config)?;
        let (temperature, seed) = (asked.question.temperature, asked.question.seed);
        let draw = |number| Draw {
            temperature,
            seed: seed.wrapping_add(number),
        };
        let still = &mut |_: &_| Ok(asked.wanted.strong_count() > 0);
        let begin = || {
            let unseen = &mut |_: &'static str, _: usize, _: &_| Ok(());
            let segments = asked.question.segments;
            let Some(reading) = model.read(segments, STRETCH, unseen, still)? else {
                return Ok(None);
            };
            let token = choose(&model.scores(&reading.last)?, &[draw(0)])?;
            let ahead = match &self.ahead {
                None => token,
                Some(others) => concatenate(&[others, &token], 0)?,
            };
            ahead.eval()?;
            Ok(Some((reading, ahead)))
        };
        let Some((reading, ahead)) = begin().map_err(failed)? else {
            return Ok(());
        };
        self.ahead = Some(ahead);
        self.lanes.push(Lane {
            cache: reading.cache,
            kept: asked.need.kept,
            place: reading.place,
            draw: draw(1),
            left: asked.question.max_tokens,
            tell: asked.tell,
            wanted: asked.wanted,
        });
        let _ = mlx::clear_cache();
        Ok(())
    }

    /// Says the next token of every answer. The one behind it is begun before: while it is computed, this one is told.
    pub(super) fn step(&mut self, config: &GeneratorConfig) -> Result<(), Error> {
        let Some(now) = self.ahead.take() else {
            return Ok(());
        };
        let model = load(&mut self.model, config)?;
        let position_ids: Vec<i32> = self.lanes.iter().map(|lane| lane.place).collect();
        let draws: Vec<Draw> = self.lanes.iter().map(|lane| lane.draw).collect();
        let goes_on = self.lanes.iter().any(|lane| lane.left > 1);
        let mut caches: Vec<&mut Cache> =
            self.lanes.iter_mut().map(|lane| &mut lane.cache).collect();
        let mut begin = || {
            let rows = model.step(&now, &position_ids, &mut caches)?;
            let next = choose(&model.scores(&rows)?, &draws)?;
            async_eval([&next])?;
            Ok(next)
        };
        let next = goes_on.then(&mut begin).transpose().map_err(failed)?;
        let taken = tokens(&now).map_err(failed)?;
        self.ahead = next;
        self.keep(|row, lane| {
            lane.place += 1;
            lane.draw.seed = lane.draw.seed.wrapping_add(1);
            lane.say(taken[row], &config.stop_tokens)
        })
    }

    /// Lets answers go that nobody waits for.
    pub(super) fn let_go(&mut self) -> Result<(), Error> {
        self.keep(|_, lane| lane.wanted.strong_count() > 0)
    }

    /// Tells all who wait that it failed.
    pub(super) fn give_up(&mut self, error: &Error) {
        self.ahead = None;
        for lane in self.lanes.drain(..) {
            // Who is gone does not care.
            let _ = lane.tell.send(Err(match error {
                Error::Memory(why) => Error::Memory(why.clone()),
                other => Error::Failed(other.to_string()),
            }));
        }
    }

    fn keep(&mut self, mut stays: impl FnMut(usize, &mut Lane) -> bool) -> Result<(), Error> {
        let (mut row, mut rows) = (0, Vec::new());
        self.lanes.retain_mut(|lane| {
            let stay = stays(row, lane);
            if stay {
                rows.push(row as u32);
            }
            row += 1;
            stay
        });
        self.ahead = match self.ahead.take() {
            Some(_) if rows.is_empty() => None,
            Some(ahead) if rows.len() < row => {
                let rows = Array::from_slice(&rows, &[rows.len() as i32]);
                Some(ahead.take_axis(rows, 0).map_err(failed)?)
            }
            whole => whole,
        };
        Ok(())
    }

    /// See [`Generator::activations`].
    pub(super) fn activations(
        &mut self,
        config: &GeneratorConfig,
        segments: Vec<Segment>,
        answer: &[u32],
        stretch: usize,
    ) -> Result<Vec<Activation>, Error> {
        let model = load(&mut self.model, config)?;
        let mut read = Vec::new();
        let compute = || {
            let keep = &mut |rows: &_| {
                read.push(Array::clone(rows));
                Ok(true)
            };
            let mut taps = Vec::new();
            let hook = &mut |name, number, values: &_| {
                taps.push(tap(name, number, values)?);
                Ok(())
            };
            let Some(mut reading) = model.read(segments, stretch, hook, keep)? else {
                return Ok(Vec::new());
            };
            let rows = concatenate(&read, 0)?;
            taps.push(tap("lm.scores", 0, &model.scores(&rows)?)?);
            for (number, (place, &token)) in (reading.place..).zip(answer).enumerate() {
                let token = Array::from_slice(&[token], &[1]);
                let row = model.step(&token, &[place], &mut [&mut reading.cache])?;
                taps.push(tap("lm.scores", number + 1, &model.scores(&row)?)?);
            }
            Ok(taps)
        };
        compute().map_err(failed)
    }
}

impl Lane {
    /// Says a token; returns whether more is to come.
    fn say(&mut self, token: u32, stop_tokens: &[u32]) -> bool {
        let tell = |said| self.tell.send(Ok(said)).is_ok();
        if stop_tokens.contains(&token) {
            tell(TokenEvent::Finished(FinishReason::Stop));
            return false;
        }
        self.left -= 1;
        let heard = tell(TokenEvent::Token(token));
        if self.left == 0 {
            tell(TokenEvent::Finished(FinishReason::Length));
        }
        heard && self.left > 0
    }
}

/// The model, loaded where it is not there.
fn load<'m>(
    model: &'m mut Option<Model>,
    config: &GeneratorConfig,
) -> Result<&'m mut Model, Error> {
    match model {
        Some(model) => Ok(model),
        none => Ok(none.insert(Model::load(config)?)),
    }
}
