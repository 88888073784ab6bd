//! Results of a run.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;

use super::link::{PATIENCE, Subject};
use super::names::{RESULTS, check};
use super::{Error, Queue};

/// Results that are read at once.
const BATCH: usize = 256;
/// Pause between two looks for new results.
const PAUSE: Duration = Duration::from_millis(50);
/// What is done, for errors.
const READING: Subject<'static> = Subject {
    what: "read the results",
    name: RESULTS,
    subject: "$JS.API.DIRECT.GET.ingest-results",
};

/// A result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultMessage {
    /// Content.
    pub payload: Vec<u8>,
    /// When the server received it, by the server's clock.
    pub received: SystemTime,
    /// Its place among the results of all runs: grows from one to the next.
    pub sequence: u64,
}

/// The results of a run, from the first one.
pub struct Results<'q> {
    queue: &'q Queue,
    subject: String,
    /// Those that were read and not yet given.
    read: VecDeque<ResultMessage>,
    /// Sequence from which to read on.
    next: u64,
    /// Since when the server does not answer.
    away: Option<Instant>,
}

impl Results<'_> {
    /// The next result; `None` if none came within the time. Waits through outages of the server.
    ///
    /// # Errors
    /// [`Error::Away`] after an outage of 30 s; later calls go on where this one ended. [`Error::Forbidden`],
    /// [`Error::Missing`], [`Error::Failed`].
    pub fn next(&mut self, timeout: Duration) -> Result<Option<ResultMessage>, Error> {
        let start = Instant::now();
        loop {
            if let Some(message) = self.read.pop_front() {
                return Ok(Some(message));
            }
            self.read()?;
            if self.read.is_empty() {
                let left = timeout.saturating_sub(start.elapsed());
                if left.is_zero() {
                    return Ok(None);
                }
                std::thread::sleep(left.min(PAUSE));
            }
        }
    }

    /// Reads what there is.
    fn read(&mut self) -> Result<(), Error> {
        let link = &self.queue.link;
        let stored = link.stored(RESULTS, &self.subject, self.next, BATCH);
        match link.block_on(link.guard(READING, stored)) {
            Ok(messages) => {
                self.away = None;
                self.read
                    .extend(messages.into_iter().map(|message| ResultMessage {
                        payload: message.payload.into(),
                        received: message.time.into(),
                        sequence: message.sequence,
                    }));
                self.next = self.read.back().map_or(self.next, |last| last.sequence + 1);
                Ok(())
            }
            Err(failure) if failure.is_passing() => {
                let since = *self.away.get_or_insert_with(Instant::now);
                match since.elapsed() > PATIENCE {
                    true => Err(link.error(READING, failure)),
                    false => Ok(()),
                }
            }
            Err(failure) => Err(link.error(READING, failure)),
        }
    }
}

impl Queue {
    /// Publishes the result of an item, and waits until the server has it. The same `id` within two minutes is stored once.
    /// Tried again for 30 s if the server is away.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Missing`], [`Error::Full`], [`Error::TooLarge`], [`Error::Forbidden`], [`Error::Away`],
    /// [`Error::Failed`].
    pub fn publish_result(&self, run: &str, id: &str, payload: &[u8]) -> Result<(), Error> {
        check(run)?;
        check(id)?;
        let subject = format!("ingest.results.{run}");
        let about = Subject {
            what: "publish a result",
            name: RESULTS,
            subject: &subject,
        };
        self.link.retry(about, async || {
            let mut headers = HeaderMap::new();
            // Ids of all runs are compared with each other.
            headers.insert(async_nats::header::NATS_MESSAGE_ID, format!("{run}.{id}"));
            let message = PublishMessage::build()
                .headers(headers)
                .payload(payload.to_vec().into());
            let confirmation = self.link.context.send_publish(subject.clone(), message);
            confirmation.await?.await?;
            Ok(())
        })
    }

    /// The results of a run, from the first one, then as they arrive.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn results(&self, run: &str) -> Result<Results<'_>, Error> {
        check(run)?;
        Ok(Results {
            queue: self,
            subject: format!("ingest.results.{run}"),
            read: VecDeque::new(),
            next: 1,
            away: None,
        })
    }

    /// Removes the results of a run.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Missing`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`].
    pub fn remove_results(&self, run: &str) -> Result<(), Error> {
        check(run)?;
        let filter = format!("ingest.results.{run}");
        self.purge(RESULTS, &filter, "remove the results of a run")?;
        Ok(())
    }
}
