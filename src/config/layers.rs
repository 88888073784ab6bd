//! Layered settings: TOML tables merged in order of precedence, keys checked against `config.toml`.

use std::path::Path;

use toml::{Table, Value};

use super::{Error, Settings};
use crate::{queue, store};

/// The defaults: the shipped `config.toml`.
const DEFAULTS: &str = include_str!("../../config.toml");
/// Keys without a default.
const OPTIONAL: [&str; 3] = ["embed.max_visual_tokens", "embed.width", "serve.key_file"];
/// Variables that look like settings and are secrets, which no file may contain.
const SECRETS: [&str; 2] = ["INGEST_SERVE_KEY", "INGEST_QUEUE_KEY"];

/// The merged table, and all valid keys.
pub(super) struct Layers {
    table: Table,
    known_keys: Vec<String>,
}

impl Layers {
    pub(super) fn new() -> Result<Self, Error> {
        let table: Table = DEFAULTS
            .parse()
            .map_err(|e| file_error(Path::new("config.toml"), &e))?;
        let mut known_keys: Vec<String> = keys(&table).map(|(key, _)| key).collect();
        known_keys.extend(OPTIONAL.iter().map(ToString::to_string));
        known_keys.extend(
            store::OPTIONAL_KEYS
                .iter()
                .map(|key| format!("store.{key}")),
        );
        known_keys.extend(
            queue::OPTIONAL_KEYS
                .iter()
                .map(|key| format!("queue.{key}")),
        );
        Ok(Self { table, known_keys })
    }

    pub(super) fn file(&mut self, path: &Path, must_exist: bool) -> Result<(), Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(()),
            Err(e) => return Err(file_error(path, &e)),
        };
        let table: Table = text
            .parse()
            .map_err(|e| file_error(path, &located(&text, &e)))?;
        self.merge(path.display().to_string(), table)
    }

    pub(super) fn profile(&mut self, name: &str) -> Result<(), Error> {
        let profiles = self.table.get("profile").and_then(Value::as_table);
        let chosen = profiles
            .and_then(|p| p.get(name))
            .and_then(Value::as_table)
            .cloned();
        let known = || {
            profiles
                .map(|p| p.keys().cloned().collect::<Vec<_>>().join(", "))
                .unwrap_or_default()
        };
        let chosen = chosen.ok_or_else(|| Error::Profile {
            name: name.into(),
            known: known(),
        })?;
        self.merge(
            format!("profile {name}"),
            Table::from_iter([("limits".to_owned(), Value::Table(chosen))]),
        )
    }

    /// `INGEST_EMBED_MODEL=…` sets `embed.model`; variables that do not name a section are ignored.
    pub(super) fn variable(&mut self, name: &str, value: &str) -> Result<(), Error> {
        if SECRETS.contains(&name) {
            return Ok(());
        }
        let Some(rest) = name.strip_prefix("INGEST_").map(str::to_ascii_lowercase) else {
            return Ok(());
        };
        let Some((section, key)) = rest.split_once('_') else {
            return Ok(());
        };
        if !self.table.get(section).is_some_and(Value::is_table) || section == "profile" {
            return Ok(());
        }
        let number = value
            .parse()
            .map(Value::Integer)
            .or_else(|_| value.parse().map(Value::Float))
            .or_else(|_| value.parse().map(Value::Boolean));
        self.merge(
            name.into(),
            nested(
                section,
                key,
                number.unwrap_or_else(|_| Value::String(value.into())),
            ),
        )
    }

    pub(super) fn merge(&mut self, origin: String, layer: Table) -> Result<(), Error> {
        for (key, _) in keys(&layer) {
            if !self.is_known(&key) {
                let nearest = self.nearest(&key);
                return Err(Error::Unknown {
                    origin,
                    key,
                    nearest,
                });
            }
        }
        merge_tables(&mut self.table, layer);
        self.settings(&origin).map(drop)
    }

    /// Whether a key exists; a user's profile may set the same keys as the shipped one.
    fn is_known(&self, key: &str) -> bool {
        let profile_key = key
            .strip_prefix("profile.")
            .and_then(|rest| rest.split_once('.'));
        self.known_keys.iter().any(|known| {
            known == key || profile_key.is_some_and(|(_, k)| *known == format!("limits.{k}"))
        })
    }

    fn nearest(&self, key: &str) -> Option<String> {
        let distance = |known: &&String| strsim::damerau_levenshtein(known, key);
        self.known_keys
            .iter()
            .min_by_key(distance)
            .filter(|known| distance(known) <= 1 + key.len() / 3)
            .cloned()
    }

    pub(super) fn settings(&self, origin: &str) -> Result<Settings, Error> {
        let value = Value::Table(self.table.clone());
        value.try_into().map_err(|e: toml::de::Error| Error::Value {
            origin: origin.into(),
            why: e.message().into(),
        })
    }
}

