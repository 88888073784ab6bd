//! Why a store cannot do what it was asked. `at` is a path or URL, never with a key in it.

/// Why a store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be opened.
    #[error("the store {at} cannot be opened: {why}")]
    Open {
        /// Path or URL.
        at: String,
        /// What is wrong.
        why: String,
    },
    /// Nothing was ever stored, or the file is not there yet.
    #[error("nothing has been stored in {at} yet")]
    Empty {
        /// Path or URL.
        at: String,
    },
    /// Another run writes to it.
    #[error("the store {at} is in use by another run")]
    Locked {
        /// Path or URL.
        at: String,
    },
    /// Written by a newer version of this program.
    #[error("the store {at} has version {found}; this program knows up to {known}")]
    TooNew {
        /// Path or URL.
        at: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A server that lacks what we need of it.
    #[error("the server {at} is Weaviate {found}; {least} or newer is needed")]
    TooOld {
        /// URL.
        at: String,
        /// Its version.
        found: String,
        /// The oldest that will do.
        least: String,
    },
    /// No room left.
    #[error("the store {at} is full: {why}")]
    Full {
        /// Path or URL.
        at: String,
        /// What the store said.
        why: String,
    },
    /// A server that does not answer, or cannot take anything at present.
    #[error("the server {at} is away: {why}")]
    Unavailable {
        /// URL.
        at: String,
        /// What was tried and how it ended.
        why: String,
        /// Whether it answers with a certificate that is not trusted.
        untrusted: bool,
    },
    /// The API key is missing or wrong.
    #[error("the server {at} wants another API key: {why}")]
    Key {
        /// URL.
        at: String,
        /// What the server said.
        why: String,
    },
    /// The API key would travel in the clear.
    #[error("the API key would go unencrypted to {at}")]
    KeyInTheClear {
        /// URL.
        at: String,
    },
    /// A collection that differs in what cannot be changed any more.
    #[error(
        "the collection {at} has {what} {found}, the settings want {wanted}; that cannot be changed once it is made"
    )]
    Differs {
        /// URL and collection.
        at: String,
        /// The property.
        what: String,
        /// Its value.
        found: String,
        /// Ours.
        wanted: String,
    },
    /// A collection whose vectors are those of another model.
    #[error(
        "the collection {at} holds vectors of `{found}` ({found_id}), not of `{made}` ({made_id})"
    )]
    Foreign {
        /// URL and collection.
        at: String,
        /// The model that filled it.
        found: String,
        /// Its profile.
        found_id: String,
        /// The model at hand.
        made: String,
        /// Its profile.
        made_id: String,
    },
    /// Nothing was ever stored with this model.
    #[error("the store {at} holds no pages of the model `{model}`")]
    NoCollection {
        /// Path or URL.
        at: String,
        /// The model asked for.
        model: String,
    },
    /// Vectors of another width.
    #[error("the collection holds vectors of width {found}, this model makes {made}")]
    Width {
        /// Stored.
        found: u32,
        /// Made.
        made: u32,
    },
    /// The store failed.
    #[error("the store {at} failed: {why}")]
    Failed {
        /// Path or URL.
        at: String,
        /// What it said.
        why: String,
    },
}

impl Error {
    pub(super) fn open(at: &str, why: &str) -> Self {
        Self::Open {
            at: at.to_owned(),
            why: why.to_owned(),
        }
    }

    pub(super) fn failed(at: &str, why: &str) -> Self {
        Self::Failed {
            at: at.to_owned(),
            why: why.to_owned(),
        }
    }
}
