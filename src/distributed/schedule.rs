//! Scheduling: how a manual is cut into items, how many a worker holds, when a slow one stands back. Pure functions: the
//! coordinator, the workers and the simulation (`benches/scale/simulate.rs`) share them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::page::PageSet;

/// Pages of an item.
pub const ITEM_PAGES: usize = 32;
/// Pages of an item near the end of a run, where a whole one would keep the others waiting.
pub const LAST_ITEM_PAGES: usize = 8;
/// Pages of an item to be described: a page takes some seconds.
const DESCRIBED_ITEM_PAGES: usize = 16;
/// The same near the end of a run.
const LAST_DESCRIBED_PAGES: usize = 4;
/// Maximum pages of an item of a large file.
const MAX_ITEM_PAGES: usize = 512;
/// Bytes of a file that a worker fetches in the time in which it processes one page, about: a tenth of one gigabit per second
/// at two pages per second.
const BYTES_PER_PAGE: u64 = 5_000_000;
/// The items of about this last part of a run are small.
const LAST_PART: Duration = Duration::from_secs(60);
/// Assumed speed of all workers while it is unknown, in pages per second.
const ASSUMED_SPEED: f64 = 3.0;
/// Work that a worker holds.
const HELD: Duration = Duration::from_secs(10);
/// A worker stands back for those that are so many times as fast.
const FASTER: f64 = 1.5;
/// Maximum number of items that a worker holds.
const MAX_HELD: usize = 64;
/// Pages that are queued at least, as far as there are any.
const MIN_AHEAD: usize = 20_000;
/// Work that is queued ahead at most, at the speed of all workers.
const AHEAD: Duration = Duration::from_secs(3_600);

/// Pages of an item of a file with this many bytes and pages to process. A worker that has no other way to the file fetches
/// all of it, so items of a file that is large for its pages are larger: fetching takes about a tenth of the time at most.
pub fn item_pages(bytes: u64, pages: usize) -> usize {
    let mut size = ITEM_PAGES;
    while size < MAX_ITEM_PAGES && size < pages && bytes > BYTES_PER_PAGE * size as u64 {
        size *= 2;
    }
    size
}

/// Number of pages at the end of a run that are queued in small items. `speed`: pages per second of all workers; 0: unknown.
pub fn last_pages(speed: f64) -> usize {
    let speed = if speed > 0.0 { speed } else { ASSUMED_SPEED };
    (speed * LAST_PART.as_secs_f64()).ceil() as usize
}

/// Cuts pages into items of `size` pages, those after the first `len - last` pages into small ones.
pub fn cut(pages: &[u32], size: usize, last: usize) -> Vec<PageSet> {
    let (whole, small) = pages.split_at(pages.len().saturating_sub(last));
    let chunks = whole
        .chunks(size.max(1))
        .chain(small.chunks(size.clamp(1, LAST_ITEM_PAGES)));
    chunks
        .map(|chunk| PageSet::of(chunk.iter().copied()))
        .collect()
}

/// Cuts pages to be described into items, the last `last` pages into small ones. Pages with the same content are in one item,
/// however many there are: they get one description. Pages whose content is unknown have an empty one.
pub fn cut_alike<'c>(
    pages: &[u32],
    content: impl Fn(&u32) -> &'c str,
    last: usize,
) -> Vec<PageSet> {
    let (mut alike, mut by_content) = (Vec::<Vec<u32>>::new(), HashMap::new());
    for page in pages {
        let next = alike.len();
        let index = match content(page) {
            "" => next,
            content => *by_content.entry(content).or_insert(next),
        };
        match alike.get_mut(index) {
            Some(others) => others.push(*page),
            None => alike.push(vec![*page]),
        }
    }
    let (mut items, mut item) = (Vec::new(), Vec::new());
    let mut left = pages.len();
    for pages in alike {
        let size = match left > last {
            true => DESCRIBED_ITEM_PAGES,
            false => LAST_DESCRIBED_PAGES,
        };
        if !item.is_empty() && item.len() + pages.len() > size {
            items.push(PageSet::of(std::mem::take(&mut item)));
        }
        left -= pages.len();
        item.extend(pages);
    }
    if !item.is_empty() {
        items.push(PageSet::of(item));
    }
    items
}

/// Manuals whose pages are about to be queued, in order: those near the end of the run wait for the number of pages after
/// them to be known, because the last pages of a run are queued in small items.
pub struct Upcoming<M> {
    manuals: VecDeque<(M, usize)>,
    pages: usize,
}

impl<M> Default for Upcoming<M> {
    fn default() -> Self {
        Self {
            manuals: VecDeque::new(),
            pages: 0,
        }
    }
}

impl<M> Upcoming<M> {
    /// Adds a manual with so many pages to process.
    pub fn push(&mut self, manual: M, pages: usize) {
        self.manuals.push_back((manual, pages));
        self.pages += pages;
    }

    /// The next manual that is not near the end. `speed`: pages per second of all workers; 0: unknown.
    pub fn next(&mut self, speed: f64) -> Option<M> {
        let (_, pages) = self.manuals.front()?;
        if self.pages - pages < last_pages(speed) {
            return None;
        }
        let (manual, pages) = self.manuals.pop_front()?;
        self.pages -= pages;
        Some(manual)
    }