fn file_error(file: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::File {
        file: file.into(),
        why: why.to_string().trim_end().to_owned(),
    }
}

/// A syntax error in one line, with the number of its line.
fn located(text: &str, error: &toml::de::Error) -> String {
    let why = error.message().replace('\n', ", ");
    let before = error.span().and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!("line {}: {why}", before.matches('\n').count() + 1),
        None => why,
    }
}

pub(super) fn nested(section: &str, key: &str, value: Value) -> Table {
    let inner = Table::from_iter([(key.to_owned(), value)]);
    Table::from_iter([(section.to_owned(), Value::Table(inner))])
}

/// The leaf values of a table with their dotted keys.
fn keys(table: &Table) -> Box<dyn Iterator<Item = (String, &Value)> + '_> {
    Box::new(table.iter().flat_map(|(key, value)| match value {
        Value::Table(inner) => Box::new(keys(inner).map(move |(k, v)| (format!("{key}.{k}"), v))),
        leaf => Box::new(std::iter::once((key.clone(), leaf))) as Box<dyn Iterator<Item = _>>,
    }))
}

fn merge_tables(base: &mut Table, overlay: Table) {
    for (key, value) in overlay {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(overlay)) => merge_tables(base, overlay),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that are in users' files and variables. Keys may be added, never removed.
    const KEYS: [&str; 68] = [
        "ask.max_tokens",
        "ask.pages",
        "describe.attempts",
        "describe.canary_every",
        "describe.command",
        "describe.deadline_s",
        "describe.interleave",
        "describe.key_over_http",
        "describe.lanes",
        "describe.max_tokens",
        "describe.megapixels",
        "describe.model",
        "describe.runner",
        "describe.unload_every",
        "describe.url",
        "embed.device",
        "embed.engine",
        "embed.max_visual_tokens",
        "embed.meaning",
        "embed.model",
        "embed.pool_factor",
        "embed.width",
        "limits.batch_size",
        "limits.memory_fraction",
        "limits.memory_limit",
        "profile.studio.batch_size",
        "profile.studio.memory_fraction",
        "profile.studio.memory_limit",
        "queue.ca_file",
        "queue.cache",
        "queue.cache_limit",
        "queue.files",
        "queue.keep",
        "queue.key_file",
        "queue.key_over_plain",
        "queue.lease_s",
        "queue.replicas",
        "queue.url",
        "render.deadline_s",
        "render.dpi",
        "render.max_megapixels",
        "render.worker_memory",
        "render.workers",
        "search.count",
        "search.mode",
        "serve.address",
        "serve.base",
        "serve.cache",
        "serve.folders",
        "serve.hosts",
        "serve.key_file",
        "serve.max_upload",
        "serve.origins",
        "store.ca_file",
        "store.collection",
        "store.expected_pages",
        "store.first_stage",
        "store.index",
        "store.key_file",
        "store.key_over_http",
        "store.limit",
        "store.precision",
        "store.quantiser",
        "store.replication",
        "store.shards",
        "store.tenant",
        "store.timeout_s",
        "store.url",
    ];

    #[test]
    fn keys_are_stable() {
        let mut known = Layers::new().unwrap().known_keys;
        known.sort();
        assert_eq!(known, KEYS);
    }

    #[test]
    fn golden_file_sets_every_key() {
        let golden: Table = include_str!("../../tests/golden/ingest.toml")
            .parse()
            .unwrap();
        let set: Vec<String> = keys(&golden).map(|(key, _)| key).collect();
        for key in KEYS {
            assert!(set.iter().any(|set| set == key), "{key}");
        }
    }
}
