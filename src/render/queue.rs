//! The pages of one file on their way through several workers: given out in order, taken back in order, never more than
//! a window of them on the way.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Rendered;
use crate::page::PageError;

type Outcome = Result<Rendered, PageError>;

/// A page given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    place: usize,
    /// The page, from 1.
    pub(super) number: u32,
}

/// Pages to render, in work, and done.
pub(super) struct Queue {
    numbers: Vec<u32>,
    window: usize,
    state: Mutex<State>,
    /// A page is done, or a worker has left.
    done: Condvar,
    /// A page has been taken away, or all is over.
    room: Condvar,
}

#[derive(Default)]
struct State {
    given: usize,
    delivered: usize,
    waiting: BTreeMap<usize, Outcome>,
    present: usize,
    stopped: bool,
}

impl Queue {
    /// A queue of pages for `workers` lanes, `window` of them on the way at most.
    pub(super) fn new(numbers: Vec<u32>, window: usize, workers: usize) -> Self {
        let state = State {
            present: workers,
            ..State::default()
        };
        Self {
            numbers,
            window,
            state: Mutex::new(state),
            done: Condvar::new(),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next page to render; waits for room. `None` when there is none left.
    pub(super) fn take(&self) -> Option<Ticket> {
        let full = |state: &mut State| {
            !state.stopped
                && state.given < self.numbers.len()
                && state.given >= state.delivered + self.window
        };
        let state = self.room.wait_while(self.lock(), full);
        self.give(&mut state.unwrap_or_else(PoisonError::into_inner))
    }

    /// The next page to render, if there is room now.
    pub(super) fn try_take(&self) -> Option<Ticket> {
        self.give(&mut self.lock())
    }

    fn give(&self, state: &mut State) -> Option<Ticket> {
        if state.stopped || state.given >= state.delivered + self.window {
            return None;
        }
        let place = state.given;
        let number = *self.numbers.get(place)?;
        state.given += 1;
        Some(Ticket { place, number })
    }

    /// Hands in what became of a page.
    pub(super) fn put(&self, ticket: Ticket, outcome: Outcome) {
        self.lock().waiting.insert(ticket.place, outcome);
        self.done.notify_all();
    }

    /// The next page in order; waits for it. `None` after the last.
    pub(super) fn deliver(&self) -> Option<(u32, Outcome)> {
        let mut state = self.lock();
        let place = state.delivered;
        let number = *self.numbers.get(place)?;
        let pending = |state: &mut State| !state.waiting.contains_key(&place) && state.present > 0;
        state = self
            .done
            .wait_while(state, pending)
            .unwrap_or_else(PoisonError::into_inner);
        let alone = || Err(PageError::WorkerDied("no other can be started".into()));
        let outcome = state.waiting.remove(&place).unwrap_or_else(alone);
        state.delivered += 1;
        self.room.notify_all();
        Some((number, outcome))
    }

    /// Nobody wants more pages.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.room.notify_all();
    }

    /// Whether nobody wants more pages.
    pub(super) fn stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Held by a lane as long as it works, so that nobody waits for one that is gone.
    pub(super) fn present(&self) -> Present<'_> {
        Present(self)
    }
}

/// A lane at work.
pub(super) struct Present<'a>(&'a Queue);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.lock().present -= 1;
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
    fn pages_come_in_order_and_the_window_holds() {
        let queue = Queue::new(vec![4, 5, 9], 2, 1);
        let (a, b) = (queue.take().unwrap(), queue.take().unwrap());
        assert_eq!(queue.try_take(), None);
        queue.put(b, failed(5));
        queue.put(a, failed(4));
        assert_eq!(queue.deliver(), Some((4, failed(4))));
        let c = queue.try_take().unwrap();
        queue.put(c, failed(9));
        assert_eq!(queue.deliver(), Some((5, failed(5))));
        assert_eq!(queue.deliver(), Some((9, failed(9))));
        assert_eq!((queue.take(), queue.deliver()), (None, None));
    }

    #[test]
    fn nobody_waits_for_a_lane_that_is_gone() {
        let queue = Queue::new(vec![1], 2, 1);
        drop(queue.present());
        assert!(matches!(
            queue.deliver(),
            Some((1, Err(PageError::WorkerDied(_))))
        ));
    }
}
