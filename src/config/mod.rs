//! Configuration: `config.toml` files, environment and flags, merged and validated once into [`Settings`].

mod layers;
mod serve;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use layers::{Layers, nested};
pub use serve::Serve;

use crate::units::{ByteSize, Invalid};
use crate::{answer, embed, queue, render, search, store, vlm};

/// The project file, in the working folder.
const PROJECT_FILE: &str = "ingest.toml";

/// Resource limits.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Maximum pages per batch; 0: by device.
    pub batch_size: usize,
    /// Maximum share of the device's memory.
    pub memory_fraction: f64,
    /// Maximum bytes of memory; 0: no limit.
    pub memory_limit: ByteSize,
}

/// All settings, merged and validated.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Store of the pages.
    pub store: store::Config,
    /// Embedding model.
    pub embed: embed::Config,
    /// Vision-language model that describes pages.
    pub describe: vlm::Config,
    /// Rendering.
    pub render: render::Config,
    /// Resource limits.
    pub limits: Limits,
    /// Search.
    pub search: search::Config,
    /// Answers.
    pub ask: answer::Config,
    /// Web server.
    pub serve: Serve,
    /// Work queue of many machines.
    pub queue: queue::Config,
    /// Named overrides of `limits`; already applied.
    #[serde(default, rename = "profile")]
    profiles: BTreeMap<String, Table>,
}

/// Error of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read.
    #[error("{}: {why}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Cause.
        why: String,
    },
    /// A key that does not exist.
    #[error("{origin}: there is no setting `{key}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    Unknown {
        /// The file or variable.
        origin: String,
        /// The key.
        key: String,
        /// The most similar valid key.
        nearest: Option<String>,
    },
    /// An invalid value.
    #[error("{origin}: {why}")]
    Value {
        /// The file, variable or flag.
        origin: String,
        /// Cause.
        why: String,
    },
    /// A profile that does not exist.
    #[error("there is no profile `{name}`; known: {known}")]
    Profile {
        /// The name given.
        name: String,
        /// The existing profiles.
        known: String,
    },
}

/// Sources of settings in addition to the defaults and the configuration files; later ones override earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config FILE`.
    pub file: Option<PathBuf>,
    /// `--profile NAME`.
    pub profile: Option<String>,
    /// `INGEST_*` variables.
    pub env: Vec<(String, String)>,
    /// Flags: dotted key and value.
    pub flags: Vec<(&'static str, Value)>,
}

impl Settings {
    /// Defaults < user file < project file < `--config` < profile < environment < flags.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be read, [`Error::Unknown`] when a key does not exist, [`Error::Value`] when a value
    /// is invalid, [`Error::Profile`] when the profile does not exist.
    pub fn resolve(sources: &Sources) -> Result<Self, Error> {
        let mut layers = Layers::new()?;
        if let Some(file) = user_file() {
            layers.file(&file, false)?;
        }
        layers.file(Path::new(PROJECT_FILE), false)?;
        if let Some(file) = &sources.file {
            layers.file(file, true)?;
        }
        if let Some(name) = &sources.profile {
            layers.profile(name)?;
        }
        for (name, value) in &sources.env {
            layers.variable(name, value)?;
        }
        for (key, value) in &sources.flags {
            let (section, name) = key.split_once('.').unwrap_or((key, ""));
            let flag = match *key {
                "store.url" => "--store".to_owned(),
                _ => format!("--{}", name.replace('_', "-")),
            };
            layers.merge(flag, nested(section, name, value.clone()))?;
        }
        layers.settings("settings").and_then(Self::validated)
    }

    fn validated(self) -> Result<Self, Error> {
        let invalid = |key: &str, why: &str| Error::Value {
            origin: key.into(),
            why: why.into(),
        };
        let share = self.limits.memory_fraction;
        if !(share > 0.0 && share <= 1.0) {
            return Err(invalid(
                "limits.memory_fraction",
                "must be above 0 and at most 1",
            ));
        }
        if !(36..=600).contains(&self.render.dpi) {
            return Err(invalid("render.dpi", "must be between 36 and 600"));
        }
        if self.render.max_megapixels == 0 || self.render.deadline_s == 0 || self.search.count == 0
        {
            return Err(invalid(
                "render.max_megapixels, render.deadline_s, search.count",
                "must be at least 1",
            ));
        }
        let section = |name: &str, e: Invalid| invalid(&format!("{name}.{}", e.key), e.reason);
        let describe = self.describe.validate();
        describe.map_err(|e| section("describe", e))?;
        let ask = self.ask.validate();
        ask.map_err(|e| section("ask", e))?;
        self.store.validate().map_err(|e| section("store", e))?;
        self.serve.validate().map_err(|e| section("serve", e))?;
        self.queue.validate().map_err(|e| section("queue", e))?;
        Ok(self)
    }
}

/// The user's configuration file; `None` where there is no home folder.
fn user_file() -> Option<PathBuf> {
    use etcetera::BaseStrategy;
    let base = etcetera::base_strategy::choose_native_strategy().ok()?;
    Some(base.config_dir().join("ingest/config.toml"))
}

#[cfg(test)]
mod tests;
