//! Questions answered side by side: each turn of MLX's thread takes in one question that waits, and reads one more token
//! of every answer under way. Turns queue up with everything else that the thread is asked to do.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use mlx_rs::memory as mlx;

use super::cache::Cache;
use super::reader::tap;
use super::speaker::{Draw, Model, STRETCH, choose};
use super::worker::{self, failed};
use super::{Error, Piece, Question, Recipe, Said, Tap};
use crate::qwen;

/// Bytes that MLX may keep for arrays to come: a part of what it may take, and never more than this.
const SPARE: u64 = 2 << 30;

/// A model that answers questions, several at once. It is loaded when it is first asked.
pub struct Speaker(Arc<Hall>);

/// An answer as it comes; dropping it ends it.
pub struct Answer {
    said: Receiver<Result<Said, Error>>,
    /// Tokens of the question, pictures included.
    pub prompt: usize,
    _wanted: Arc<()>,
}

struct Hall {
    recipe: Recipe,
    door: Mutex<Door>,
    /// Used on MLX's thread only.
    floor: Mutex<Floor>,
}

/// What waits to be taken in.
#[derive(Default)]
struct Door {
    waiting: VecDeque<Asked>,
    /// Whether a turn is under way or queued.
    turning: bool,
}

struct Asked {
    question: Question,
    tokens: usize,
    tell: Sender<Result<Said, Error>>,
    wanted: Weak<()>,
}

#[derive(Default)]
struct Floor {
    model: Option<Model>,
    lanes: Vec<Lane>,
}

/// An answer under way.
struct Lane {
    cache: Cache,
    /// The token to be read next, and where it stands.
    token: u32,
    place: i32,
    draw: Draw,
    left: usize,
    tell: Sender<Result<Said, Error>>,
    wanted: Weak<()>,
}

impl Speaker {
    /// A model that is loaded when it is first asked.
    ///
    /// # Errors
    /// When its weights do not fit into the memory that it may take.
    pub fn open(recipe: Recipe) -> Result<Self, Error> {
        let (need, limit) = (
            (recipe.weights)()?.bytes(recipe.unit.bytes()),
            recipe.memory,
        );
        if need > limit {
            return Err(over(need, 0, limit));
        }
        worker::run(move || {
            mlx::set_memory_limit(limit as usize)?;
            mlx::set_cache_limit((limit / 8).min(SPARE) as usize)
        })?
        .map_err(failed)?;
        Ok(Self(Arc::new(Hall {
            recipe,
            door: Mutex::default(),
            floor: Mutex::default(),
        })))
    }

    /// Asks.
    ///
    /// # Errors
    /// When the question is longer than the model reads, or could never fit into memory.
    pub fn ask(&self, mut question: Question) -> Result<Answer, Error> {
        let recipe = &self.0.recipe;
        let spans: Vec<_> = question.pieces.iter().map(Piece::span).collect();
        let (tokens, context) = (qwen::places(&spans).len(), recipe.context);
        if tokens >= context {
            return Err(Error::Long { tokens, context });
        }
        question.max_tokens = question.max_tokens.clamp(1, context - tokens);
        let need = self.0.need(&question, tokens);
        let weights = (recipe.weights)()?.bytes(recipe.unit.bytes());
        if weights + need > recipe.memory {
            return Err(over(need, weights, recipe.memory));
        }
        let ((tell, said), wanted) = (channel(), Arc::new(()));
        let mut door = lock(&self.0.door);
        door.waiting.push_back(Asked {
            question,
            tokens,
            tell,
            wanted: Arc::downgrade(&wanted),
        });
        if !std::mem::replace(&mut door.turning, true) {
            self.0.queue();
        }
        Ok(Answer {
            said,
            prompt: tokens,
            _wanted: wanted,
        })
    }

    /// Frees the memory that the model takes; the next question loads it again.
    ///
    /// # Errors
    /// When MLX fails.
    pub fn unload(&self) -> Result<(), Error> {
        let hall = Arc::clone(&self.0);
        worker::run(move || {
            lock(&hall.floor).model = None;
            mlx::clear_cache()
        })?
        .map_err(failed)
    }