    /// The manuals that are left when no other follows, each with the number of its last pages that go into small items.
    pub fn rest(self, speed: f64) -> Vec<(M, usize)> {
        let (mut after, last) = (self.pages, last_pages(speed));
        let small = |(manual, pages): (M, usize)| {
            after -= pages;
            (manual, last.saturating_sub(after).min(pages))
        };
        self.manuals.into_iter().map(small).collect()
    }
}

/// Number of items that a worker holds: about ten seconds of work, and the next one; when few are queued no more than its share
/// of them, so that it ends with the others. `speed`: its pages per second, 0 if unknown; `others`: those of the other workers.
pub fn held_items(speed: f64, others: &[f64], queued: u64) -> usize {
    let items = (speed * HELD.as_secs_f64() / ITEM_PAGES as f64).round() as usize;
    let all = speed + others.iter().sum::<f64>();
    let share = if all > 0.0 { speed / all } else { 1.0 };
    (1 + items.clamp(1, MAX_HELD))
        .min((queued as f64 * share) as usize)
        .max(1)
}

/// How many items must wait so that a worker takes one: of fewer, the faster workers have done the last one sooner than it
/// would do its first. 0: it takes any. `speed`: its pages per second, 0 if unknown; `others`: those of the other workers.
pub fn min_pending(speed: f64, others: &[f64]) -> u64 {
    if speed <= 0.0 {
        return 0;
    }
    let faster = others.iter().filter(|other| **other >= FASTER * speed);
    (faster.sum::<f64>() / speed).round() as u64
}

/// Maximum number of pages that are queued or in hand: so that little must be taken back when a run is cancelled, and that
/// few files are in the queue. `speed`: pages per second of all workers; 0: unknown.
pub fn max_pages_ahead(speed: f64) -> usize {
    MIN_AHEAD.max((speed * AHEAD.as_secs_f64()).round() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_small_at_the_end_only() {
        let pages: Vec<u32> = (1..=100).collect();
        let text = |last| -> Vec<String> {
            let items = cut(&pages, ITEM_PAGES, last);
            items.iter().map(ToString::to_string).collect()
        };
        assert_eq!(text(0), ["1-32", "33-64", "65-96", "97-100"]);
        assert_eq!(
            text(20),
            ["1-32", "33-64", "65-80", "81-88", "89-96", "97-100"]
        );
        assert_eq!(text(1_000).len(), 13);
        assert!(cut(&[], ITEM_PAGES, 9).is_empty());
    }

    #[test]
    fn pages_with_the_same_content_are_described_together() {
        let pages: Vec<u32> = (1..=40).collect();
        let cut = |content: fn(&u32) -> &'static str, last| -> Vec<String> {
            let items = cut_alike(&pages, content, last);
            items.iter().map(ToString::to_string).collect()
        };
        assert_eq!(cut(|_| "", 0), ["1-16", "17-32", "33-40"]);
        assert_eq!(cut(|_| "", 9), ["1-16", "17-31", "32-35", "36-39", "40"]);
        assert_eq!(cut(|_| "same", 0), ["1-40"]);
        let notices = |page: &u32| if page % 20 == 3 { "notice" } else { "" };
        assert_eq!(cut(notices, 0)[0], "1-15, 23");
        assert!(cut_alike(&[], |_| "", 4).is_empty());
    }

    #[test]
    fn manuals_near_the_end_wait_until_it_is_known() {
        let mut upcoming = Upcoming::default();
        for (name, pages) in [("a", 100), ("b", 150), ("c", 50)] {
            upcoming.push(name, pages);
        }
        // At 3 pages per second the last 180 pages are near the end.
        assert_eq!((upcoming.next(3.0), upcoming.next(3.0)), (Some("a"), None));
        assert_eq!(upcoming.rest(3.0), [("b", 130), ("c", 50)]);
    }

    #[test]
    fn items_of_a_large_file_are_large() {
        assert_eq!(item_pages(50_000_000, 1_000), 32);
        assert_eq!(item_pages(500_000_000, 1_000), 128);
        assert_eq!(item_pages(500_000_000, 20), 32);
        assert_eq!(item_pages(u64::MAX, 100_000), 512);
    }

    #[test]
    fn a_slow_worker_stands_back_and_one_alone_never() {
        assert_eq!(min_pending(0.25, &[2.5, 2.5, 50.0]), 220);
        assert_eq!(min_pending(2.5, &[2.5, 2.4, 50.0]), 20);
        assert_eq!(
            min_pending(2.5, &[2.5, 2.5]),
            0,
            "somebody must take the last one"
        );
        assert_eq!(min_pending(0.25, &[]), 0, "alone");
        assert_eq!(min_pending(0.0, &[50.0]), 0, "unknown");
    }

    #[test]
    fn a_worker_holds_ten_seconds_of_work_and_at_the_end_its_share() {
        assert_eq!(held_items(0.0, &[], 1_000), 2, "unknown");
        assert_eq!(held_items(50.0, &[2.0], 1_000), 17);
        assert_eq!(held_items(1e9, &[], 1_000), 65);
        assert_eq!(held_items(50.0, &[50.0], 12), 6);
        assert_eq!(held_items(2.0, &[50.0], 12), 1);
        assert_eq!(
            held_items(0.5, &[123.5], 312),
            1,
            "a second one would take longer than the run"
        );
        assert_eq!(held_items(50.0, &[50.0], 0), 1);
    }
}
