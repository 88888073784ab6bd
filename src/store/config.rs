//! Which store, and where: a SQLite file, or the nodes of a Weaviate cluster.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Error, Precision};
use crate::units::ByteSize;

/// Which store, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where pages are kept.
    pub url: Address,
    /// The largest size a file may grow to; beyond it the store is full. None: as large as the disk allows.
    #[serde(default)]
    pub limit: Option<ByteSize>,
    /// How a file keeps vectors; none is [`Precision::F16`], and takes what is there.
    #[serde(default)]
    pub precision: Option<Precision>,
    /// The pool factor of a first stage in a file: a search compares pages by their pooled vectors, and the best of them
    /// by all; 1 is no such stage, none is 1, and takes what is there.
    #[serde(default)]
    pub first_stage: Option<u32>,
    /// The collection of a server that holds the pages; another one beside it, with `Manual` appended, the manuals.
    pub collection: String,
    /// The tenant of a server that many share; empty: the collection knows no tenants.
    pub tenant: String,
    /// Pages that the collection will hold one day: decides between [`Index::Raw`] and [`Index::Muvera`].
    pub expected_pages: u64,
    /// How a server indexes vectors; none lets `expected_pages` decide, and takes what is there.
    #[serde(default)]
    pub index: Option<Index>,
    /// How a server compresses its index; none is [`Quantiser::None`], and takes what is there.
    #[serde(default)]
    pub quantiser: Option<Quantiser>,
    /// Nodes that hold each page; none is one, and takes what is there.
    #[serde(default)]
    pub replication: Option<u32>,
    /// Shards of the collection; none is one a node, and takes what is there.
    #[serde(default)]
    pub shards: Option<u32>,
    /// A file that holds the API key; `WEAVIATE_API_KEY` wins over it.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Whether the key may travel unencrypted to another machine.
    pub key_over_http: bool,
    /// The certificate of one's own authority, PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Seconds until an answer of a server is given up.
    pub timeout_s: u64,
}

/// Keys of [`Config`] that may be left unset.
pub const OPTIONAL: [&str; 9] = [
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

/// Up to so many expected pages the vectors themselves are indexed.
///
/// Weaviate 1.39.3 on 2 cores puts 4 pages/s of 750 vectors into a raw index and 250 into MUVERA
/// (`benches/peer/weaviate.sh`); such a page takes 0.7 MB of its memory there, 11 KB here.
const MOST_RAW: u64 = 5_000;

impl Config {
    /// The store at `url` with nothing special about it.
    pub fn at(url: Address) -> Self {
        Self {
            url,
            limit: None,
            precision: None,
            first_stage: None,
            collection: "PdfPage".to_owned(),
            tenant: String::new(),
            expected_pages: MOST_RAW,
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

    /// What is wrong with it: the key, and why.
    pub fn flaw(&self) -> Option<(&'static str, &'static str)> {
        if self.first_stage == Some(0) {
            return Some(("first_stage", "must be at least 1"));
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_class = self
            .collection
            .starts_with(|c: char| c.is_ascii_uppercase());
        if !is_class || !self.collection.chars().all(word) {
            return Some((
                "collection",
                "must be letters, digits and `_`, the first a capital",
            ));
        }
        if self.tenant.len() > 64 || !self.tenant.chars().all(|c| word(c) || c == '-') {
            return Some(("tenant", "must be at most 64 letters, digits, `_` and `-`"));
        }
        if !self.tenant.is_empty() && self.shards.is_some() {
            return Some((
                "shards",
                "cannot be chosen for a tenant, who has one of its own",
            ));
        }
        if self.timeout_s == 0 || self.replication == Some(0) || self.shards == Some(0) {
            return Some((
                "timeout_s, store.replication, store.shards",
                "must be at least 1",
            ));
        }
        None
    }

    /// The index that a new collection gets.
    pub fn index(&self) -> Index {
        self.index.unwrap_or(if self.expected_pages > MOST_RAW {
            Index::Muvera
        } else {
            Index::Raw
        })
    }
}

/// How a server indexes multi-vectors; stands for ever once a collection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Index {
    /// HNSW over every vector of every page.
    Raw,
    /// HNSW over one fixed-dimensional encoding a page (Dhulipala et al. 2024), the best rescored by MaxSim.
    Muvera,
}

/// How a server compresses what its index holds in memory. Scores are exact all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Quantiser {
    /// Not at all.
    #[serde(rename = "none")]
    None,
    /// Rotational, 8 bits a number.
    #[serde(rename = "rq-8")]
    #[value(name = "rq-8")]
    Rq8,
    /// Rotational, 1 bit a number.
    #[serde(rename = "rq-1")]
    #[value(name = "rq-1")]
    Rq1,
    /// Binary, 1 bit a number.
    #[serde(rename = "bq")]
    Bq,
}

/// The name of a choice, as it is written in `config.toml`.
pub(super) fn name(choice: impl Serialize) -> String {
    match serde_json::to_value(choice) {
        Ok(serde_json::Value::String(name)) => name,
        other => format!("{other:?}"),
    }
}

/// Where pages are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub enum Address {
    /// A SQLite file; the empty path is the one in the platform's data folder.
    File(PathBuf),
    /// Nodes of one Weaviate cluster, `http://` or `https://`; whichever answers is asked.
    Servers(Vec<String>),
}

/// As it stands in a file: `"a"`, or `["a", "b"]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<Written> for Address {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::One(one) => one.parse(),
            Written::Many(many) => many.join(",").parse(),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    /// A path, or addresses with commas between.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !is_server(text) {
            return Ok(Self::File(text.into()));
        }
        text.split(',')
            .map(server)
            .collect::<Result<_, _>>()
            .map(Self::Servers)
    }
}

fn is_server(text: &str) -> bool {
    let starts = |scheme: &str| {
        text.get(..scheme.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(scheme))
    };
    starts("http://") || starts("https://")
}

/// One address, without what stands behind the port. Nothing of a wrong one is repeated: it may hold a password.
fn server(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let (_, rest) = text.split_once("://").unwrap_or_default();
    match rest {
        _ if !is_server(text) => {
            Err("a list of addresses must hold servers only, http:// or https://".to_owned())
        }
        "" => Err("an address of a server lacks its name".to_owned()),
        rest if rest.contains('@') => {
            Err("an address holds a password; the key belongs into WEAVIATE_API_KEY".to_owned())
        }
        rest if rest.contains(['/', '?', '#', ' ']) => {
            Err("an address of a server ends with its name or port".to_owned())
        }
        _ => Ok(text.to_owned()),
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

/// A file or folder in the platform's data folder.
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
    fn addresses_are_files_or_servers() {
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

    #[test]
    fn the_expected_pages_choose_the_index() {
        let mut config = Config::at(Address::File(PathBuf::new()));
        assert_eq!(config.index(), Index::Raw);
        config.expected_pages = MOST_RAW + 1;
        assert_eq!(config.index(), Index::Muvera);
        config.index = Some(Index::Raw);
        assert_eq!(config.index(), Index::Raw);
    }
}
