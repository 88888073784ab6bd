//! Grouping pages into batches by count and by cost: the memory cap, page by page.

/// What a batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most pages.
    pub pages: usize,
    /// Most cost, in the unit of [`crate::patch::Prepare::cost`]. A single page above it makes a batch of its own.
    pub cost: u64,
}

/// Collects items until the next one would break a limit.
#[derive(Debug)]
pub struct Batcher<T> {
    limits: Limits,
    items: Vec<T>,
    cost: u64,
}

impl<T> Batcher<T> {
    /// An empty batch under `limits`.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            items: Vec::new(),
            cost: 0,
        }
    }

    /// Adds an item; returns the batch that is complete by that, if one is.
    pub fn push(&mut self, item: T, cost: u64) -> Option<Vec<T>> {
        let full = !self.items.is_empty() && self.cost.saturating_add(cost) > self.limits.cost;
        let done = if full { self.take() } else { None };
        self.items.push(item);
        self.cost += cost;
        if done.is_none() && self.items.len() >= self.limits.pages {
            self.take()
        } else {
            done
        }
    }

    /// The batch begun, however small.
    pub fn take(&mut self) -> Option<Vec<T>> {
        self.cost = 0;
        (!self.items.is_empty()).then(|| std::mem::take(&mut self.items))
    }

    /// Lowers the page limit for the batches to come; never under 1.
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
    fn a_batch_ends_before_its_cost_limit_breaks() {
        let limits = Limits { pages: 9, cost: 10 };
        assert_eq!(
            batches(limits, &[6, 4, 5, 6, 30, 1]),
            [vec![6, 4], vec![5], vec![6], vec![30], vec![1]]
        );
    }

    #[test]
    fn no_page_is_lost_when_both_limits_meet() {
        let limits = Limits { pages: 1, cost: 1 };
        assert_eq!(batches(limits, &[3, 3]), [vec![3], vec![3]]);
    }
}
