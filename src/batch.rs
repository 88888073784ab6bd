//! Batching: groups pages into batches limited by count and by cost, which bounds memory.

/// Limits of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of pages.
    pub pages: usize,
    /// Maximum total cost, in the unit of [`crate::patch::Prepare::cost`]. A single page above it is a batch by itself.
    pub cost: u64,
}

/// Collects items until the next one would exceed a limit.
#[derive(Debug)]
pub struct Batcher<T> {
    limits: Limits,
    items: Vec<T>,
    cost: u64,
}

impl<T> Batcher<T> {
    /// Creates an empty batch with `limits`.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            items: Vec::new(),
            cost: 0,
        }
    }

    /// Adds an item; returns a batch if this completes one.
    pub fn push(&mut self, item: T, cost: u64) -> Option<Vec<T>> {
        let full = !self.items.is_empty() && self.cost.saturating_add(cost) > self.limits.cost;
        let complete = if full { self.take() } else { None };
        self.items.push(item);
        self.cost += cost;
        if complete.is_none() && self.items.len() >= self.limits.pages {
            self.take()
        } else {
            complete
        }
    }

    /// Takes the current batch, even if incomplete; `None` if it is empty.
    pub fn take(&mut self) -> Option<Vec<T>> {
        self.cost = 0;
        (!self.items.is_empty()).then(|| std::mem::take(&mut self.items))
    }

    /// Lowers the page limit of later batches; never below 1.
    pub fn shrink_to(&mut self, pages: usize) {
        self.limits.pages = self.limits.pages.min(pages.max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(limits: Limits, costs: &[u64]) -> Vec<Vec<u64>> {
        let mut batcher = Batcher::new(limits);
        let mut all: Vec<_> = costs.iter().filter_map(|&c| batcher.push(c, c)).collect();
        all.extend(batcher.take());
        all
    }

    #[test]
    fn a_batch_ends_at_its_page_limit() {
        let limits = Limits {
            pages: 2,
            cost: 100,
        };
        assert_eq!(
            batches(limits, &[1, 2, 3, 4, 5]),
            [vec![1, 2], vec![3, 4], vec![5]]
        );
    }

    #[test]
    fn a_batch_ends_before_its_cost_limit_is_exceeded() {
        let limits = Limits { pages: 9, cost: 10 };
        assert_eq!(
            batches(limits, &[6, 4, 5, 6, 30, 1]),
            [vec![6, 4], vec![5], vec![6], vec![30], vec![1]]
        );
    }

    #[test]
    fn no_page_is_lost_when_both_limits_are_reached() {
        let limits = Limits { pages: 1, cost: 1 };
        assert_eq!(batches(limits, &[3, 3]), [vec![3], vec![3]]);
    }
}
