//! Tells what became of items. The order matters: pages are in the store, then the result is in the queue, then the item is
//! acknowledged. A death in between makes the item come again, and its pages are found stored.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::held::HeldItem;
use super::page_writer::PageWriter;
use super::source::EndedItem;
use super::{Shared, deaths, sleep_until};
use crate::distributed::messages::{Item, ItemResult};
use crate::distributed::to_json;
use crate::pipeline::ManualStats;
use crate::queue;

/// Time until an item is delivered again whose pages the store did not take, or whose file changed.
const LATER: Duration = Duration::from_secs(30);
/// Time between two attempts to tell a result.
const RETRY: Duration = Duration::from_secs(1);

/// Reports items until the last one has left the pipeline.
pub(super) fn report<'q>(
    shared: &Shared<'_, 'q>,
    writer: &PageWriter<'_>,
    ended: Receiver<EndedItem<'q>>,
) {
    for EndedItem {
        held,
        stats,
        is_changed,
    } in ended
    {
        let hand_back = |delay| {
            shared.note(deaths::leave(shared.queue, &held.item, &shared.process));
            held.lease.hand_back(delay);
        };
        match stats {
            // The pipeline failed, perhaps because of this item: that counts as a death.
            None => held.lease.hand_back(None),
            Some(stats) if stats.stopped => hand_back(None),
            Some(stats) if is_changed || stats.total(|m| m.waiting) > 0 => hand_back(Some(LATER)),
            Some(stats) => {
                let manual = stats.manuals.into_iter().next().unwrap_or_default();
                finish(shared, &held, manual, writer.was_away());
            }
        }
        shared.held.let_go(&held);
    }
}

/// Tells the result of an item; tries until the queue has it, or the worker is stopped: then the item comes again.
fn finish(shared: &Shared<'_, '_>, held: &HeldItem<'_>, manual: ManualStats, store_was_away: bool) {
    let result = ItemResult {
        store_was_away,
        ..ItemResult::new(&held.item, &shared.process, manual)
    };
    let id = result_id(shared, &held.item);
    while let Err(cause) = publish(shared, &held.item, (&id, &result)) {
        shared.set_problem(Some(cause.to_string()));
        if shared.is_stopped() {
            return;
        }
        shared.held.moved();
        sleep_until(shared.run.stop, RETRY);
    }
    let failed = result.failed.len() as u64;
    let pages = held.item.numbers().len() as u64 - failed;
    for (count, by) in [
        (&shared.pages, pages),
        (&shared.failed, failed),
        (&shared.items, 1),
    ] {
        count.fetch_add(by, Ordering::Relaxed);
    }
    // An acknowledgement that is lost makes the item come again.
    shared.note(held.lease.acknowledge());
    shared.note(deaths::forget(shared.queue, &held.item));
}

/// Puts the result of an item into the queue.
pub(super) fn publish(
    shared: &Shared<'_, '_>,
    item: &Item,
    (id, result): (&str, &ItemResult),
) -> Result<(), queue::Error> {
    shared.queue.publish_result(&item.run, id, &to_json(result))
}

/// The id of a result: the same at each attempt to tell it, another one if the item is processed again.
pub(super) fn result_id(shared: &Shared<'_, '_>, item: &Item) -> String {
    let random = fastrand::u32(..);
    format!("{}-{}-{random:08x}", item.name(), shared.process.id)
}
