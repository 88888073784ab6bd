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
use crate::{answer, embed, render, search, store, vlm};

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
mod tests {
    use super::*;
    use crate::embed::meaning::Model;

    fn with(toml: &str) -> Result<Settings, Error> {
        let mut layers = Layers::new()?;
        layers.merge("ingest.toml".into(), toml.parse().unwrap())?;
        layers.settings("x")?.validated()
    }

    #[test]
    fn defaults_come_from_the_shipped_file() {
        let settings = with("").unwrap();
        assert_eq!(
            (settings.embed.model.as_str(), settings.render.dpi),
            ("built-in", 150)
        );
        assert_eq!(settings.embed.max_visual_tokens, None);
    }

    #[test]
    fn later_layers_override_and_unknown_keys_suggest_the_nearest() {
        assert_eq!(with("[search]\ncount = 9").unwrap().search.count, 9);
        let error = with("[embed]\nmodle = \"x\"").unwrap_err().to_string();
        assert_eq!(
            error,
            "ingest.toml: there is no setting `embed.modle`; did you mean `embed.model`?"
        );
        assert!(
            with("[search]\nmode = 3")
                .unwrap_err()
                .to_string()
                .starts_with("ingest.toml: ")
        );
        assert!(with("[limits]\nmemory_fraction = 1.5").is_err());
    }

    #[test]
    fn profile_overrides_the_limits() {
        let mut layers = Layers::new().unwrap();
        layers.profile("studio").unwrap();
        let limits = layers.settings("x").unwrap().limits;
        assert_eq!(
            (limits.batch_size, limits.memory_limit),
            (32, ByteSize(40_000_000_000))
        );
        assert!(
            layers
                .profile("atelier")
                .unwrap_err()
                .to_string()
                .contains("studio")
        );
        layers
            .merge(
                "ingest.toml".into(),
                "[profile.mine]\nbatch_size = 7".parse().unwrap(),
            )
            .unwrap();
        layers.profile("mine").unwrap();
        assert_eq!(layers.settings("x").unwrap().limits.batch_size, 7);
    }

    #[test]
    fn variables_set_the_key_in_their_name() {
        let mut layers = Layers::new().unwrap();
        layers.variable("INGEST_EMBED_MODEL", "tiny").unwrap();
        layers
            .variable("INGEST_RENDER_MAX_MEGAPIXELS", "8")
            .unwrap();
        layers.variable("INGEST_ACCEPT", "1").unwrap();
        layers
            .variable("INGEST_STORE_KEY_OVER_HTTP", "true")
            .unwrap();
        let settings = layers.settings("x").unwrap();
        assert_eq!(
            (
                settings.embed.model.as_str(),
                settings.render.max_megapixels
            ),
            ("tiny", 8)
        );
        assert!(settings.store.key_over_http);
        assert!(layers.variable("INGEST_EMBED_MODLE", "tiny").is_err());
    }

    #[test]
    fn invalid_settings_of_the_server_are_refused() {
        for (line, key) in [
            ("base = 'manuals'", "serve.base"),
            ("base = '/a\"b'", "serve.base"),
            ("origins = ['wiki.example']", "serve.origins"),
            ("origins = ['https://wiki.example/x']", "serve.origins"),
            ("address = 'localhost'", "address"),
        ] {
            let error = with(&format!("[serve]\n{line}")).unwrap_err();
            assert!(error.to_string().contains(key), "{line}: {error}");
        }
        let served = with("[serve]\nbase = '/manuals/'\norigins = ['http://a:1']");
        assert_eq!(served.unwrap().serve.base, "/manuals/");
    }

