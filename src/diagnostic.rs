//! Any error to advice and an exit code: the only place that words advice.

use std::error::Error as StdError;

use crate::qwen::mlx;
use crate::{annotate, checkpoint, config, embed, library, pipeline, render, search, store, vlm};

/// Wrong usage (`EX_USAGE` of sysexits.h).
pub const USAGE: u8 = 64;

/// What a person is told when a command cannot go on.
#[derive(Debug)]
pub struct Diagnostic {
    /// What happened, to what.
    pub message: String,
    /// What to do.
    pub hints: Vec<String>,
    /// The exit code.
    pub exit: u8,
}

impl Diagnostic {
    /// A failure of something outside of the command line.
    pub fn failure(error: &dyn StdError) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = inner.source();
        }
        Self {
            message,
            hints: Vec::new(),
            exit: 1,
        }
    }

    /// A failure in one sentence.
    pub fn plain(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hints: Vec::new(),
            exit: 1,
        }
    }

    /// Something asked for that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: USAGE,
            ..Self::plain(message)
        }
    }

    /// Adds a line of advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<config::Error> for Diagnostic {
    fn from(e: config::Error) -> Self {
        let report = Self {
            exit: USAGE,
            ..Self::failure(&e)
        };
        match e {
            config::Error::Unknown { nearest: None, .. } => report.hint(
                "`config.toml` at the top of the source tree lists and explains every setting",
            ),
            _ => report,
        }
    }
}

impl From<vlm::Error> for Diagnostic {
    fn from(e: vlm::Error) -> Self {
        let report = Self::failure(&e);
        match e {
            vlm::Error::Unavailable { .. } => {
                report.hint("start the server, or set `--runner` and `--url`")
            }
            vlm::Error::UnexpectedServer { .. } => {
                report.hint("`--runner` and `--url` say what serves the model, and where")
            }
            vlm::Error::Key { .. } => {
                report.hint("INGEST_RUNNER_KEY or OPENAI_API_KEY holds it")
            }
            vlm::Error::KeyInTheClear { .. } => report
                .hint("use https://, or set `describe.key_over_http = true` where nobody listens"),
            vlm::Error::NotBuilt => report.hint(
                "on a Mac: `cargo install --path . --features mlx`; elsewhere `--runner mlx-vlm`, `ollama` or `openai` asks a server",
            ),
            vlm::Error::Unsupported(_) => report.hint(
                "in this process run Qwen2.5-VL and Qwen3-VL; other models through a server, such as `--runner mlx-vlm`",
            ),
            vlm::Error::Model { .. } => report.hint("`--model` names one of them"),
            _ => report,
        }
    }
}

impl From<annotate::Error> for Diagnostic {
    fn from(e: annotate::Error) -> Self {
        match e {
            annotate::Error::Render(e) => pipeline::Error::from(e).into(),
            annotate::Error::Describe(e) => e.into(),
            annotate::Error::Store(e) => e.into(),
        }
    }
}

impl From<store::Error> for Diagnostic {
    fn from(e: store::Error) -> Self {
        let report = Self::failure(&e);
        match e {
            store::Error::Locked { .. } => report.hint("wait for the other run, or give this one its own `--store FILE`"),
            store::Error::TooNew { .. } => report.hint("update `ingest`, or give another `--store FILE`"),
            store::Error::Full { .. } => {
                report.hint("make room and run the same command again: what is stored stays, the rest is added")
            }
            store::Error::Empty { .. } | store::Error::NoCollection { .. } => {
                report.hint("store some manuals first: `ingest FILE.pdf`, with the same `--model` if you gave one")
            }
            store::Error::Unavailable {
                untrusted: true, ..
            } => {
                report.hint("`store.ca_file` names the certificate of your own authority")
            }
            store::Error::Unavailable { .. } => {
                report.hint("start the server, or check `--store`; `ingest FILE… --offline` queues pages until it is back")
            }
            store::Error::Key { .. } => report.hint("WEAVIATE_API_KEY, or the file that `store.key_file` names, holds the key"),
            store::Error::KeyInTheClear { .. } => {
                report.hint("use https://, or set `store.key_over_http = true` where nobody listens")
            }
            store::Error::TooOld { .. } => report.hint("update the server"),
            store::Error::Differs { .. } => report.hint(
                "set it as it is, or copy the pages, nothing is embedded again: `ingest sync --to-collection NEW`, then `store.collection`; a file: `ingest sync --to NEW.db`",
            ),
            store::Error::Foreign { .. } => {
                report.hint("give the model that filled it, `--model`, or another collection, `store.collection`")
            }
            store::Error::Width { .. } => report.hint("give another `--store FILE`, or the model that filled this one"),
            _ => report,
        }
    }
}

