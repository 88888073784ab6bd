//! Groups pages into writes of about `target_bytes`, sends up to `concurrency` of them in parallel, and never holds a
//! page longer than `linger`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::store::BatchPolicy;

use super::joined;

/// Maximum number of pages in a batch.
const MAX_PAGES: usize = 256;

/// Writes everything received on `input` until it is disconnected. The first error ends it and closes `input`, so that
/// its senders fail too.
pub(super) fn write_batched<T: Send, E: Send>(
    policy: BatchPolicy,
    input: Receiver<Vec<T>>,
    size: impl Fn(&T) -> usize,
    send: impl Fn(Vec<T>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        let (batch_sender, batches) = sync_channel::<Vec<T>>(0);
        // Only the workers hold the receiver: when the last of them ends, the channel is closed.
        let batches = Arc::new(Mutex::new(batches));
        let spawn_worker = || {
            let (batches, send, failed) = (Arc::clone(&batches), &send, &failed);
            scope.spawn(move || {
                let result = send_batches(&batches, send);
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                result
            })
        };
        let workers: Vec<_> = (0..policy.concurrency.max(1))
            .map(|_| spawn_worker())
            .collect();
        drop(batches);
        group(policy, input, size, |batch| {
            !failed.load(Ordering::Relaxed) && batch_sender.send(batch).is_ok()
        });
        drop(batch_sender);
        workers.into_iter().map(joined).fold(Ok(()), Result::and)
    })
}

/// A worker: sends one batch after another until the channel is closed.
fn send_batches<T, E>(
    batches: &Mutex<Receiver<Vec<T>>>,
    send: &impl Fn(Vec<T>) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        let batch = batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        match batch {
            Ok(batch) => send(batch)?,
            Err(_) => return Ok(()),
        }
    }
}

/// Groups received items into batches until `input` is disconnected or `emit` returns `false`. Owns `input`, which is
/// thus closed on return.
fn group<T>(
    policy: BatchPolicy,
    input: Receiver<Vec<T>>,
    size: impl Fn(&T) -> usize,
    emit: impl Fn(Vec<T>) -> bool,
) {
    let mut pending: Vec<T> = Vec::new();
    let (mut bytes, mut oldest) = (0, Instant::now());
    loop {
        let timeout = match pending.is_empty() {
            true => Duration::MAX,
            false => policy.linger.saturating_sub(oldest.elapsed()),
        };
        match input.recv_timeout(timeout) {
            Ok(items) => {
                if pending.is_empty() {
                    oldest = Instant::now();
                }
                bytes += items.iter().map(&size).sum::<usize>();
                pending.extend(items);
                if bytes < policy.target_bytes && pending.len() < MAX_PAGES {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                if !pending.is_empty() {
                    emit(pending);
                }
                return;
            }
        }
        if !pending.is_empty() && !emit(std::mem::take(&mut pending)) {
            return;
        }
        bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::SyncSender;

    use super::*;

    fn batch_policy(target_bytes: usize, linger: Duration, concurrency: usize) -> BatchPolicy {
        BatchPolicy {
            target_bytes,
            linger,
            concurrency,
        }
    }

    /// Writes numbers that are their own size; returns the batches sent.
    fn calls(
        policy: BatchPolicy,
        feed: impl FnOnce(SyncSender<Vec<usize>>) + Send,
    ) -> Vec<Vec<usize>> {
        let (out, input) = sync_channel(0);
        let calls = Mutex::new(Vec::new());
        thread::scope(|scope| {
            scope.spawn(|| feed(out));
            let send = |batch| {
                calls.lock().unwrap().push(batch);
                Ok::<(), ()>(())
            };
            write_batched(policy, input, |&n| n, send).unwrap();
        });
        calls.into_inner().unwrap()
    }

    #[test]
    fn batches_are_merged_up_to_target_bytes() {
        let long = Duration::from_secs(60);
        let calls = calls(batch_policy(10, long, 1), |out| {
            for batch in [vec![3, 3], vec![3], vec![3], vec![12], vec![1]] {
                out.send(batch).unwrap();
            }
        });
        assert_eq!(calls, [vec![3, 3, 3, 3], vec![12], vec![1]]);
    }

    #[test]
    fn partial_batches_are_sent_after_linger() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (out, input) = sync_channel(0);
        thread::scope(|scope| {
            let send = |batch: Vec<usize>| sender.send(batch).map_err(drop);
            let writer = scope.spawn(move || {
                write_batched(
                    batch_policy(10, Duration::from_millis(50), 2),
                    input,
                    |&n| n,
                    send,
                )
            });
            out.send(vec![1]).unwrap();
            assert_eq!(receiver.recv_timeout(Duration::from_secs(20)), Ok(vec![1]));
            drop(out);
            writer.join().unwrap().unwrap();
        });
    }

    #[test]
    fn send_error_closes_the_input_channel() {
        let (out, input) = sync_channel(0);
        thread::scope(|scope| {
            let feeder =
                scope.spawn(move || (0..1_000).take_while(|_| out.send(vec![9]).is_ok()).count());
            // One of many calls fails; the other workers must end soon.
            let calls = AtomicUsize::new(0);
            let send = |_| match calls.fetch_add(1, Ordering::Relaxed) {
                4 => Err("full"),
                _ => Ok(()),
            };
            let result = write_batched(batch_policy(1, Duration::ZERO, 3), input, |&n| n, send);
            assert_eq!(result, Err("full"));
            assert!(feeder.join().unwrap() < 20);
        });
    }
}