    #[test]
    fn golden_file_sets_every_field_of_answers_and_the_server() {
        let settings = with(include_str!("../../tests/golden/ingest.toml")).unwrap();
        let serve = Serve {
            address: "[::]:7000".parse().unwrap(),
            hosts: vec!["manuals.example".to_owned()],
            origins: vec!["https://wiki.example".to_owned()],
            folders: vec!["/srv/manuals".into()],
            base: "/manuals".to_owned(),
            key_file: Some("/etc/ingest/serve.key".into()),
            max_upload: ByteSize(2_000_000_000),
            cache: ByteSize(1_000_000_000),
        };
        assert_eq!(settings.serve, serve);
        let ask = answer::Config {
            pages: 2,
            max_tokens: 602,
        };
        assert_eq!(settings.ask, ask);
    }

    #[test]
    fn meaning_is_off_on_or_multilingual() {
        for (value, expected) in [
            ("false", None),
            ("true", Some(Model::English)),
            ("multilingual", Some(Model::Multilingual)),
        ] {
            let mut layers = Layers::new().unwrap();
            layers.variable("INGEST_EMBED_MEANING", value).unwrap();
            let settings = layers.settings("x").unwrap();
            assert_eq!(settings.embed.meaning, expected);
            let written = toml::to_string(&settings.embed).unwrap();
            let read: embed::Config = toml::from_str(&written).unwrap();
            assert_eq!(read, settings.embed);
        }
        let refused = with("[embed]\nmeaning = \"dutch\"").unwrap_err();
        let expected = "true, false or \"multilingual\"";
        assert!(refused.to_string().contains(expected), "{refused}");
    }

    #[test]
    fn golden_file_sets_every_field() {
        let mut settings = with(include_str!("../../tests/golden/ingest.toml")).unwrap();
        let nodes = ["http://127.0.0.1:8080", "https://node-2:8443"];
        assert_eq!(
            settings.store,
            store::Config {
                url: store::Address::Servers(nodes.map(str::to_owned).to_vec()),
                limit: Some(ByteSize(50_000_000_000)),
                precision: Some(store::Precision::Int8),
                first_stage: Some(4),
                collection: "Shelf".to_owned(),
                tenant: String::new(),
                expected_pages: 7000,
                index: Some(store::Index::Raw),
                quantiser: Some(store::Quantiser::Rq8),
                replication: Some(3),
                shards: Some(2),
                key_file: Some("/etc/ingest/weaviate.key".into()),
                key_over_http: true,
                ca_file: Some("/etc/ssl/own-ca.pem".into()),
                timeout_s: 61,
            }
        );
        assert_eq!(
            settings.embed,
            embed::Config {
                model: "vidore/colqwen2.5-v0.2".to_owned(),
                engine: embed::Engine::Mlx,
                device: embed::Device::Metal,
                max_visual_tokens: Some(768),
                pool_factor: 3,
                meaning: Some(Model::English),
            }
        );
        let command = ["python", "-m", "mlx_vlm.server"];
        assert_eq!(
            settings.describe,
            vlm::Config {
                runner: vlm::RunnerKind::Openai,
                url: "http://127.0.0.1:9000".to_owned(),
                model: "qwen".to_owned(),
                lanes: 2,
                interleave: 3,
                megapixels: 1.5,
                max_tokens: 601,
                deadline_s: 181,
                attempts: 4,
                key_over_http: true,
                command: command.map(str::to_owned).to_vec(),
                unload_every: 500,
                canary_every: 51,
            }
        );
        assert_eq!(
            settings.render,
            render::Config {
                dpi: 151,
                max_megapixels: 17,
                workers: 5,
                deadline_s: 31,
                worker_memory: ByteSize(5_000_000_000),
            }
        );
        // Part of the origin of every stored page.
        let profile = "pdfium-8149 v2 151 dpi, at most 17 MP";
        assert_eq!(settings.render.profile(), profile);
        let limits = Limits {
            batch_size: 6,
            memory_fraction: 0.7,
            memory_limit: ByteSize(30 << 30),
        };
        assert_eq!(settings.limits, limits);
        let search = search::Config {
            mode: search::Mode::Visual,
            count: 7,
        };
        assert_eq!(settings.search, search);
        let mine = settings.profiles.remove("mine").unwrap();
        assert_eq!(mine["memory_limit"], Value::Integer(1024));
    }
}
