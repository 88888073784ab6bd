//! The items that a worker has in hand: their leases are extended while pages move, and each ends with a result or goes back
//! to the queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::messages::Item;
use crate::queue::Lease;

/// Maximum time until the first batch is done, of which nothing is known yet.
const FIRST_BATCH: Duration = Duration::from_secs(1_800);
/// Busy time over which the speed of a worker is measured.
const SPEED_WINDOW: Duration = Duration::from_secs(120);

/// An item in hand.
pub(super) struct HeldItem<'q> {
    pub(super) item: Item,
    pub(super) lease: Lease<'q>,
    /// Whether it must be processed alone.
    pub(super) is_alone: AtomicBool,
}

impl HeldItem<'_> {
    pub(super) fn is_alone(&self) -> bool {
        self.is_alone.load(Ordering::Relaxed)
    }

    fn overlaps(&self, other: &Item) -> bool {
        let own = self.item.numbers();
        self.item.file == other.file && other.numbers().iter().any(|page| own.contains(page))
    }
}

/// All items in hand.
#[derive(Default)]
pub(super) struct HeldItems<'q> {
    state: Mutex<State<'q>>,
}

#[derive(Default)]
struct State<'q> {
    held: Vec<Arc<HeldItem<'q>>>,
    /// How many of them are in the pipeline, and whether one of those is to be alone there.
    in_pipeline: usize,
    is_alone: bool,
    /// When a page moved last.
    moved: Option<Instant>,
    /// Since when the model is being loaded, during which no page moves.
    loading_since: Option<Instant>,
    /// `None` before the first batch.
    longest_batch: Option<Duration>,
    /// Since when items are in the pipeline, and how long there were some before.
    busy_since: Option<Instant>,
    busy: Duration,
    /// Pages of the items that ended lately, each with the busy time at its end.
    ended: Vec<(Duration, u32)>,
}

impl State<'_> {
    /// Time in which items were in the pipeline.
    fn busy_time(&self) -> Duration {
        let now = self
            .busy_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        self.busy + now
    }
}

impl<'q> HeldItems<'q> {
    fn state(&self) -> MutexGuard<'_, State<'q>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.state().held.len()
    }

    /// Takes an item in hand; gives its lease back if pages of it are in hand already.
    pub(super) fn take(
        &self,
        item: Item,
        lease: Lease<'q>,
    ) -> Result<Arc<HeldItem<'q>>, Box<Lease<'q>>> {
        let mut state = self.state();
        if state.held.iter().any(|held| held.overlaps(&item)) {
            return Err(Box::new(lease));
        }
        let is_alone = AtomicBool::new(item.suspect);
        let held = Arc::new(HeldItem {
            item,
            lease,
            is_alone,
        });
        state.held.push(Arc::clone(&held));
        Ok(held)
    }

    pub(super) fn let_go(&self, held: &HeldItem<'_>) {
        let name = held.item.name();
        let is_other = |other: &Arc<HeldItem<'_>>| {
            other.item.name() != name || other.item.run != held.item.run
        };
        self.state().held.retain(is_other);
    }

    /// The digests of the files of all items.
    pub(super) fn files(&self) -> Vec<String> {
        let state = self.state();
        state
            .held
            .iter()
            .map(|held| held.item.file.clone())
            .collect()
    }

    /// Lets an item enter the pipeline; one that is to be alone there waits until it is empty, and others until that ended.
    pub(super) fn enter(&self, held: &HeldItem<'_>) -> bool {
        let mut state = self.state();
        if state.in_pipeline > 0 && (state.is_alone || held.is_alone()) {
            return false;
        }
        state.in_pipeline += 1;
        state.is_alone = held.is_alone();
        let now = Instant::now();
        state.moved = Some(now);
        state.busy_since.get_or_insert(now);
        true
    }

    /// Notes that an item has left the pipeline.
    pub(super) fn leave(&self, pages: u32) {
        let mut state = self.state();
        state.in_pipeline -= 1;
        let busy = state.busy_time();
        state.ended.push((busy, pages));
        state.ended.retain(|(at, _)| busy - *at < SPEED_WINDOW);
        if state.in_pipeline == 0 {
            state.busy = busy;
            state.busy_since = None;
        }
    }

    /// Notes that a page moved, or waits for something that is not to blame on it.
    pub(super) fn moved(&self) {
        self.state().moved = Some(Instant::now());
    }

    /// Notes that the model begins to load: no page moves until it is loaded, and the time does not count.
    pub(super) fn loading(&self) {
        self.state().loading_since = Some(Instant::now());
    }

    /// Notes that the model is loaded.
    pub(super) fn loaded(&self) {
        let mut state = self.state();
        let now = Instant::now();
        if let Some(since) = state.loading_since.take() {
            let busy_since = state.busy_since;
            state.busy_since = busy_since.map(|busy| busy + (now - since));
        }
        state.moved = Some(now);
    }

    pub(super) fn batch_took(&self, time: Duration) {
        let mut state = self.state();
        state.longest_batch = state.longest_batch.max(Some(time));
    }

    /// Pages per second lately; `None` before the first item ended.
    pub(super) fn speed(&self) -> Option<f64> {
        let state = self.state();
        let pages: u32 = state.ended.iter().map(|(_, pages)| pages).sum();
        let time = state.busy_time().min(SPEED_WINDOW).as_secs_f64();
        (pages > 0 && time > 0.0).then(|| f64::from(pages) / time)
    }

    /// Whether no page has moved for so long that the process must be stuck.
    pub(super) fn is_stuck(&self, lease: Duration) -> bool {
        let state = self.state();
        let of_batch = state
            .longest_batch
            .map_or(FIRST_BATCH, |longest| longest * 10);
        let patience = (lease * 2).max(of_batch);
        let rests = |moved: Instant| moved.elapsed() > patience;
        state.in_pipeline > 0 && state.loading_since.is_none() && state.moved.is_some_and(rests)
    }

    /// Extends the leases of all items.
    pub(super) fn extend(&self) {
        let held = self.state().held.clone();
        held.iter().for_each(|held| held.lease.extend());
    }
}
