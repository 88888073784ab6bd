//! The lead: one coordinator a store, which renews it every second. Two at once could give one name to two manuals.

use std::sync::Mutex;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

use super::super::messages::Process;
use super::super::{Error, keys, parse, to_json};
use crate::queue::{self, Queue};
use crate::store::digest;

/// Who coordinates which run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) process: Process,
    /// Digest of the run's files, pages and group: the same command has the same.
    pub(super) command: String,
    /// The run; empty while it is being prepared.
    pub(super) run: String,
}

/// The lead over a store, held by this process.
pub(super) struct Lead<'q> {
    queue: &'q Queue,
    key: String,
    state: Mutex<(Holder, u64)>,
}

impl<'q> Lead<'q> {
    /// Takes the lead; the current holder if there is one.
    pub(super) fn take(
        queue: &'q Queue,
        store: &str,
        holder: Holder,
    ) -> Result<Result<Self, Holder>, queue::Error> {
        let key = keys::lead(&digest(&[store.as_bytes()]));
        loop {
            if let Some(revision) = queue.leads().create(&key, &to_json(&holder))? {
                let state = Mutex::new((holder, revision));
                return Ok(Ok(Self { queue, key, state }));
            }
            // It may have expired in between.
            let entry = queue.leads().get(&key)?;
            if let Some(current) = entry.and_then(|entry| parse(&entry.value)) {
                return Ok(Err(current));
            }
        }
    }

    /// Tells which run is coordinated.
    pub(super) fn announce(&self, run: &str) -> Result<(), Error> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .run = run.to_owned();
        self.renew()
    }

    /// Renews the lead. If it expired while the queue was away, it is taken again, unless another process was faster.
    pub(super) fn renew(&self) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (holder, revision) = &mut *state;
        let value = to_json(holder);
        if let Some(renewed) = self.queue.leads().update(&self.key, &value, *revision)? {
            *revision = renewed;
            return Ok(());
        }
        let entry = self.queue.leads().get(&self.key)?;
        let current: Option<Holder> = entry.as_ref().and_then(|entry| parse(&entry.value));
        match (entry, current) {
            // An update whose answer was lost.
            (Some(entry), Some(current)) if current.process == holder.process => {
                *revision = entry.revision;
                Ok(())
            }
            (_, Some(current)) => Err(Error::LeadLost {
                host: current.process.host,
            }),
            _ => {
                if let Some(created) = self.queue.leads().create(&self.key, &value)? {
                    *revision = created;
                }
                Ok(())
            }
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if self.renew().is_ok() {
            // It expires anyway.
            let _ = self.queue.leads().delete(&self.key);
        }
    }
}
