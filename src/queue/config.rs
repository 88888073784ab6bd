//! Settings of the queue: the servers of a NATS cluster, and how files reach the workers.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::address::parse_server;
use crate::units::{ByteSize, Invalid};

/// Settings of the queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Servers of one NATS cluster; empty: no queue.
    pub url: Servers,
    /// File with the key: `user:password`, a token, the seed of an nkey, or the text of a `.creds` file.
    /// `INGEST_QUEUE_KEY` (the same text) takes precedence.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Whether a password or token may be sent unencrypted to another machine. An nkey and a `.creds` file sign a challenge
    /// of the server and are never sent.
    pub key_over_plain: bool,
    /// Certificate of a private certificate authority, PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Servers that keep each stream and bucket: 1, 3 or 5.
    pub replicas: usize,
    /// How workers get the files.
    pub files: FileAccess,
    /// Maximum size of the uploaded files.
    pub keep: ByteSize,
    /// Folder of fetched files of a worker; empty: `ingest/files` in the platform's cache folder.
    pub cache: PathBuf,
    /// Maximum size of that folder.
    pub cache_limit: ByteSize,
    /// An item whose worker gives no sign of life for so many seconds goes to another.
    pub lease_s: u64,
}

/// Optional keys of [`Config`].
pub const OPTIONAL_KEYS: [&str; 2] = ["key_file", "ca_file"];

impl Config {
    /// The queue at `url` with default settings.
    pub fn new(url: Servers) -> Self {
        Self {
            url,
            key_file: None,
            key_over_plain: false,
            ca_file: None,
            replicas: 1,
            files: FileAccess::Auto,
            keep: ByteSize(50_000_000_000),
            cache: PathBuf::new(),
            cache_limit: ByteSize(20_000_000_000),
            lease_s: 60,
        }
    }

    /// Checks the ranges of the values.
    ///
    /// # Errors
    /// The first key whose value is out of range.
    pub fn validate(&self) -> Result<(), Invalid> {
        let invalid = |key, reason| Err(Invalid { key, reason });
        if ![1, 3, 5].contains(&self.replicas) {
            return invalid("replicas", "must be 1, 3 or 5");
        }
        if !(1..=86_400).contains(&self.lease_s) {
            return invalid("lease_s", "must be at least 1 and at most 86400");
        }
        if self.keep.0 == 0 || i64::try_from(self.keep.0).is_err() {
            return invalid("keep", "must be at least 1 B and below 9 EB");
        }
        Ok(())
    }

    /// The folder of fetched files: `cache`, or the one in the platform's cache folder; `None` where there is no home folder.
    pub fn cache_folder(&self) -> Option<PathBuf> {
        if !self.cache.as_os_str().is_empty() {
            return Some(self.cache.clone());
        }
        let folders = etcetera::base_strategy::choose_native_strategy().ok()?;
        Some(etcetera::BaseStrategy::cache_dir(&folders).join("ingest/files"))
    }
}

/// How workers get the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FileAccess {
    /// By the path that the item names, where it has the same content on the worker's machine; else from the queue.
    Auto,
    /// By that path only: nothing is uploaded.
    Shared,
    /// From the queue only.
    Queue,
}

/// Addresses of the servers of one NATS cluster, `nats://` or `tls://`; empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ServersValue", into = "String")]
pub struct Servers(Vec<String>);

impl Servers {
    /// Whether there is no server.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The addresses in the order given: scheme, host and port.
    pub fn addresses(&self) -> &[String] {
        &self.0
    }
}

/// Form of the addresses in a configuration file: `"a"`, or `["a", "b"]`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text, or a list of texts")]
enum ServersValue {
    One(String),
    Many(Vec<String>),
}

impl TryFrom<ServersValue> for Servers {
    type Error = String;

    fn try_from(value: ServersValue) -> Result<Self, String> {
        match value {
            ServersValue::One(one) => one.parse(),
            ServersValue::Many(many) => many.join(",").parse(),
        }
    }
}

impl FromStr for Servers {
    type Err = String;

    /// Parses comma-separated server addresses; the empty text is no server. Errors never repeat a password.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        text.split(',')
            .map(parse_server)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl From<Servers> for String {
    fn from(servers: Servers) -> Self {
        servers.to_string()
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_as_servers() {
        for (text, expected) in [
            ("", ""),
            ("nats://127.0.0.1:4222/", "nats://127.0.0.1:4222"),
            ("TLS://a:1, nats://b", "tls://a:1,nats://b"),
            ("nats://[::1]:4222", "nats://[::1]:4222"),
        ] {
            assert_eq!(text.parse::<Servers>().unwrap().to_string(), expected);
        }
        for wrong in [
            "nats://",
            "nats://:4222",
            "nats://a,b",
            "nats://user:secret@a",
            "http://a:4222",
            "a:4222",
            "nats://a/path",
            "nats://a:0",
            "nats://a:99999",
        ] {
            let why = wrong.parse::<Servers>().unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let config = Config::new(Servers::default());
        assert_eq!(config.validate(), Ok(()));
        for (key, wrong) in [
            (
                "replicas",
                Config {
                    replicas: 2,
                    ..config.clone()
                },
            ),
            (
                "lease_s",
                Config {
                    lease_s: 0,
                    ..config.clone()
                },
            ),
            (
                "keep",
                Config {
                    keep: ByteSize(u64::MAX),
                    ..config
                },
            ),
        ] {
            assert_eq!(wrong.validate().unwrap_err().key, key);
        }
    }
}
