//! Feeds a store as it likes to be fed: calls of a good size, several at once, nothing held back for long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::store::BatchPolicy;

use super::joined;

/// Pages that one call carries at most.
const MOST: usize = 256;

/// Sends what comes until nothing more does; the first failure ends it, and whoever sends to `input` finds nobody there.
pub(super) fn write_batched<T: Send, E: Send>(
    policy: BatchPolicy,
    input: Receiver<Vec<T>>,
    size: impl Fn(&T) -> usize,
    send: impl Fn(Vec<T>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        let (out, next) = sync_channel::<Vec<T>>(0);
        // The lanes alone hold the end of the channel: with the last of them gone, `out` is closed.
        let next = Arc::new(Mutex::new(next));
        let lane = || {
            let (next, send, failed) = (Arc::clone(&next), &send, &failed);
            scope.spawn(move || {
                let result = work(&next, send);
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                result
            })
        };
        let lanes: Vec<_> = (0..policy.concurrency.max(1)).map(|_| lane()).collect();
        drop(next);
        gather(policy, input, size, |batch| {
            !failed.load(Ordering::Relaxed) && out.send(batch).is_ok()
        });
        drop(out);
        lanes.into_iter().map(joined).fold(Ok(()), Result::and)
    })
}

/// One lane: sends batch after batch.
fn work<T, E>(
    next: &Mutex<Receiver<Vec<T>>>,
    send: &impl Fn(Vec<T>) -> Result<(), E>,
) -> Result<(), E> {
    loop {
        let batch = next.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match batch {
            Ok(batch) => send(batch)?,
            Err(_) => return Ok(()),
        }
    }
}

/// Puts what comes together into batches, until `out` says that nobody takes them. Takes `input` for itself, so that it
/// closes then.
fn gather<T>(
    policy: BatchPolicy,
    input: Receiver<Vec<T>>,
    size: impl Fn(&T) -> usize,
    out: impl Fn(Vec<T>) -> bool,
) {
    let mut held: Vec<T> = Vec::new();
    let (mut bytes, mut since) = (0, Instant::now());
    loop {
        let left = match held.is_empty() {
            true => Duration::MAX,
            false => policy.linger.saturating_sub(since.elapsed()),
        };
        match input.recv_timeout(left) {
            Ok(more) => {
                if held.is_empty() {
                    since = Instant::now();
                }
                bytes += more.iter().map(&size).sum::<usize>();
                held.extend(more);
                if bytes < policy.target_bytes && held.len() < MOST {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                if !held.is_empty() {
                    out(held);
                }
                return;
            }
        }
        if !held.is_empty() && !out(std::mem::take(&mut held)) {
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

    /// Ships numbers that are their own size; returns the calls.
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
    fn batches_are_joined_until_they_are_large_enough() {
        let long = Duration::from_secs(60);
        let calls = calls(batch_policy(10, long, 1), |out| {
            for batch in [vec![3, 3], vec![3], vec![3], vec![12], vec![1]] {
                out.send(batch).unwrap();
            }
        });
        assert_eq!(calls, [vec![3, 3, 3, 3], vec![12], vec![1]]);
    }

    #[test]
    fn nothing_is_held_back_for_long() {
        let (sent, seen) = std::sync::mpsc::channel();
        let (out, input) = sync_channel(0);
        thread::scope(|scope| {
            let send = |batch: Vec<usize>| sent.send(batch).map_err(drop);
            let shipping = scope.spawn(move || {
                write_batched(
                    batch_policy(10, Duration::from_millis(50), 2),
                    input,
                    |&n| n,
                    send,
                )
            });
            out.send(vec![1]).unwrap();
            assert_eq!(seen.recv_timeout(Duration::from_secs(20)), Ok(vec![1]));
            drop(out);
            shipping.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_failure_closes_the_way() {
        let (out, input) = sync_channel(0);
        thread::scope(|scope| {
            let feeder =
                scope.spawn(move || (0..1_000).take_while(|_| out.send(vec![9]).is_ok()).count());
            // One call of many fails; the other lanes must not go on for long.
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
