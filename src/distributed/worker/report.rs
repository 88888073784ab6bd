//! Tells what became of items. The order matters: pages are in the store, then the result is in the queue, then the item is
//! acknowledged. A death in between makes the item come again, and its pages are found stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::held::HeldItem;
use super::page_writer::PageWriter;
use super::session::Session;
use super::{deaths, sleep_until};
use crate::distributed::messages::{Item, ItemResult};
use crate::distributed::to_json;
use crate::queue;

/// Time between two attempts to tell a result.
const RETRY: Duration = Duration::from_secs(1);

/// An item that is processed no longer.
pub(super) struct EndedItem<'q> {
    pub(super) held: Arc<HeldItem<'q>>,
    pub(super) end: ItemEnd,
}

/// How the processing of an item ended.
pub(super) enum ItemEnd {
    /// Each page has an outcome.
    Done(Box<ItemResult>),
    /// Others are to process it, at once or after this time.
    HandedBack(Option<Duration>),
    /// The worker failed as a whole, perhaps because of this item: that counts as a death.
    Failed,
}

/// Reports items until the last one has ended.
pub(super) fn report<'q>(
    session: &Session<'_, 'q>,
    writer: &PageWriter<'_>,
    ended: Receiver<EndedItem<'q>>,
) {
    for EndedItem { held, end } in ended {
        match end {
            ItemEnd::Done(result) => finish(
                session,
                &held,
                ItemResult {
                    store_was_away: writer.was_away(),
                    ..*result
                },
            ),
            ItemEnd::HandedBack(delay) => {
                let process = session.worker.process;
                session.note(deaths::leave(session.queue, &held.item, process));
                held.lease.hand_back(delay);
            }
            ItemEnd::Failed => held.lease.hand_back(None),
        }
        session.held.let_go(&held);
    }
}

/// Tells the result of an item; tries until the queue has it, or the worker is stopped: then the item comes again.
fn finish(session: &Session<'_, '_>, held: &HeldItem<'_>, result: ItemResult) {
    let id = result_id(session, &held.item);
    while let Err(cause) = publish(session, &held.item, (&id, &result)) {
        session.set_problem(Some(cause.to_string()));
        if session.is_stopped() {
            return;
        }
        session.held.moved();
        sleep_until(session.worker.run.stop, RETRY);
    }
    let failed = result.failed.len() as u64;
    let pages = held.item.numbers().len() as u64 - failed;
    let totals = session.worker.totals;
    for (count, by) in [
        (&totals.pages, pages),
        (&totals.failed, failed),
        (&totals.items, 1),
    ] {
        count.fetch_add(by, Ordering::Relaxed);
    }
    // An acknowledgement that is lost makes the item come again.
    session.note(held.lease.acknowledge());
    session.note(deaths::forget(session.queue, &held.item));
}

/// Puts the result of an item into the queue.
pub(super) fn publish(
    session: &Session<'_, '_>,
    item: &Item,
    (id, result): (&str, &ItemResult),
) -> Result<(), queue::Error> {
    session
        .queue
        .publish_result(&item.run, id, &to_json(result))
}

/// The id of a result: the same at each attempt to tell it, another one if the item is processed again.
pub(super) fn result_id(session: &Session<'_, '_>, item: &Item) -> String {
    let random = fastrand::u32(..);
    format!("{}-{}-{random:08x}", item.name(), session.worker.process.id)
}
