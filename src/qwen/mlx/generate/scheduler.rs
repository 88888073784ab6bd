//! Questions answered side by side: each turn of MLX's thread takes in one question that waits, and reads one more token
//! of every answer under way. Turns queue up with everything else that the thread is asked to do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlx_rs::memory as mlx;

use super::super::{GeneratorConfig, thread};
use super::active_batch::{Asked, Floor};

pub(super) struct Hall {
    pub(super) config: GeneratorConfig,
    /// Bytes of the model.
    pub(super) weights: u64,
    pub(super) door: Mutex<Door>,
    /// Used on MLX's thread only.
    pub(super) floor: Mutex<Floor>,
}

/// What waits to be taken in.
#[derive(Default)]
pub(super) struct Door {
    pub(super) waiting: VecDeque<Asked>,
    /// Whether a turn is under way or queued.
    pub(super) turning: bool,
}

impl Hall {
    /// Queues a turn.
    pub(super) fn queue(self: &Arc<Self>) {
        let hall = Arc::clone(self);
        thread::post(move || {
            let clean = Clean(&hall);
            let goes_on = thread::on(hall.config.device, || hall.turn());
            std::mem::forget(clean);
            if goes_on {
                hall.queue();
            }
        });
    }

    /// One turn; returns whether another one is due.
    fn turn(self: &Arc<Self>) -> bool {
        let mut floor = lock(&self.floor);
        let mut done = floor.let_go();
        if let Some(asked) = self.next(&floor) {
            let tell = asked.tell.clone();
            if let Err(error) = floor.take_in(&self.config, asked) {
                // A GPU may have failed in what was under way and tell of it only now.
                floor.give_up(&error);
                let _ = tell.send(Err(error));
            }
        }
        done = done.and_then(|()| floor.step(&self.config));
        if let Err(error) = done {
            floor.give_up(&error);
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
        let own = first.need.kept + first.need.reading;
        let full = self.weights + floor.kept() + own > self.config.memory;
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
