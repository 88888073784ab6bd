//! Groups of workers that lease the same items.

use std::time::Duration;

use async_nats::jetstream::consumer::{
    AckPolicy, Consumer, PriorityPolicy,
    pull::{Config, FetchBuilder},
};
use futures_util::StreamExt;

use super::failure::{Failure, from_text};
use super::link::{REQUEST_TIMEOUT, Subject};
use super::names::{WORK, check};
use super::{Error, Lease, Queue};

/// Maximum number of items in the hands of all workers of a group.
const MAX_IN_HAND: i64 = 10_000;
/// Name of the priority group of a consumer: there is one.
const PRIORITY_GROUP: &str = "A";

/// What is done with the pages of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// They are rendered, embedded and stored.
    Pages,
    /// They are described.
    Describe,
}

impl Kind {
    /// Its name in subjects.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pages => "pages",
            Self::Describe => "describe",
        }
    }
}

/// What a worker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Maximum number of items.
    pub items: usize,
    /// Maximum time to wait for the first one.
    pub expires: Duration,
    /// Only if at least so many items wait (0: in any case): a slow worker leaves the last ones to faster ones.
    pub min_pending: u64,
}

/// Items of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Waiting.
    pub queued: u64,
    /// Leased, not acknowledged.
    pub in_hand: u64,
}

/// The workers that may do the same items.
pub struct WorkGroup<'q> {
    queue: &'q Queue,
    consumer: Consumer<Config>,
    /// Subject of its requests for items.
    next: String,
    /// Subject of its requests for its state.
    info: String,
}

impl Queue {
    /// Makes or finds the group of workers of this kind, and sets its lease. For coordinators.
    ///
    /// # Errors
    /// [`Error::Missing`] before [`Queue::create`], [`Error::Name`], [`Error::Forbidden`], [`Error::Away`], [`Error::Failed`].
    pub fn create_group(&self, kind: Kind, group: &str) -> Result<WorkGroup<'_>, Error> {
        check(group)?;
        let name = consumer_name(kind, group);
        let config = Config {
            durable_name: Some(name.clone()),
            filter_subject: format!("ingest.work.{}.{group}.>", kind.name()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.lease,
            max_ack_pending: MAX_IN_HAND,
            priority_policy: PriorityPolicy::Overflow,
            priority_groups: vec![PRIORITY_GROUP.to_owned()],
            ..Config::default()
        };
        let about = Subject {
            what: "make a group of workers",
            name: WORK,
            subject: "$JS.API.CONSUMER.CREATE.ingest-work.",
        };
        let consumer = self.link.retry(about, async || {
            let context = &self.link.context;
            Ok(context
                .create_consumer_on_stream(config.clone(), WORK)
                .await?)
        })?;
        Ok(WorkGroup::new(self, consumer, &name))
    }

    /// The group of workers of this kind; `None` if no coordinator has made it.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Away`], [`Error::Forbidden`], [`Error::Failed`].
    pub fn group(&self, kind: Kind, group: &str) -> Result<Option<WorkGroup<'_>>, Error> {
        check(group)?;
        let name = consumer_name(kind, group);
        let info = info_subject(&name);
        let about = Subject {
            what: "find the group of workers",
            name: WORK,
            subject: &info,
        };
        let consumer = self.link.retry(about, async || {
            let context = &self.link.context;
            let found = context.get_consumer_from_stream(&name, WORK).await;
            match found.map_err(Failure::from) {
                Ok(consumer) => Ok(Some(consumer)),
                Err(Failure::NotFound) => Ok(None),
                Err(failure) => Err(failure),
            }
        })?;
        Ok(consumer.map(|consumer| WorkGroup::new(self, consumer, &name)))
    }

    /// Removes all items of a run, also those in hand, whose acknowledgement is then without effect. Returns their number.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Forbidden`], [`Error::Missing`], [`Error::Away`], [`Error::Failed`].
    pub fn cancel(&self, run: &str) -> Result<u64, Error> {
        check(run)?;
        self.purge(WORK, &format!("ingest.work.*.*.{run}.>"), "cancel a run")
    }

    /// Removes the messages of a stream whose subject fits the filter; returns their number.
    pub(super) fn purge(
        &self,
        stream: &'static str,
        filter: &str,
        what: &str,
    ) -> Result<u64, Error> {
        let subject = format!("$JS.API.STREAM.PURGE.{stream}");
        let about = Subject {
            what,
            name: stream,
            subject: &subject,
        };
        self.link.retry(about, async || {
            let stream = self.link.context.get_stream_no_info(stream).await?;
            Ok(stream.purge().filter(filter).await?.purged)
        })
    }
}

fn consumer_name(kind: Kind, group: &str) -> String {
    format!("{}-{group}", kind.name())
}

fn info_subject(consumer: &str) -> String {
    format!("$JS.API.CONSUMER.INFO.{WORK}.{consumer}")
}

impl<'q> WorkGroup<'q> {
    fn new(queue: &'q Queue, consumer: Consumer<Config>, name: &str) -> Self {
        Self {
            queue,
            consumer,
            next: format!("$JS.API.CONSUMER.MSG.NEXT.{WORK}.{name}"),
            info: info_subject(name),
        }
    }

    /// Leases items: at once what is there, else the first that comes within the time. After an error the caller should pause.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Missing`] if the group was removed, [`Error::Forbidden`], [`Error::Failed`].
    pub fn pull(&self, request: PullRequest) -> Result<Vec<Lease<'q>>, Error> {
        let about = Subject {
            what: "lease items",
            name: WORK,
            subject: &self.next,
        };
        let link = &self.queue.link;
        let fetched = async {
            let time = request.expires + REQUEST_TIMEOUT;
            let done = tokio::time::timeout(time, self.fetch(request)).await;
            done.unwrap_or_else(|_| Err(Failure::Away("timed out".to_owned())))
        };
        link.once(about, fetched)
    }

    /// Each time on a new subject, as a request that is underway ends with its leader.
    async fn fetch(&self, request: PullRequest) -> Result<Vec<Lease<'q>>, Failure> {
        let mut fetch = FetchBuilder::new(&self.consumer)
            .max_messages(request.items)
            .expires(request.expires)
            .group(PRIORITY_GROUP);
        if request.min_pending > 0 {
            fetch = fetch.min_pending(usize::try_from(request.min_pending).unwrap_or(usize::MAX));
        }
        let mut messages = fetch.messages().await?;
        let mut leases = Vec::new();
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => leases.extend(Lease::new(self.queue, message)),
                Err(_) if !leases.is_empty() => break,
                Err(error) => return Err(ended(error.to_string())),
            }
        }
        Ok(leases)
    }

    /// The time after which an item that is neither extended nor acknowledged goes to another worker.
    pub fn lease(&self) -> Duration {
        self.consumer.cached_info().config.ack_wait
    }

    /// How many items wait and are in hand.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Missing`] if the group was removed, [`Error::Forbidden`], [`Error::Failed`].
    pub fn backlog(&self) -> Result<Backlog, Error> {
        let about = Subject {
            what: "count the items",
            name: WORK,
            subject: &self.info,
        };
        let info = self
            .queue
            .link
            .retry(about, async || Ok(self.consumer.get_info().await?))?;
        Ok(Backlog {
            queued: info.num_pending,
            in_hand: info.num_ack_pending as u64,
        })
    }
}

/// Why the server ended a request for items.
fn ended(text: String) -> Failure {
    match text {
        text if text.contains("Consumer Deleted") => Failure::NotFound,
        text if text.contains("503") || text.contains("409") => Failure::Away(text),
        text => from_text(text),
    }
}
