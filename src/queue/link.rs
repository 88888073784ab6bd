//! The connection of a queue: runs requests to their end, tries them again while the servers are away, names their errors.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, StatusCode};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::events::Events;
use super::failure::{Failure, from_text};
use super::{Config, Error, connect};

/// Maximum time of one request.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time of an outage that a request waits through.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two attempts.
pub(super) const PAUSE: Duration = Duration::from_millis(200);
/// Status at the end of a batch of stored messages.
const END_OF_BATCH: u16 = 204;
/// Maximum time that a message nobody waits for may take to leave, and that they all may take at the end.
const HAND_OVER: Duration = Duration::from_secs(1);

/// What a request is about, for its errors.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    /// What is done, as in `read the results`.
    pub(super) what: &'a str,
    /// The stream or bucket.
    pub(super) name: &'static str,
    /// Part of the subjects that are used: a refusal with this text is about this request.
    pub(super) subject: &'a str,
}

/// A connection, and the thread that runs it.
pub(super) struct Link {
    runtime: Runtime,
    pub(super) client: Client,
    pub(super) context: Context,
    pub(super) location: String,
    events: Arc<Events>,
}

impl Link {
    /// Connects, and checks that the server keeps streams.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        let location = config.url.to_string();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("queue")
            .enable_all()
            .build()
            .map_err(|cause| Error::Unreachable {
                location: location.clone(),
                why: format!("no thread can be started: {cause}"),
            })?;
        let events = Arc::new(Events::new());
        let client = runtime.block_on(connect::connect(config, &events))?;
        let context = {
            let _inside = runtime.enter();
            ContextBuilder::new()
                .timeout(REQUEST_TIMEOUT)
                .build(client.clone())
        };
        let link = Self {
            runtime,
            client,
            context,
            location,
            events,
        };
        let about = Subject {
            what: "learn whether JetStream is enabled",
            name: "JetStream",
            subject: "$JS.API.INFO",
        };
        match link.once(about, connect::find_jetstream(&link.context)) {
            Err(Error::Missing { location, .. }) => Err(Error::NoJetStream { location }),
            other => other.map(|()| link),
        }
    }

    /// Why there is no connection; `None` if there is one.
    pub(super) fn outage(&self) -> Option<String> {
        self.events.outage()
    }

    /// Runs to the end.
    pub(super) fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.runtime.block_on(work)
    }

    /// Runs something that nobody waits for.
    pub(super) fn hand_over<F: Future>(&self, work: F) {
        // A message that cannot leave in time is lost, as it may be on its way.
        let _ = self.block_on(async { tokio::time::timeout(HAND_OVER, work).await });
    }

    /// Runs a request once.
    pub(super) fn once<T>(
        &self,
        about: Subject<'_>,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Error> {
        let done = self.block_on(self.guard(about, request));
        done.map_err(|failure| self.error(about, failure))
    }

    /// Runs a request until it succeeds, while the server is away for no longer than [`PATIENCE`].
    pub(super) fn retry<T>(
        &self,
        about: Subject<'_>,
        request: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let done = self.block_on(self.patiently(about, request));
        done.map_err(|failure| self.error(about, failure))
    }

    async fn patiently<T>(
        &self,
        about: Subject<'_>,
        mut request: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let start = Instant::now();
        loop {
            match self.guard(about, request()).await {
                Err(failure) if failure.is_passing() && start.elapsed() < PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }

    /// Waits for a request, or for the news that the user lacks the right: the request itself would just time out.
    pub(super) async fn guard<T>(
        &self,
        about: Subject<'_>,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut refusals = self.events.refusals();
        let refusal = pin!(refusals.about(about.subject));
        match select(pin!(request), refusal).await {
            Either::Left((done, _)) => done,
            Either::Right((text, _)) => Err(Failure::Forbidden(text)),
        }
    }

    /// The error of a failed request.
    pub(super) fn error(&self, about: Subject<'_>, failure: Failure) -> Error {
        let location = self.location.clone();
        let what = about.what;
        match failure {
            Failure::Away(why) => Error::Away {
                location,
                why: match self.outage() {
                    Some(outage) => format!("cannot {what}: {why} ({outage})"),
                    None => format!("cannot {what}: {why}"),
                },
            },
            Failure::NoStream | Failure::NotFound => Error::Missing {
                location,
                name: about.name,
            },
            Failure::Forbidden(why) => Error::Forbidden {
                location,
                what: what.to_owned(),
                why,
            },
            Failure::Full(why) => Error::Full { location, why },
            Failure::TooLarge => Error::TooLarge {
                location,
                what: what.to_owned(),
                limit: crate::units::ByteSize(self.client.max_payload() as u64),
            },
            Failure::Queued | Failure::Changed => Error::Failed {
                location,
                why: format!("cannot {what}: it has changed meanwhile"),
            },
            Failure::Other(why) => Error::Failed {
                location,
                why: format!("cannot {what}: {why}"),
            },
        }
    }

    /// Stored messages of a stream: those from the sequence `from` whose subject fits the filter, in order, `count` at most.
    /// Asks the stream itself (batched direct get, server 2.11): no consumer that a restart of the server would end.
    pub(super) async fn stored(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
        count: usize,
    ) -> Result<Vec<StreamMessage>, Failure> {
        let inbox = self.client.new_inbox();
        let mut replies = self.client.subscribe(inbox.clone()).await?;
        let request = json!({"seq": from, "next_by_subj": filter, "batch": count});
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let payload = request.to_string().into();
        self.client
            .publish_with_reply(subject, inbox, payload)
            .await?;
        let mut messages = Vec::new();
        loop {
            let reply = tokio::time::timeout(REQUEST_TIMEOUT, replies.next()).await;
            let reply = match reply {
                Ok(Some(reply)) => reply,
                // What has arrived is in order and without gaps.
                _ if !messages.is_empty() => return Ok(messages),
                _ => return Err(Failure::Away("timed out".to_owned())),
            };
            match reply.status {
                None => match StreamMessage::try_from(reply) {
                    Ok(message) => messages.push(message),
                    Err(cause) => return Err(from_text(cause.to_string())),
                },
                Some(StatusCode::NOT_FOUND) => return Ok(messages),
                Some(StatusCode::NO_RESPONDERS) => return Err(Failure::NoStream),
                Some(status) if status.as_u16() == END_OF_BATCH => return Ok(messages),
                Some(status) => {
                    let why = reply.description.unwrap_or_default();
                    return Err(Failure::Other(format!("{status} {why}")));
                }
            }
        }
    }
}

impl Drop for Link {
    /// Lets what nobody waits for leave, such as items that were handed back.
    fn drop(&mut self) {
        self.hand_over(self.client.flush());
    }
}
