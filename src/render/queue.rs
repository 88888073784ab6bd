//! Reorder queue for the pages of one file: issued in order to several workers, returned in order, with at most `window`
//! pages in flight.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Rendered;
use crate::page::PageError;

type Outcome = Result<Rendered, PageError>;

/// A page issued to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    index: usize,
    /// The page, from 1.
    pub(super) number: u32,
}

/// Pages to render, in progress, and finished.
pub(super) struct Queue {
    numbers: Vec<u32>,
    window: usize,
    state: Mutex<State>,
    /// Signalled when a page is finished, or a dispatcher has ended.
    done: Condvar,
    /// Signalled when a page was returned to the caller, or the queue was stopped.
    space: Condvar,
}

#[derive(Default)]
struct State {
    issued: usize,
    delivered: usize,
    finished: BTreeMap<usize, Outcome>,
    active: usize,
    stopped: bool,
}

impl Queue {
    /// Creates a queue of pages for `workers` dispatchers, with at most `window` pages in flight.
    pub(super) fn new(numbers: Vec<u32>, window: usize, workers: usize) -> Self {
        let state = State {
            active: workers,
            ..State::default()
        };
        Self {
            numbers,
            window,
            state: Mutex::new(state),
            done: Condvar::new(),
            space: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next page to render; waits until the window has room. `None` when none is left.
    pub(super) fn take(&self) -> Option<Ticket> {
        let full = |state: &mut State| {
            !state.stopped
                && state.issued < self.numbers.len()
                && state.issued >= state.delivered + self.window
        };
        let state = self.space.wait_while(self.lock(), full);
        self.issue(&mut state.unwrap_or_else(PoisonError::into_inner))
    }

    /// The next page to render, if the window has room now.
    pub(super) fn try_take(&self) -> Option<Ticket> {
        self.issue(&mut self.lock())
    }

    fn issue(&self, state: &mut State) -> Option<Ticket> {
        if state.stopped || state.issued >= state.delivered + self.window {
            return None;
        }
        let index = state.issued;
        let number = *self.numbers.get(index)?;
        state.issued += 1;
        Some(Ticket { index, number })
    }

    /// Stores the outcome of a page.
    pub(super) fn complete(&self, ticket: Ticket, outcome: Outcome) {
        self.lock().finished.insert(ticket.index, outcome);
        self.done.notify_all();
    }

    /// The next page in order; waits for it. `None` after the last.
    pub(super) fn next_outcome(&self) -> Option<(u32, Outcome)> {
        let mut state = self.lock();
        let index = state.delivered;
        let number = *self.numbers.get(index)?;
        let pending = |state: &mut State| !state.finished.contains_key(&index) && state.active > 0;
        state = self
            .done
            .wait_while(state, pending)
            .unwrap_or_else(PoisonError::into_inner);
        let no_worker = || {
            Err(PageError::WorkerDied(
                "no other worker can be started".into(),
            ))
        };
        let outcome = state.finished.remove(&index).unwrap_or_else(no_worker);
        state.delivered += 1;
        self.space.notify_all();
        Some((number, outcome))
    }

    /// Stops the queue: no more pages are issued.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.space.notify_all();
    }

    /// Whether the queue was stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// A guard that each dispatcher holds while it runs, so that the caller does not wait for one that has ended.
    pub(super) fn leave_on_drop(&self) -> LeaveOnDrop<'_> {
        LeaveOnDrop(self)
    }
}

/// Counts a dispatcher out on drop.
pub(super) struct LeaveOnDrop<'a>(&'a Queue);

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lock().active -= 1;
        self.0.done.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(n: u32) -> Outcome {
        Err(PageError::Render(n.to_string()))
    }

    #[test]
    fn pages_come_in_order_and_the_window_is_not_exceeded() {
        let queue = Queue::new(vec![4, 5, 9], 2, 1);
        let (a, b) = (queue.take().unwrap(), queue.take().unwrap());
        assert_eq!(queue.try_take(), None);
        queue.complete(b, failed(5));
        queue.complete(a, failed(4));
        assert_eq!(queue.next_outcome(), Some((4, failed(4))));
        let c = queue.try_take().unwrap();
        queue.complete(c, failed(9));
        assert_eq!(queue.next_outcome(), Some((5, failed(5))));
        assert_eq!(queue.next_outcome(), Some((9, failed(9))));
        assert_eq!((queue.take(), queue.next_outcome()), (None, None));
    }

    #[test]
    fn outcome_is_an_error_when_all_dispatchers_have_ended() {
        let queue = Queue::new(vec![1], 2, 1);
        drop(queue.leave_on_drop());
        assert!(matches!(
            queue.next_outcome(),
            Some((1, Err(PageError::WorkerDied(_))))
        ));
    }
}