    /// The scores of all words behind each token of a question that is read `stretch` tokens at a time, and behind each
    /// token of an answer that is given.
    ///
    /// # Errors
    /// When MLX fails.
    pub fn inside(
        &self,
        pieces: Vec<Piece>,
        answer: Vec<u32>,
        stretch: usize,
    ) -> Result<Vec<Tap>, Error> {
        let hall = Arc::clone(&self.0);
        worker::run(move || {
            let unit = hall.recipe.unit;
            worker::on(unit, || {
                lock(&hall.floor).inside(&hall.recipe, pieces, &answer, stretch)
            })
        })?
    }
}

impl Answer {
    /// What comes next, if it comes in time.
    ///
    /// # Errors
    /// None when the time is over; else what went wrong.
    pub fn next_by(&self, end: Instant) -> Result<Said, Option<Error>> {
        match self
            .said
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            Ok(said) => said.map_err(Some),
            Err(RecvTimeoutError::Timeout) => Err(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Some(Error::Failed("its thread panicked".to_owned())))
            }
        }
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        let _ = self.unload();
    }
}

impl Hall {
    /// Bytes that a question takes beside the model.
    fn need(&self, question: &Question, tokens: usize) -> u64 {
        let tokens = tokens + question.max_tokens;
        Cache::bytes(&self.recipe.shape.text, tokens, self.recipe.unit.bytes())
    }

    /// Queues a turn.
    fn queue(self: &Arc<Self>) {
        let hall = Arc::clone(self);
        worker::post(move || {
            let clean = Clean(&hall);
            let goes_on = worker::on(hall.recipe.unit, || hall.turn());
            std::mem::forget(clean);
            if goes_on {
                hall.queue();
            }
        });
    }

    /// One turn; returns whether another one is due.
    fn turn(self: &Arc<Self>) -> bool {
        let mut floor = lock(&self.floor);
        floor.lanes.retain(|lane| lane.wanted.strong_count() > 0);
        if let Some(asked) = self.next(&floor) {
            let tell = asked.tell.clone();
            if let Err(error) = floor.take_in(&self.recipe, asked) {
                let _ = tell.send(Err(error));
            }
        }
        if let Err(error) = floor.step(&self.recipe) {
            for lane in floor.lanes.drain(..) {
                let _ = lane.tell.send(Err(match &error {
                    Error::Memory(why) => Error::Memory(why.clone()),
                    other => Error::Failed(other.to_string()),
                }));
            }
        }
        let mut door = lock(&self.door);
        door.turning = !(floor.lanes.is_empty() && door.waiting.is_empty());
        if !door.turning {
            let _ = mlx::clear_cache();
        }
        door.turning
    }

    /// The next question that somebody still waits for and that fits beside those under way.
    fn next(&self, floor: &Floor) -> Option<Asked> {
        let mut door = lock(&self.door);
        door.waiting.retain(|asked| asked.wanted.strong_count() > 0);
        let first = door.waiting.front()?;
        let need = self.need(&first.question, first.tokens);
        let full = worker::memory().active + need > self.recipe.memory;
        if full && !floor.lanes.is_empty() {
            return None;
        }
        door.waiting.pop_front()
    }
}

/// Leaves nobody waiting where a turn panics.
struct Clean<'h>(&'h Arc<Hall>);

impl Drop for Clean<'_> {
    fn drop(&mut self) {
        *lock(&self.0.floor) = Floor::default();
        *lock(&self.0.door) = Door::default();
    }
}

impl Floor {
    /// Reads a question and says the first token of its answer.
    fn take_in(&mut self, recipe: &Recipe, asked: Asked) -> Result<(), Error> {
        let model = load(&mut self.model, recipe)?;
        let mut draw = Draw {
            temperature: asked.question.temperature,
            number: 0,
        };
        let still = &mut |_: &_| Ok(asked.wanted.strong_count() > 0);
        let begin = || {
            let Some(reading) = model.read(asked.question.pieces, STRETCH, still)? else {
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
    fn step(&mut self, recipe: &Recipe) -> Result<(), Error> {
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
    fn inside(
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
            let Some(mut reading) = model.read(pieces, stretch, keep)? else {
                return Ok(Vec::new());
            };
            let rows = mlx_rs::ops::concatenate(&read, 0)?;
            let mut taps = vec![tap("lm.scores", 0, &model.scores(&rows)?)?];
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

fn over(need: u64, taken: u64, limit: u64) -> Error {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let beside = match taken {
        0 => String::new(),
        taken => format!(" beside {} MiB of weights", mib(taken)),
    };
    Error::Memory(format!(
        "{} MiB are needed{beside}, {} MiB are allowed",
        mib(need),
        mib(limit)
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