impl From<checkpoint::Error> for Diagnostic {
    fn from(e: checkpoint::Error) -> Self {
        let report = Self::failure(&e);
        match e {
            checkpoint::Error::Unknown(_) => report.hint("`ingest models` lists the known ones; a folder must hold a config.json"),
            checkpoint::Error::Hub { .. } => report.hint(
                "is this machine online? HF_ENDPOINT, HF_TOKEN and HF_HOME are heeded; a folder with the files works too: --model PATH",
            ),
            checkpoint::Error::File { .. } => report.hint("if the file is cut short, delete it and fetch the model again"),
            _ => report,
        }
    }
}

impl From<mlx::Error> for Diagnostic {
    fn from(e: mlx::Error) -> Self {
        let report = Self::failure(&e);
        match e {
            mlx::Error::NotBuilt => report.hint(
                "on a Mac: `cargo install --path . --features mlx`; elsewhere `--engine candle` does the same",
            ),
            mlx::Error::Device(_) => report.hint("`--device auto` takes what is there"),
            mlx::Error::Files(e) => e.into(),
            _ => report,
        }
    }
}

impl From<embed::Error> for Diagnostic {
    fn from(e: embed::Error) -> Self {
        let report = Self::failure(&e);
        match e {
            embed::Error::Files(e) => e.into(),
            embed::Error::Mlx(e) => e.into(),
            embed::Error::Changed { .. } => {
                report.hint("store the manuals again with the present model: `ingest FILE.pdf`")
            }
            embed::Error::Device(..) => {
                report.hint("`--device auto` takes what is there; `ingest check` shows it")
            }
            embed::Error::OutOfMemory(_) => report.hint(
                "not even one page fits: try `--device cpu`, or fewer `embed.max_visual_tokens`",
            ),
            _ => report,
        }
    }
}

impl From<pipeline::Error> for Diagnostic {
    fn from(e: pipeline::Error) -> Self {
        match e {
            pipeline::Error::Render(e) => Self::failure(&e).hint(
                "PDFIUM_LIBRARY=/path/to/libpdfium names another copy; `ingest check` tries it",
            ),
            pipeline::Error::Embed(e) => e.into(),
            pipeline::Error::Store(e) => e.into(),
        }
    }
}

impl From<pipeline::PlanError> for Diagnostic {
    fn from(e: pipeline::PlanError) -> Self {
        Self::failure(&e).hint(
            "raise limits.memory_fraction or limits.memory_limit, or lower embed.max_visual_tokens",
        )
    }
}

impl From<search::Error> for Diagnostic {
    fn from(e: search::Error) -> Self {
        match e {
            search::Error::Embed(e) => e.into(),
            search::Error::Store(e) => e.into(),
            e @ search::Error::Empty => Self {
                exit: USAGE,
                ..Self::failure(&e)
            },
        }
    }
}

impl From<library::Error> for Diagnostic {
    fn from(e: library::Error) -> Self {
        let report = Self::failure(&e);
        match e {
            library::Error::Embed(e) => e.into(),
            library::Error::Store(e) => e.into(),
            library::Error::Render(e) => pipeline::Error::from(e).into(),
            library::Error::NoManual {
                nearest: Some(name),
                ..
            } => report.hint(format!("did you mean `{name}`?")),
            library::Error::NoManual { nearest: None, .. } => {
                report.hint("`ingest list` names what is stored")
            }
            library::Error::File(store::FileError::Changed { path }) => {
                report.hint(format!("`ingest {}` again", path.display()))
            }
            library::Error::File(_) => report.hint("if it moved: `ingest FILE.pdf` again"),
            library::Error::Manual {
                cause: render::Error::Password { .. },
                ..
            } => report.hint("`--password` opens it"),
            library::Error::NoPage(_)
            | library::Error::Manual { .. }
            | library::Error::Page { .. }
            | library::Error::Prepare(_)
            | library::Error::Embedding(_) => report,
        }
    }
}

impl From<std::io::Error> for Diagnostic {
    fn from(e: std::io::Error) -> Self {
        Self::failure(&e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_advice_follows_the_cause_and_not_the_wording() {
        let hint = |untrusted| {
            let away = store::Error::Unavailable {
                at: "https://localhost".to_owned(),
                why: "503: the certificate service is down".to_owned(),
                untrusted,
            };
            Diagnostic::from(away).hints.concat()
        };
        assert!(hint(true).contains("store.ca_file"));
        assert!(hint(false).contains("start the server"));
    }
}
