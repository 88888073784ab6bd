//! Errors of a store. `location` is a path or URL and never contains a key.

use crate::page::PageId;

/// Error of a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be opened.
    #[error("the store {location} cannot be opened: {why}")]
    Open {
        /// Path or URL.
        location: String,
        /// Reason.
        why: String,
    },
    /// Nothing was ever stored, or the file does not exist yet.
    #[error("nothing has been stored in {location} yet")]
    Empty {
        /// Path or URL.
        location: String,
    },
    /// Another run writes to it.
    #[error("the store {location} is in use by another run")]
    Locked {
        /// Path or URL.
        location: String,
    },
    /// Written by a newer version of this program.
    #[error("the store {location} has version {found}; this program knows up to {known}")]
    TooNew {
        /// Path or URL.
        location: String,
        /// Its version.
        found: i64,
        /// The newest that this program reads.
        known: i64,
    },
    /// The server is too old.
    #[error("the server {location} is Weaviate {found}; {minimum} or newer is needed")]
    TooOld {
        /// URL.
        location: String,
        /// Its version.
        found: String,
        /// The oldest supported version.
        minimum: String,
    },
    /// What is stored of a page cannot be read.
    #[error("the store {location} failed: {page} is damaged: {why}")]
    Damaged {
        /// Path or URL.
        location: String,
        /// The page.
        page: PageId,
        /// What is wrong.
        why: String,
    },
    /// The disk, or the size limit of the file, is full.
    #[error("the store {location} is full: {why}")]
    Full {
        /// Path or URL.
        location: String,
        /// Message of the store.
        why: String,
    },
    /// A server does not respond, or cannot accept writes at present.
    #[error("the server {location} is unavailable: {why}")]
    Unavailable {
        /// URL.
        location: String,
        /// What was tried and the result.
        why: String,
        /// Kind of the outage.
        outage: Outage,
    },
    /// The API key is missing or wrong.
    #[error("the server {location} rejected the API key: {why}")]
    Unauthorized {
        /// URL.
        location: String,
        /// Message of the server.
        why: String,
    },
    /// The API key would be sent unencrypted.
    #[error("the API key would go unencrypted to {location}")]
    UnencryptedKey {
        /// URL.
        location: String,
    },
    /// An immutable setting of the collection differs.
    #[error(
        "the collection {location} has {what} {found}, the settings want {wanted}; it cannot be changed after creation"
    )]
    SettingMismatch {
        /// URL and collection.
        location: String,
        /// The property.
        what: String,
        /// Its value.
        found: String,
        /// The configured value.
        wanted: String,
    },
    /// The collection holds vectors of another model.
    #[error(
        "the collection {location} holds vectors of `{found}` ({found_id}), not of `{made}` ({made_id})"
    )]
    OtherModel {
        /// URL and collection.
        location: String,
        /// The model that filled it.
        found: String,
        /// Its profile.
        found_id: String,
        /// The current model.
        made: String,
        /// Its profile.
        made_id: String,
    },
    /// The store has no collection of this model.
    #[error("the store {location} holds no pages of the model `{model}`")]
    NoCollection {
        /// Path or URL.
        location: String,
        /// The requested model.
        model: String,
    },
    /// The vectors have another width.
    #[error("the collection holds vectors of width {found}, this model makes {made}")]
    WidthMismatch {
        /// Width of the stored vectors.
        found: u32,
        /// Width of the model's vectors.
        made: u32,
    },
    /// The store failed.
    #[error("the store {location} failed: {why}")]
    Failed {
        /// Path or URL.
        location: String,
        /// Message of the store.
        why: String,
    },
}

impl Error {
    pub(super) fn open(location: &str, why: &str) -> Self {
        Self::Open {
            location: location.to_owned(),
            why: why.to_owned(),
        }
    }

    pub(super) fn damaged(location: &str, page: &PageId, why: impl ToString) -> Self {
        Self::Damaged {
            location: location.to_owned(),
            page: page.clone(),
            why: why.to_string(),
        }
    }

    pub(super) fn failed(location: &str, why: &str) -> Self {
        Self::Failed {
            location: location.to_owned(),
            why: why.to_owned(),
        }
    }
}

/// Kind of an outage of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It does not respond, or cannot serve requests at present.
    Down,
    /// Its certificate is not trusted.
    Untrusted,
    /// The port answers, but not in HTTP.
    NotHttp,
    /// It takes no writes: its disk is nearly full.
    ReadOnly,
}
