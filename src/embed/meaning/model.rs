//! The text models, and the setting that chooses one.

use crate::checkpoint::Error;

/// The multilingual model on the hub.
pub(super) const HUB_ID: &str = "intfloat/multilingual-e5-small";
/// Its licence, for lists.
const MULTILINGUAL_LICENCE: &str = "MIT";
/// Identity of the rows: the recipe's version. The weights are those of [`HUB_ID`].
const MULTILINGUAL_PROFILE: &str = "multilingual-e5-small-1";
/// Maximum memory of the loaded model at work on two threads, in bytes: a run measured 636 MB more than one without it, of which
/// 300 MB are the tokenizer and 150 MB pages of the file.
const MULTILINGUAL_MEMORY: u64 = 660_000_000;
/// Bytes to download.
const MULTILINGUAL_DOWNLOAD: u64 = 488_000_000;

/// A text model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// all-MiniLM-L6-v2, part of the program.
    English,
    /// multilingual-e5-small, downloaded from the hub when it is first used.
    Multilingual,
}

impl Model {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::English, Self::Multilingual];

    /// Display name.
    pub fn name(self) -> &'static str {
        match self {
            Self::English => super::MODEL,
            Self::Multilingual => HUB_ID,
        }
    }

    /// Its licence, for lists.
    pub fn licence(self) -> &'static str {
        match self {
            Self::English => super::LICENCE,
            Self::Multilingual => MULTILINGUAL_LICENCE,
        }
    }

    /// Identity of its rows.
    pub fn profile(self) -> &'static str {
        match self {
            Self::English => super::PROFILE,
            Self::Multilingual => MULTILINGUAL_PROFILE,
        }
    }

    /// Maximum memory of the loaded model at work on two threads, in bytes.
    pub fn memory(self) -> u64 {
        match self {
            Self::English => super::MEMORY,
            Self::Multilingual => MULTILINGUAL_MEMORY,
        }
    }

    /// Bytes to download; 0 if it is part of the program.
    pub fn download(self) -> u64 {
        match self {
            Self::English => 0,
            Self::Multilingual => MULTILINGUAL_DOWNLOAD,
        }
    }

    /// The error that it is invalid.
    pub(super) fn invalid(self, why: String) -> Error {
        Error::Weights {
            model: self.name().into(),
            why,
        }
    }

    /// The value of `embed.meaning` that chooses it.
    pub fn setting(self) -> &'static str {
        match self {
            Self::English => "true",
            Self::Multilingual => "\"multilingual\"",
        }
    }
}

/// The setting `embed.meaning`: `false`, `true` for the English model, or the name of the other one.
pub mod setting {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    use super::Model;

    /// The name of the multilingual model.
    pub(super) const MULTILINGUAL: &str = "multilingual";

    /// Writes the setting.
    ///
    /// # Errors
    /// If the format cannot.
    pub fn serialize<S: Serializer>(model: &Option<Model>, to: S) -> Result<S::Ok, S::Error> {
        match model {
            None => to.serialize_bool(false),
            Some(Model::English) => to.serialize_bool(true),
            Some(Model::Multilingual) => to.serialize_str(MULTILINGUAL),
        }
    }

    /// Reads the setting.
    ///
    /// # Errors
    /// If it has another value.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Model>, D::Error> {
        from.deserialize_any(Value)
    }

    struct Value;

    impl Visitor<'_> for Value {
        type Value = Option<Model>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "true, false or \"{MULTILINGUAL}\"")
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<Option<Model>, E> {
            Ok(value.then_some(Model::English))
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<Option<Model>, E> {
            match value {
                MULTILINGUAL => Ok(Some(Model::Multilingual)),
                other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
            }
        }
    }
}
