//! Who has begun an item and neither ended it nor handed it back: a worker among them that lives no more has died on it.

use super::super::messages::{Item, Process};
use super::super::{keys, parse, to_json};
use crate::queue::{self, Queue};

/// Adds a worker to those that have begun an item.
pub(super) fn begin(queue: &Queue, item: &Item, worker: &Process) -> Result<(), queue::Error> {
    change(queue, item, |workers| {
        workers.retain(|other| other.id != worker.id);
        workers.push(worker.clone());
    })
}

/// Takes a worker out of them.
pub(super) fn leave(queue: &Queue, item: &Item, worker: &Process) -> Result<(), queue::Error> {
    change(queue, item, |workers| {
        workers.retain(|other| other.id != worker.id)
    })
}

/// Forgets all of them: the item has a result.
pub(super) fn forget(queue: &Queue, item: &Item) -> Result<(), queue::Error> {
    queue.runs().delete(&keys::begun(&item.run, &item.name()))
}

/// What happened to an item that is delivered again.
pub(super) enum Past {
    /// The workers that died while they had it in hand.
    Deaths(Vec<Process>),
    /// Another worker that lives has it in hand.
    InOtherHands,
}

/// Finds out what became of those that have begun an item.
pub(super) fn past(queue: &Queue, item: &Item, me: &Process) -> Result<Past, queue::Error> {
    let entry = queue.runs().get(&keys::begun(&item.run, &item.name()))?;
    let workers: Vec<Process> = entry.and_then(|e| parse(&e.value)).unwrap_or_default();
    let mut dead = Vec::new();
    for worker in workers.into_iter().filter(|worker| worker.id != me.id) {
        match queue.workers().get(&keys::worker(&worker.id))? {
            Some(_) => return Ok(Past::InOtherHands),
            None => dead.push(worker),
        }
    }
    Ok(Past::Deaths(dead))
}

/// Changes the list by compare-and-set. An empty list is deleted.
fn change(
    queue: &Queue,
    item: &Item,
    change: impl Fn(&mut Vec<Process>),
) -> Result<(), queue::Error> {
    let (runs, key) = (queue.runs(), keys::begun(&item.run, &item.name()));
    loop {
        let entry = runs.get(&key)?;
        let mut workers: Vec<Process> = entry
            .as_ref()
            .and_then(|entry| parse(&entry.value))
            .unwrap_or_default();
        change(&mut workers);
        let written = match &entry {
            Some(_) if workers.is_empty() => return runs.delete(&key),
            Some(entry) => runs.update(&key, &to_json(&workers), entry.revision)?,
            None if workers.is_empty() => return Ok(()),
            None => runs.create(&key, &to_json(&workers))?,
        };
        if written.is_some() {
            return Ok(());
        }
    }
}
