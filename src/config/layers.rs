//! Settings laid over each other, later ones on top.

use std::path::Path;

use toml::{Table, Value};

use super::{Error, Settings};
use crate::store;

/// The shipped `config.toml` is the defaults.
const DEFAULTS: &str = include_str!("../../config.toml");
/// Keys that may be set but have no default.
const OPTIONAL: [&str; 1] = ["embed.max_visual_tokens"];

/// The table so far, and the keys that there are.
pub(super) struct Layers {
    table: Table,
    known: Vec<String>,
}

impl Layers {
    pub(super) fn new() -> Result<Self, Error> {
        let table: Table = DEFAULTS
            .parse()
            .map_err(|e| file_error(Path::new("config.toml"), &e))?;
        let mut known: Vec<String> = keys(&table).map(|(key, _)| key).collect();
        known.extend(OPTIONAL.iter().map(ToString::to_string));
        known.extend(
            store::OPTIONAL_KEYS
                .iter()
                .map(|key| format!("store.{key}")),
        );
        Ok(Self { table, known })
    }

    pub(super) fn file(&mut self, path: &Path, must_exist: bool) -> Result<(), Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(()),
            Err(e) => return Err(file_error(path, &e)),
        };
        let table: Table = text.parse().map_err(|e| file_error(path, &e))?;
        self.lay(path.display().to_string(), table)
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
        self.lay(
            format!("profile {name}"),
            Table::from_iter([("limits".to_owned(), Value::Table(chosen))]),
        )
    }

    /// `INGEST_EMBED_MODEL=…` sets `embed.model`; variables that name no section of ours are not ours.
    pub(super) fn variable(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let Some(rest) = name.strip_prefix("INGEST_").map(str::to_ascii_lowercase) else {
            return Ok(());
        };
        let Some((room, key)) = rest.split_once('_') else {
            return Ok(());
        };
        if !self.table.get(room).is_some_and(Value::is_table) || room == "profile" {
            return Ok(());
        }
        let number = value
            .parse()
            .map(Value::Integer)
            .or_else(|_| value.parse().map(Value::Float))
            .or_else(|_| value.parse().map(Value::Boolean));
        self.lay(
            name.into(),
            nested(
                room,
                key,
                number.unwrap_or_else(|_| Value::String(value.into())),
            ),
        )
    }

    pub(super) fn lay(&mut self, origin: String, layer: Table) -> Result<(), Error> {
        for (key, _) in keys(&layer) {
            if !self.knows(&key) {
                let nearest = self.nearest(&key);
                return Err(Error::Unknown {
                    origin,
                    key,
                    nearest,
                });
            }
        }
        merge(&mut self.table, layer);
        self.settings(&origin).map(drop)
    }

    /// A profile of one's own may set what the shipped one does.
    fn knows(&self, key: &str) -> bool {
        let own = key
            .strip_prefix("profile.")
            .and_then(|rest| rest.split_once('.'));
        self.known
            .iter()
            .any(|known| known == key || own.is_some_and(|(_, k)| *known == format!("limits.{k}")))
    }

    fn nearest(&self, key: &str) -> Option<String> {
        let close = |known: &&String| strsim::damerau_levenshtein(known, key);
        self.known
            .iter()
            .min_by_key(close)
            .filter(|known| close(known) <= 1 + key.len() / 3)
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

pub(super) fn nested(room: &str, key: &str, value: Value) -> Table {
    let inner = Table::from_iter([(key.to_owned(), value)]);
    Table::from_iter([(room.to_owned(), Value::Table(inner))])
}

/// The leaves of a table with their dotted keys.
fn keys(table: &Table) -> Box<dyn Iterator<Item = (String, &Value)> + '_> {
    Box::new(table.iter().flat_map(|(key, value)| match value {
        Value::Table(inner) => Box::new(keys(inner).map(move |(k, v)| (format!("{key}.{k}"), v))),
        leaf => Box::new(std::iter::once((key.clone(), leaf))) as Box<dyn Iterator<Item = _>>,
    }))
}

fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What people have written into their files and variables. A key may be added, none may go.
    const KEYS: [&str; 46] = [
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
        "embed.model",
        "embed.pool_factor",
        "limits.batch_size",
        "limits.memory_fraction",
        "limits.memory_limit",
        "profile.studio.batch_size",
        "profile.studio.memory_fraction",
        "profile.studio.memory_limit",
        "render.deadline_s",
        "render.dpi",
        "render.max_megapixels",
        "render.worker_memory",
        "render.workers",
        "search.count",
        "search.mode",
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
    fn the_keys_never_change() {
        let mut known = Layers::new().unwrap().known;
        known.sort();
        assert_eq!(known, KEYS);
    }

    #[test]
    fn the_golden_file_sets_every_key() {
        let golden: Table = include_str!("../../tests/golden/ingest.toml")
            .parse()
            .unwrap();
        let set: Vec<String> = keys(&golden).map(|(key, _)| key).collect();
        for key in KEYS {
            assert!(set.iter().any(|set| set == key), "{key}");
        }
    }
}
