//! Settings of the model that describes pages.

use serde::{Deserialize, Serialize};

use crate::units::Invalid;

/// Maximum number of concurrent requests: each has a thread and a page image.
const MAX_LANES: usize = 256;
/// Maximum number of pages per request: more fit into the context of no model.
const MAX_INTERLEAVE: usize = 64;

/// Settings of the model that describes pages (section `[describe]`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Kind of runner.
    pub runner: RunnerKind,
    /// Base URL of the server; empty: the default address of the runner.
    pub url: String,
    /// Model name on the server; empty: the only model, or the loaded one.
    pub model: String,
    /// Number of concurrent requests; 0: the runner's default.
    pub lanes: usize,
    /// Number of pages per request; 0: the runner's default.
    pub interleave: usize,
    /// Size of a page image in megapixels.
    pub megapixels: f64,
    /// Maximum number of answer tokens per page.
    pub max_tokens: u32,
    /// Time limit per page, in seconds.
    pub deadline_s: u64,
    /// Number of attempts before a page counts as failed.
    pub attempts: u32,
    /// Whether pages and the API key may be sent to another machine over plain HTTP.
    pub key_over_http: bool,
    /// Command that starts the server if it does not respond: program and arguments; empty: no server is started.
    pub command: Vec<String>,
    /// Number of pages after which the model is unloaded and loaded again; 0: never.
    pub unload_every: usize,
    /// Number of pages after which one page is described again to detect a degraded model; 0: never.
    pub canary_every: usize,
}

impl Config {
    /// Whether the user has named a model, its program or its server; else what the defaults name may be missing.
    pub fn names_a_model(&self) -> bool {
        let is_default = self.runner == RunnerKind::MlxVlm && self.command.is_empty();
        !(is_default && self.url.is_empty() && self.model.is_empty())
    }

    /// The name of the model as the runner will give it; `None` if only the opened runner knows it.
    pub fn full_model(&self) -> Option<String> {
        let name = self.model.as_str();
        let is_tagged = name.rsplit('/').next().is_some_and(|n| n.contains(':'));
        match self.runner {
            _ if name.is_empty() => None,
            RunnerKind::Ollama if !is_tagged => Some(format!("{name}:latest")),
            _ => Some(name.to_owned()),
        }
    }

    /// Maximum number of pixels of a page image.
    pub fn pixels(&self) -> u64 {
        (self.megapixels * 1e6) as u64
    }

    /// Checks the ranges of all values.
    ///
    /// # Errors
    /// [`Invalid`] with the first key whose value is out of range.
    pub fn validate(&self) -> Result<(), Invalid> {
        if !(0.05..=16.0).contains(&self.megapixels) {
            return Err(Invalid {
                key: "megapixels",
                reason: "must be between 0.05 and 16",
            });
        }
        let url = self.url.trim().to_ascii_lowercase();
        if !(url.is_empty() || url.starts_with("http://") || url.starts_with("https://")) {
            let reason = match url.contains("://") {
                true => "must begin with http:// or https://",
                false => "lacks its scheme: http:// is missing, as in http://127.0.0.1:8000",
            };
            return Err(Invalid { key: "url", reason });
        }
        if has_user_info(&url) {
            // The address is shown in messages.
            return Err(Invalid {
                key: "url",
                reason: "must not contain a user name or a password; set INGEST_RUNNER_KEY",
            });
        }
        if self.lanes > MAX_LANES {
            return Err(Invalid {
                key: "lanes",
                reason: "must be at most 256",
            });
        }
        if self.interleave > MAX_INTERLEAVE {
            return Err(Invalid {
                key: "interleave",
                reason: "must be at most 64",
            });
        }
        if self.max_tokens == 0 || self.deadline_s == 0 || self.attempts == 0 {
            return Err(Invalid {
                key: "max_tokens, describe.deadline_s, describe.attempts",
                reason: "must be at least 1",
            });
        }
        Ok(())
    }
}

/// Whether a URL, which may be malformed, has a user name or a password before its host.
fn has_user_info(url: &str) -> bool {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    // HTTP clients ignore further slashes, and take `\` for one.
    let slashes = ['/', '\\'];
    let host = rest
        .trim_start_matches(slashes)
        .split(['/', '\\', '?', '#'])
        .next();
    host.is_some_and(|host| host.contains('@'))
}

/// Kind of runner: the program that runs the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RunnerKind {
    /// `mlx_vlm.server`.
    MlxVlm,
    /// Ollama, through its native API.
    Ollama,
    /// A Qwen2.5-VL or Qwen3-VL in this process, on MLX, without a server.
    Mlx,
    /// Any server with the OpenAI chat API: llama.cpp, vLLM, LM Studio.
    Openai,
}

impl RunnerKind {
    /// Its name in the settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MlxVlm => "mlx-vlm",
            Self::Ollama => "ollama",
            Self::Mlx => "mlx",
            Self::Openai => "openai",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_of_ollama_has_a_tag() {
        let full = |runner, model: &str| {
            let config = Config {
                runner,
                model: model.to_owned(),
                ..defaults()
            };
            config.full_model()
        };
        for (given, name) in [
            ("qwen2.5vl", "qwen2.5vl:latest"),
            ("qwen2.5vl:7b", "qwen2.5vl:7b"),
            ("host:1/me/model", "host:1/me/model:latest"),
        ] {
            assert_eq!(full(RunnerKind::Ollama, given).as_deref(), Some(name));
            assert_eq!(full(RunnerKind::Openai, given).as_deref(), Some(given));
        }
        assert_eq!(full(RunnerKind::Ollama, ""), None);
    }

    fn defaults() -> Config {
        Config {
            runner: RunnerKind::MlxVlm,
            url: String::new(),
            model: String::new(),
            lanes: 0,
            interleave: 0,
            megapixels: 1.0,
            max_tokens: 600,
            deadline_s: 180,
            attempts: 3,
            key_over_http: false,
            command: Vec::new(),
            unload_every: 0,
            canary_every: 50,
        }
    }
}
