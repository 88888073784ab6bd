//! Publishing items of work.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use async_nats::jetstream::context::PublishAckFuture;
use tokio::time::Instant as Deadline;

use super::failure::Failure;
use super::link::{PATIENCE, PAUSE, REQUEST_TIMEOUT, Subject};
use super::names::{WORK, check};
use super::{Error, Kind, Queue};

/// Items that are sent before the first of them is confirmed.
const IN_FLIGHT: usize = 256;
/// What is done, for errors.
const ABOUT: Subject<'static> = Subject {
    what: "publish items",
    name: WORK,
    subject: "\"ingest.work.",
};

/// An item to publish. Its names are 1 to 128 of `A-Za-z0-9_-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewItem {
    /// What is done.
    pub kind: Kind,
    /// The group of workers that may do it.
    pub group: String,
    /// The run that it belongs to.
    pub run: String,
    /// Its name within the run: the same item is queued once.
    pub item: String,
    /// Content, for the worker.
    pub payload: Vec<u8>,
}

impl NewItem {
    fn check(&self) -> Result<(), Error> {
        [&self.group, &self.run, &self.item]
            .into_iter()
            .try_for_each(|name| check(name))
    }

    fn subject(&self) -> String {
        let Self {
            kind,
            group,
            run,
            item,
            ..
        } = self;
        format!("ingest.work.{}.{group}.{run}.{item}", kind.name())
    }
}

/// An item on its way.
struct Sent<'a> {
    item: &'a NewItem,
    deadline: Deadline,
    confirmation: PublishAckFuture,
}

/// One pass over items: those on their way, and those to send again.
#[derive(Default)]
struct Pass<'a> {
    sent: VecDeque<Sent<'a>>,
    again: Vec<&'a NewItem>,
    is_absent: bool,
}

impl Queue {
    /// Publishes items. One that is queued or in hand already is not queued again, which is no error. Goes on after an outage
    /// of the server until `stop` is true.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`Error::Name`], [`Error::Missing`], [`Error::Full`], [`Error::TooLarge`], [`Error::Forbidden`],
    /// [`Error::Failed`].
    pub fn publish(&self, items: &[NewItem], stop: &AtomicBool) -> Result<(), Error> {
        items.iter().try_for_each(NewItem::check)?;
        let mut left: Vec<&NewItem> = items.iter().collect();
        let mut present = Instant::now();
        while !left.is_empty() {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let pass = self.link.once(ABOUT, self.pass(left, stop))?;
            left = pass.again;
            match pass.is_absent {
                true if present.elapsed() > PATIENCE => {
                    return Err(self.link.error(ABOUT, Failure::NoStream));
                }
                true => {}
                false => present = Instant::now(),
            }
            if !left.is_empty() {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Sends items until the server does not answer, or `stop` is true; gives back those that it has not confirmed.
    async fn pass<'a>(
        &self,
        items: Vec<&'a NewItem>,
        stop: &AtomicBool,
    ) -> Result<Pass<'a>, Failure> {
        let mut pass = Pass::default();
        for item in items {
            if !pass.again.is_empty() || stop.load(Ordering::Relaxed) {
                pass.again.push(item);
                continue;
            }
            if pass.sent.len() == IN_FLIGHT {
                pass.settle().await?;
            }
            let payload = item.payload.clone().into();
            match self.link.context.publish(item.subject(), payload).await {
                Ok(confirmation) => pass.sent.push_back(Sent {
                    item,
                    deadline: Deadline::now() + REQUEST_TIMEOUT,
                    confirmation,
                }),
                Err(error) => pass.note(item, error.into())?,
            }
        }
        while !pass.sent.is_empty() {
            pass.settle().await?;
        }
        Ok(pass)
    }
}

impl Pass<'_> {
    /// Waits for the confirmation of the item that was sent first.
    async fn settle(&mut self) -> Result<(), Failure> {
        let Some(sent) = self.sent.pop_front() else {
            return Ok(());
        };
        let confirmation = sent.confirmation.into_future();
        match tokio::time::timeout_at(sent.deadline, confirmation).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => self.note(sent.item, error.into()),
            Err(_) => self.note(sent.item, Failure::Away("timed out".to_owned())),
        }
    }
}

impl<'a> Pass<'a> {
    /// Takes in what happened to an item.
    fn note(&mut self, item: &'a NewItem, failure: Failure) -> Result<(), Failure> {
        match failure {
            Failure::Queued => Ok(()),
            failure if failure.is_passing() => {
                self.is_absent |= matches!(failure, Failure::NoStream);
                self.again.push(item);
                Ok(())
            }
            failure => Err(failure),
        }
    }
}
