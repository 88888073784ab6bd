//! Store configuration: a SQLite file, or the nodes of a Weaviate cluster.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::address::{self, is_server, parse_server};
use super::{Error, Precision};
use crate::units::{ByteSize, Invalid};

/// Store configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of the store.
    pub url: Address,
    /// Maximum size of a file; `None`: limited by the disk only.
    #[serde(default)]
    pub limit: Option<ByteSize>,
    /// Storage precision of a file; `None` is [`Precision::F16`] for a new collection, and accepts that of an existing one.
    #[serde(default)]
    pub precision: Option<Precision>,
    /// Pool factor of the first stage of a file: a search ranks pages by pooled vectors and rescores the best with all
    /// vectors. 1 means no first stage; `None` is 1 for a new collection, and accepts that of an existing one.
    #[serde(default)]
    pub first_stage: Option<u32>,
    /// The page collection of a server; the collection of manuals has `Manual` appended to this name.
    pub collection: String,
    /// The tenant in a multi-tenant collection; empty: no multi-tenancy.
    pub tenant: String,
    /// Expected size of the collection in pages: decides between [`Index::Raw`] and [`Index::Muvera`].
    pub expected_pages: u64,
    /// Vector index of a server; `None` lets `expected_pages` decide, and accepts that of an existing collection.
    #[serde(default)]
    pub index: Option<Index>,
    /// Quantization of the server's index; `None` is [`Quantiser::None`], and accepts that of an existing collection.
    #[serde(default)]
    pub quantiser: Option<Quantiser>,
    /// Replication factor; `None` is 1, and accepts that of an existing collection.
    #[serde(default)]
    pub replication: Option<u32>,
    /// Shards of the collection; `None` is one per node, and accepts that of an existing collection.
    #[serde(default)]
    pub shards: Option<u32>,
    /// File with the API key; `WEAVIATE_API_KEY` takes precedence.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Whether the key may be sent unencrypted to another machine.
    pub key_over_http: bool,
    /// Certificate of a private certificate authority, PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Request timeout in seconds.
    pub timeout_s: u64,
}

/// Optional keys of [`Config`].
pub const OPTIONAL_KEYS: [&str; 9] = [
    "limit",
    "precision",
    "first_stage",
    "index",
    "quantiser",
    "replication",
    "shards",
    "key_file",
    "ca_file",
];

/// Expected pages up to which the vectors themselves are indexed ([`Index::Raw`]).
///
/// Weaviate 1.39.3 on 2 cores puts 4 pages/s of 750 vectors into a raw index and 250 into MUVERA
/// (`benches/peer/weaviate.sh`); such a page takes 0.7 MB of its memory in the raw index, 11 KB in MUVERA.
pub(super) const MAX_RAW_PAGES: u64 = 5_000;

impl Config {
    /// The store at `url` with default settings.
    pub fn new(url: Address) -> Self {
        Self {
            url,
            limit: None,
            precision: None,
            first_stage: None,
            collection: "PdfPage".to_owned(),
            tenant: String::new(),
            expected_pages: MAX_RAW_PAGES,
            index: None,
            quantiser: None,
            replication: None,
            shards: None,
            key_file: None,
            key_over_http: false,
            ca_file: None,
            timeout_s: 60,
        }
    }

    /// Checks the ranges of the values.
    ///
    /// # Errors
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), Invalid> {
        let invalid = |key, reason| Err(Invalid { key, reason });
        if self.first_stage == Some(0) {
            return invalid("first_stage", "must be at least 1");
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_class = self
            .collection
            .starts_with(|c: char| c.is_ascii_uppercase());
        if !is_class || !self.collection.chars().all(word) {
            let reason = "must be letters, digits and `_`, the first a capital";
            return invalid("collection", reason);
        }
        if self.tenant.len() > 64 || !self.tenant.chars().all(|c| word(c) || c == '-') {
            return invalid("tenant", "must be at most 64 letters, digits, `_` and `-`");
        }
        if !self.tenant.is_empty() && self.shards.is_some() {
            let reason = "cannot be set for a tenant, which has its own shard";
            return invalid("shards", reason);
        }
        if self.timeout_s == 0 || self.replication == Some(0) || self.shards == Some(0) {
            let keys = "timeout_s, store.replication, store.shards";
            return invalid(keys, "must be at least 1");
        }
        Ok(())
    }
}

/// Index of multi-vectors on a server; cannot be changed once a collection exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Index {
    /// HNSW over every vector of every page.
    Raw,
    /// HNSW over one fixed-dimensional encoding per page (Dhulipala et al. 2024); the best are rescored by MaxSim.
    Muvera,
}

/// Quantization of the server's in-memory index. Scores are exact in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Quantiser {
    /// No quantization.
    #[serde(rename = "none")]
    None,
    /// Rotational, 8 bits per value.
    #[serde(rename = "rq-8")]
    #[value(name = "rq-8")]
    Rq8,
    /// Rotational, 1 bit per value.
    #[serde(rename = "rq-1")]
    #[value(name = "rq-1")]
    Rq1,
    /// Binary, 1 bit per value.
    #[serde(rename = "bq")]
    Bq,
}

/// The name of a value in `config.toml`.
pub(super) fn serialized_name(choice: impl Serialize) -> String {
    match serde_json::to_value(choice) {
        Ok(serde_json::Value::String(name)) => name,
        other => format!("{other:?}"),
    }
}

/// Address of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AddressValue", into = "String")]
pub enum Address {
    /// A SQLite file; the empty path means the one in the platform's data folder.
    File(PathBuf),
    /// Nodes of one Weaviate cluster, `http://` or `https://`; any available one is used.
    Servers(Vec<String>),
}

/// Form of an address in a configuration file: `"a"`, or `["a", "b"]`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text, or a list of texts")]
enum AddressValue {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<AddressValue> for Address {
    type Error = String;

    fn try_from(value: AddressValue) -> Result<Self, String> {
        match value {
            AddressValue::One(one) => one.parse(),
            AddressValue::Many(many) => many.join(",").parse(),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// Parses a path, or comma-separated server addresses.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !is_server(text) {
            return address::check_file(text).map(|()| Self::File(text.into()));
        }
        text.split(',')
            .map(parse_server)
            .collect::<Result<_, _>>()
            .map(Self::Servers)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Servers(all) => f.write_str(&all.join(",")),
        }
    }
}

/// Path of a file or folder in the platform's data folder.
pub(super) fn in_data_folder(name: &str) -> Result<PathBuf, Error> {
    let folders = etcetera::base_strategy::choose_native_strategy()
        .map_err(|cause| Error::open("", &cause.to_string()))?;
    Ok(etcetera::BaseStrategy::data_dir(&folders)
        .join("ingest")
        .join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_as_files_or_servers() {
        let servers = |list: &[&str]| {
            Ok(Address::Servers(
                list.iter().map(ToString::to_string).collect(),
            ))
        };
        for (text, expected) in [
            ("", Ok(Address::File(PathBuf::new()))),
            ("shelf/a,b.db", Ok(Address::File("shelf/a,b.db".into()))),
            (
                "http://127.0.0.1:8080/",
                servers(&["http://127.0.0.1:8080"]),
            ),
            (
                "HTTPS://a, http://b:1",
                servers(&["HTTPS://a", "http://b:1"]),
            ),
        ] {
            assert_eq!(text.parse::<Address>(), expected);
        }
        for wrong in [
            "http://",
            "http://a,b.db",
            "http://u:secret@a",
            "http://a/v1",
        ] {
            let why = wrong.parse::<Address>().unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
