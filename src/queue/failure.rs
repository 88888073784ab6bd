//! How a request ended that did not succeed, told from the errors of the client.

use std::error::Error as StdError;

use async_nats::jetstream::context::{
    ConsumerInfoError, ConsumerInfoErrorKind, CreateStreamError, CreateStreamErrorKind,
    GetStreamError, GetStreamErrorKind, PublishError, PublishErrorKind, RequestError,
    RequestErrorKind,
};
use async_nats::jetstream::stream::{
    ConsumerError, ConsumerErrorKind, DirectGetError, DirectGetErrorKind, PurgeError,
    PurgeErrorKind,
};
use async_nats::jetstream::{Error as ServerError, ErrorCode};
use async_nats::{StatusCode, jetstream};

/// Error code of the server: a message was not stored. The text tells why.
const NOT_STORED: ErrorCode = ErrorCode(10077);

/// A request that did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// No answer, or the servers are electing a leader: worth another try.
    Away(String),
    /// Nobody listens on the subject: no such stream, or its server has just started.
    NoStream,
    /// There is no such stream, consumer or message.
    NotFound,
    /// The item is in the queue already.
    Queued,
    /// The entry has another revision.
    Changed,
    /// The stream or the disk is full.
    Full(String),
    /// The message is too large.
    TooLarge,
    /// The user lacks the right.
    Forbidden(String),
    /// Anything else.
    Other(String),
}

impl Failure {
    /// Whether the same request may succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Away(_) | Self::NoStream)
    }
}

impl<E: StdError + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let text = error.to_string();
        let mut next: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(error) = next {
            if let Some(failure) = typed(error) {
                return failure;
            }
            next = error.source();
        }
        from_text(text)
    }
}

/// What the text says, where a cause was turned into one.
pub(super) fn from_text(text: String) -> Failure {
    let is_about = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if is_about(&["maximum bytes exceeded", "no space left"]) {
        Failure::Full(text)
    } else if is_about(&["timed out", "no responders", "broken pipe"]) {
        Failure::Away(text)
    } else {
        Failure::Other(text)
    }
}

fn typed(error: &(dyn StdError + 'static)) -> Option<Failure> {
    if let Some(error) = error.downcast_ref::<ServerError>() {
        return Some(from_server(error));
    }
    publishing(error)
        .or_else(|| requesting(error))
        .or_else(|| embedded(error).as_ref().map(from_server))
}

fn publishing(error: &(dyn StdError + 'static)) -> Option<Failure> {
    let error = error.downcast_ref::<PublishError>()?;
    match error.kind() {
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
            Some(Failure::Away(error.to_string()))
        }
        PublishErrorKind::StreamNotFound => Some(Failure::NoStream),
        PublishErrorKind::WrongLastSequence => Some(Failure::Changed),
        PublishErrorKind::MaxPayloadExceeded => Some(Failure::TooLarge),
        _ => None,
    }
}

fn requesting(error: &(dyn StdError + 'static)) -> Option<Failure> {
    let timed_out = || Some(Failure::Away("timed out".to_owned()));
    if let Some(error) = error.downcast_ref::<RequestError>() {
        return match error.kind() {
            RequestErrorKind::TimedOut => timed_out(),
            RequestErrorKind::NoResponders => Some(Failure::NoStream),
            _ => None,
        };
    }
    if let Some(error) = error.downcast_ref::<DirectGetError>() {
        return match error.kind() {
            DirectGetErrorKind::TimedOut => timed_out(),
            DirectGetErrorKind::NotFound => Some(Failure::NotFound),
            DirectGetErrorKind::ErrorResponse(StatusCode::NO_RESPONDERS, _) => {
                Some(Failure::NoStream)
            }
            _ => None,
        };
    }
    let kind = error.downcast_ref::<CreateStreamError>()?.kind();
    match kind {
        CreateStreamErrorKind::TimedOut => timed_out(),
        CreateStreamErrorKind::JetStreamUnavailable => Some(Failure::NoStream),
        CreateStreamErrorKind::NotFound => Some(Failure::NotFound),
        _ => None,
    }
}

/// The server's error inside one of the client's.
fn embedded(error: &(dyn StdError + 'static)) -> Option<ServerError> {
    if let Some(error) = error.downcast_ref::<CreateStreamError>()
        && let CreateStreamErrorKind::JetStream(inner) = error.kind()
    {
        return Some(inner);
    }
    if let Some(error) = error.downcast_ref::<GetStreamError>()
        && let GetStreamErrorKind::JetStream(inner) = error.kind()
    {
        return Some(inner);
    }
    if let Some(error) = error.downcast_ref::<ConsumerError>()
        && let ConsumerErrorKind::JetStream(inner) = error.kind()
    {
        return Some(inner);
    }
    if let Some(error) = error.downcast_ref::<ConsumerInfoError>()
        && let ConsumerInfoErrorKind::JetStream(inner) = error.kind()
    {
        return Some(inner);
    }
    if let Some(error) = error.downcast_ref::<PurgeError>()
        && let PurgeErrorKind::JetStream(inner) = error.kind()
    {
        return Some(inner);
    }
    None
}

pub(super) fn from_server(error: &jetstream::Error) -> Failure {
    let text = error.to_string();
    match error.error_code() {
        ErrorCode::STREAM_NOT_FOUND
        | ErrorCode::CONSUMER_NOT_FOUND
        | ErrorCode::NO_MESSAGE_FOUND => Failure::NotFound,
        NOT_STORED if text.contains("per subject") => Failure::Queued,
        NOT_STORED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => Failure::Full(text),
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE => Failure::Changed,
        _ if error.code() == 503 => Failure::Away(text),
        _ => Failure::Other(text),
    }
}
