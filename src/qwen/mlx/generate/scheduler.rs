//! Continuous batching: each tick on the MLX thread admits at most one queued request (prefill), then decodes one token for
//! every active sequence. Ticks share the thread's job queue with all other work for MLX.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlx_rs::memory as mlx;

use super::super::{GeneratorConfig, thread};
use super::active_batch::{ActiveBatch, QueuedRequest};

/// Admits requests and decodes the active batch.
pub(super) struct Scheduler {
    pub(super) config: GeneratorConfig,
    /// Bytes of the weights.
    pub(super) weights: u64,
    pub(super) queue: Mutex<RequestQueue>,
    /// Used on the MLX thread only.
    pub(super) batch: Mutex<ActiveBatch>,
}

/// Requests not yet admitted.
#[derive(Default)]
pub(super) struct RequestQueue {
    pub(super) pending: VecDeque<QueuedRequest>,
    /// Whether a tick is running or in the thread's queue.
    pub(super) scheduled: bool,
}

impl Scheduler {
    /// Sends a tick to the MLX thread; further ticks follow until all requests are finished.
    pub(super) fn schedule(self: &Arc<Self>) {
        let scheduler = Arc::clone(self);
        thread::spawn(move || {
            let reset = ResetOnPanic(&scheduler);
            let again = thread::with_device(scheduler.config.device, || scheduler.tick());
            std::mem::forget(reset);
            if again {
                scheduler.schedule();
            }
        });
    }

    /// Runs one tick; returns whether another one is needed.
    fn tick(&self) -> bool {
        let mut batch = lock(&self.batch);
        let mut outcome = batch.drop_cancelled();
        if let Some(request) = self.next_request(&batch) {
            let sender = request.sender.clone();
            if let Err(error) = batch.admit(&self.config, request) {
                batch.reject(&sender, error);
            }
        }
        outcome = outcome.and_then(|()| batch.decode(&self.config));
        if let Err(error) = outcome {
            batch.fail_all(&error);
        }
        let mut queue = lock(&self.queue);
        queue.scheduled = !(batch.sequences.is_empty() && queue.pending.is_empty());
        if !queue.scheduled {
            let _ = mlx::clear_cache();
        }
        queue.scheduled
    }

    /// Takes the first request that is not cancelled, if it fits into memory beside the active sequences.
    fn next_request(&self, batch: &ActiveBatch) -> Option<QueuedRequest> {
        let mut queue = lock(&self.queue);
        let not_cancelled = |request: &QueuedRequest| request.receiver_alive.strong_count() > 0;
        queue.pending.retain(not_cancelled);
        let first = queue.pending.front()?;
        let total = self.weights + batch.kv_cache_bytes() + first.memory.total();
        if total > self.config.memory_limit && !batch.sequences.is_empty() {
            return None;
        }
        queue.pending.pop_front()
    }
}

/// Drops all requests when a tick panics, so that their receivers disconnect instead of waiting.
struct ResetOnPanic<'s>(&'s Arc<Scheduler>);

impl Drop for ResetOnPanic<'_> {
    fn drop(&mut self) {
        *lock(&self.0.batch) = ActiveBatch::default();
        *lock(&self.0.queue) = RequestQueue::default();
    }
}

/// Locks a mutex, ignoring poison.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
