//! An item in the hands of a worker.

use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};

use super::failure::{Failure, from_text};
use super::link::Subject;
use super::names::WORK;
use super::{Error, Queue};

/// Attempts to have an item acknowledged.
const ATTEMPTS: usize = 2;

/// A leased item. When it is dropped without an answer its lease runs out.
pub struct Lease<'q> {
    queue: &'q Queue,
    message: Message,
    run: String,
    item: String,
    delivered: u64,
}

impl<'q> Lease<'q> {
    /// `None` for a message that is no item.
    pub(super) fn new(queue: &'q Queue, message: Message) -> Option<Self> {
        let mut names = message.subject.rsplit('.').map(str::to_owned);
        let (item, run) = (names.next()?, names.next()?);
        let delivered = u64::try_from(message.info().ok()?.delivered).unwrap_or(0);
        Some(Self {
            queue,
            message,
            run,
            item,
            delivered,
        })
    }

    /// The run that it belongs to.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Its name within the run.
    pub fn item(&self) -> &str {
        &self.item
    }

    /// Its content.
    pub fn payload(&self) -> &[u8] {
        &self.message.payload
    }

    /// How often it was delivered, this time included; returned items count as well.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Starts its lease anew. Does not wait for the server.
    pub fn extend(&self) {
        self.answer(AckKind::Progress);
    }

    /// Acknowledges it, so that it is removed; waits until the server has confirmed it, for 4 s at most. If the server does
    /// not confirm it that is no error: the item comes again then, and is found done.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn acknowledge(&self) -> Result<(), Error> {
        let about = Subject {
            what: "acknowledge an item",
            name: WORK,
            subject: self.message.reply.as_deref().unwrap_or_default(),
        };
        let link = &self.queue.link;
        for _ in 0..ATTEMPTS {
            let confirmed = link.block_on(link.guard(about, async {
                let done = self.message.double_ack().await;
                done.map_err(|cause| from_text(cause.to_string()))
            }));
            match confirmed {
                Ok(()) => break,
                Err(failure @ Failure::Forbidden(_)) => return Err(link.error(about, failure)),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Gives it back: to any worker, at once or after `delay`. Does not wait for the server.
    pub fn hand_back(&self, delay: Option<Duration>) {
        self.answer(AckKind::Nak(delay));
    }

    fn answer(&self, kind: AckKind) {
        self.queue.link.hand_over(self.message.ack_with(kind));
    }
}
