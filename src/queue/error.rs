//! Errors of the queue. `location` is the address of the servers and never contains a key.

use std::path::PathBuf;

use crate::units::ByteSize;

/// Error of the queue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No server is configured.
    #[error("no queue is configured")]
    Unset,
    /// The key cannot be read, or is not one.
    #[error("the key of the queue cannot be used: {why}")]
    Key {
        /// Reason, without the key.
        why: String,
    },
    /// The key would be sent unencrypted.
    #[error("the key of the queue would go unencrypted to {location}")]
    UnencryptedKey {
        /// Address.
        location: String,
    },
    /// The certificate file cannot be read.
    #[error("the certificate {} cannot be used: {why}", .file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// Reason.
        why: String,
    },
    /// No server answers at the start.
    #[error("the queue {location} does not answer: {why}")]
    Unreachable {
        /// Addresses.
        location: String,
        /// What was tried and the result.
        why: String,
    },
    /// The server's certificate is not trusted, or the server does not speak TLS.
    #[error("no trusted connection to the queue {location}: {why}")]
    Untrusted {
        /// Addresses.
        location: String,
        /// Reason.
        why: String,
    },
    /// The key is missing or wrong.
    #[error("the queue {location} rejected the key: {why}")]
    Unauthorized {
        /// Addresses.
        location: String,
        /// Message of the server.
        why: String,
    },
    /// The server is too old.
    #[error("the queue {location} is NATS server {found}; {minimum} or newer is needed")]
    TooOld {
        /// Addresses.
        location: String,
        /// Its version.
        found: String,
        /// The oldest supported version.
        minimum: &'static str,
    },
    /// JetStream is not enabled.
    #[error("the NATS server {location} keeps nothing: JetStream is not enabled")]
    NoJetStream {
        /// Addresses.
        location: String,
    },
    /// A stream or bucket does not exist: no coordinator has used this queue yet.
    #[error("the queue {location} has no `{name}`: no run has been started on it yet")]
    Missing {
        /// Addresses.
        location: String,
        /// The stream or bucket.
        name: &'static str,
    },
    /// An existing stream or bucket has other settings than this program needs.
    #[error("`{name}` of the queue {location} has {what} {found}, {wanted} is needed")]
    SettingMismatch {
        /// Addresses.
        location: String,
        /// The stream, bucket or consumer.
        name: String,
        /// The property.
        what: &'static str,
        /// Its value.
        found: String,
        /// The value that is needed.
        wanted: String,
    },
    /// The user of the key lacks a right.
    #[error("the queue {location} does not permit this user to {what}: {why}")]
    Forbidden {
        /// Addresses.
        location: String,
        /// What was tried.
        what: String,
        /// Message of the server.
        why: String,
    },
    /// The server was away for too long.
    #[error("the queue {location} is unavailable: {why}")]
    Away {
        /// Addresses.
        location: String,
        /// What was tried and the result.
        why: String,
    },
    /// A request was given up because the caller wanted to stop.
    #[error("stopped before everything was in the queue")]
    Stopped,
    /// The files do not fit into the queue, or its disk is full.
    #[error("the queue {location} is full: {why}")]
    Full {
        /// Addresses.
        location: String,
        /// What does not fit where.
        why: String,
    },
    /// A name that cannot be part of a subject or key.
    #[error("`{name}` cannot be a name in the queue: {why}")]
    Name {
        /// The name.
        name: String,
        /// Reason.
        why: &'static str,
    },
    /// A value is larger than the server accepts.
    #[error("cannot {what}: larger than {limit}, the limit of the queue {location}")]
    TooLarge {
        /// Addresses.
        location: String,
        /// What was tried.
        what: String,
        /// The limit of the server.
        limit: ByteSize,
    },
    /// A local file cannot be read or written.
    #[error("{}: {why}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Reason.
        why: String,
    },
    /// A file has other content than its digest says.
    #[error("{} has changed since it was listed", .file.display())]
    Changed {
        /// The file.
        file: PathBuf,
    },
    /// An uploaded file is damaged.
    #[error("the file {digest} in the queue {location} is damaged: {why}")]
    Damaged {
        /// Addresses.
        location: String,
        /// SHA-256 of the file.
        digest: String,
        /// What is wrong.
        why: String,
    },
    /// The server refused a request.
    #[error("the queue {location} failed: {why}")]
    Failed {
        /// Addresses.
        location: String,
        /// What was tried and the message of the server.
        why: String,
    },
}
