//! Diagnostics: converts every error to a message, hints and an exit code.

use std::error::Error as StdError;

use crate::embed::meaning::Model;
use crate::qwen::mlx;
use crate::store::Outage;
use crate::vlm::reply::FailureClass;
use crate::{annotate, answer, checkpoint, config, embed, library, pipeline, search, store, vlm};

mod distributed;
mod inputs;

use inputs::file_hint;
pub use inputs::{PASSWORD_HINT, input_hint, words_hint};

/// Exit code of invalid usage (`EX_USAGE` of sysexits.h).
pub const USAGE: u8 = 64;
/// What to do if a model server does not accept the API key.
const KEY_HINT: &str = "set INGEST_RUNNER_KEY or OPENAI_API_KEY";

/// An error for the user: message, hints, exit code.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// What failed, and why.
    pub message: String,
    /// What the user can do, one per line.
    pub hints: Vec<String>,
    /// The exit code.
    pub exit: u8,
}

impl Diagnostic {
    /// An error with the causes that its message does not contain; exit code 1.
    pub fn from_error(error: &dyn StdError) -> Self {
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

    /// A message; exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hints: Vec::new(),
            exit: 1,
        }
    }

    /// Invalid usage; exit code [`USAGE`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: USAGE,
            ..Self::new(message)
        }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<config::Error> for Diagnostic {
    fn from(e: config::Error) -> Self {
        let diagnostic = Self {
            exit: USAGE,
            ..Self::from_error(&e)
        };
        match e {
            config::Error::Unknown { nearest: None, .. } => {
                diagnostic.hint("see `config.toml` in the source tree for all settings")
            }
            _ => diagnostic,
        }
    }
}

impl From<vlm::Error> for Diagnostic {
    fn from(e: vlm::Error) -> Self {
        let diagnostic = Self::from_error(&e);
        match e {
            vlm::Error::Unavailable { .. } => {
                diagnostic.hint("start the server, or set `--runner` and `--url`")
            }
            vlm::Error::UnexpectedServer { .. } | vlm::Error::Gateway { .. } => {
                diagnostic.hint("set `--runner` and `--url` to the server of the model")
            }
            vlm::Error::Unauthorized { .. } => diagnostic.hint(KEY_HINT),
            vlm::Error::UnencryptedKey { .. } => diagnostic
                .hint("use https://, or set `describe.key_over_http = true` on a trusted network"),
            vlm::Error::NotBuilt => diagnostic.hint(
                "on a Mac: `cargo install --path . --features mlx`; elsewhere use a server: `--runner mlx-vlm`, `ollama` or `openai`",
            ),
            vlm::Error::Unsupported(_) => diagnostic.hint(
                "in this process: Qwen2.5-VL and Qwen3-VL; for other models use a server, such as `--runner mlx-vlm`",
            ),
            vlm::Error::UnknownModel { .. } => diagnostic.hint("choose one of them with `--model`"),
            vlm::Error::NoVision { available, .. } => diagnostic.hint(model_hint(&available)),
            vlm::Error::Refused(_) => diagnostic.hint(model_hint("")),
            vlm::Error::Rejected {
                status, available, ..
            } => diagnostic.hint(rejection_hint(status, &available)),
            _ => diagnostic,
        }
    }
}

fn model_hint(available: &str) -> String {
    let choose = "choose a model that takes images with `--model`";
    match available {
        "" => choose.to_owned(),
        models => format!("{choose}; the server has: {models}"),
    }
}

fn rejection_hint(status: u16, available: &str) -> String {
    match status {
        402 => "the account of the API key has no credit".to_owned(),
        403 => KEY_HINT.to_owned(),
        404 => format!("choose another `--model`, or check `--url`; the server has: {available}"),
        413 => "lower `describe.megapixels`, or raise the server's limit of a request".to_owned(),
        _ => model_hint(available),
    }
}

impl From<answer::Error> for Diagnostic {
    fn from(e: answer::Error) -> Self {
        let diagnostic = Self::from_error(&e);
        match e {
            answer::Error::Runner(e) => e.into(),
            answer::Error::NoAnswer {
                class: FailureClass::Thinking,
                ..
            } => diagnostic.hint("raise `ask.max_tokens`, or use a model that does not reason"),
            answer::Error::NoAnswer { .. } => {
                diagnostic.hint("ask again with fewer `--pages`, or use another model")
            }
            answer::Error::Stopped => diagnostic,
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
        let diagnostic = Self::from_error(&e);
        match e {
            store::Error::Locked { .. } => diagnostic.hint("wait for the other run, or use another file: `--store FILE`"),
            store::Error::TooNew { .. } => diagnostic.hint("update `ingest`, or use another file: `--store FILE`"),
            store::Error::Full { .. } => {
                diagnostic.hint("free some space and run the same command again: stored pages are kept")
            }
            store::Error::Empty { .. } | store::Error::NoCollection { .. } => {
                diagnostic.hint("store manuals first: `ingest FILE.pdf`, with the same `--model` if you set one")
            }
            store::Error::Unavailable { outage, .. } => diagnostic.hint(outage_hint(outage)),
            store::Error::Unauthorized { .. } => diagnostic.hint("set WEAVIATE_API_KEY, or set `store.key_file` to a file with the key"),
            store::Error::UnencryptedKey { .. } => {
                diagnostic.hint("use https://, or set `store.key_over_http = true` on a trusted network")
            }
            store::Error::TooOld { .. } => diagnostic.hint("update the server"),
            store::Error::Damaged { page, .. } => {
                let manual = page.manual;
                diagnostic.hint(format!("`ingest remove {manual}`, then ingest its file again"))
            }
            store::Error::SettingMismatch { .. } => diagnostic.hint(
                "change the setting, or copy the pages without embedding them again: `ingest sync --to-collection NEW`, then set `store.collection`; for a file: `ingest sync --to NEW.db`",
            ),
            store::Error::OtherModel { .. } => {
                diagnostic.hint("use the model of its pages (`--model`), or another collection (`store.collection`)")
            }
            store::Error::WidthMismatch { .. } => diagnostic.hint("use another file (`--store FILE`), or the model of its pages (`--model`)"),
            _ => diagnostic,
        }
    }
}

fn outage_hint(outage: Outage) -> &'static str {
    match outage {
        Outage::Untrusted => "set `store.ca_file` to the certificate of your certificate authority",
        Outage::NotHttp => {
            "`--store` takes the HTTP port of Weaviate (8080, if not changed), not its gRPC port (50051)"
        }
        Outage::ReadOnly => "free space on the disk of the server, then run the same command again",
        Outage::Down => {
            "start the server, or check `--store`; `ingest FILE… --offline` queues pages until it is available"
        }
    }
}

impl From<checkpoint::Error> for Diagnostic {
    fn from(e: checkpoint::Error) -> Self {
        let diagnostic = Self::from_error(&e);
        match e {
            checkpoint::Error::Unknown(_) => diagnostic.hint("`ingest models` lists the known models; a folder must contain a config.json"),
            checkpoint::Error::Hub { .. } => diagnostic.hint(
                "check the network, HF_ENDPOINT, HF_TOKEN and HF_HOME; or use a folder with the files: `--model PATH`",
            ),
            checkpoint::Error::File { .. } => diagnostic.hint("if the file is truncated, delete it and download the model again"),
            _ => diagnostic,
        }
    }
}

impl From<mlx::Error> for Diagnostic {
    fn from(e: mlx::Error) -> Self {
        let diagnostic = Self::from_error(&e);
        match e {
            mlx::Error::NotBuilt => diagnostic.hint(
                "on a Mac: `cargo install --path . --features mlx`; elsewhere use `--engine candle`",
            ),
            mlx::Error::Device(_) => diagnostic.hint("use `--device auto`"),
            mlx::Error::Files(e) => e.into(),
            _ => diagnostic,
        }
    }
}

impl From<embed::Error> for Diagnostic {
    fn from(e: embed::Error) -> Self {
        let diagnostic = Self::from_error(&e);
        match e {
            embed::Error::Files(e) => e.into(),
            embed::Error::Mlx(e) => e.into(),
            embed::Error::Changed { .. } => {
                diagnostic.hint("store the manuals again with the current model: `ingest FILE.pdf`")
            }
            embed::Error::Width { .. } => {
                diagnostic.hint("remove `embed.width`, or use a model whose vectors may be cut")
            }
            embed::Error::Device(..) => {
                diagnostic.hint("use `--device auto`; `ingest check` shows the device")
            }
            embed::Error::OutOfMemory(_) => diagnostic.hint(
                "not even one page fits: use `--device cpu`, or lower `embed.max_visual_tokens`",
            ),
            _ => diagnostic,
        }
    }
}

impl From<pipeline::Error> for Diagnostic {
    fn from(e: pipeline::Error) -> Self {
        match e {
            pipeline::Error::Render(e) => Self::from_error(&e).hint(
                "set PDFIUM_LIBRARY=/path/to/libpdfium to use another copy; `ingest check` tests it",
            ),
            pipeline::Error::Embed(e) => e.into(),
            pipeline::Error::Store(e) => e.into(),
        }
    }
}

impl From<pipeline::PlanError> for Diagnostic {
    fn from(e: pipeline::PlanError) -> Self {
        Self::from_error(&e).hint(
            "raise `limits.memory_fraction` or `limits.memory_limit`, or lower `embed.max_visual_tokens`",
        )
    }
}

/// What to do if the text vectors of a store are those of another model than the settings say.
pub fn other_text_model_hint(stored: Model) -> String {
    format!(
        "set `embed.meaning = {}`, or `ingest` the files again to embed their text with the model of the settings",
        stored.setting()
    )
}

impl From<search::Error> for Diagnostic {
    fn from(e: search::Error) -> Self {
        match e {
            search::Error::Embed(e) => e.into(),
            search::Error::Store(e) => e.into(),
            e @ search::Error::Empty => Self {
                exit: USAGE,
                ..Self::from_error(&e)
            },
            e @ search::Error::NoTextVectors(_) => Self::from_error(&e).hint(
                "with `embed.meaning = true`, `ingest` the files again to embed their text; of page images only scans are embedded anew",
            ),
            e @ search::Error::UnknownWords(_) => {
                Self::from_error(&e).hint("search with `--text` or `--visual`")
            }
            e @ search::Error::OtherTextModel { stored, .. } => {
                let hint = other_text_model_hint(stored);
                Self::from_error(&e).hint(hint)
            }
            e @ search::Error::Unreadable => Self::from_error(&e).hint(
                "search the text with `--text`, or store the pages with a ColQwen model (`ingest models`)",
            ),
        }
    }
}

impl From<library::Error> for Diagnostic {
    fn from(e: library::Error) -> Self {
        let diagnostic = Self::from_error(&e);
        match e {
            library::Error::Embed(e) => e.into(),
            library::Error::Store(e) => e.into(),
            library::Error::Render(e) => pipeline::Error::from(e).into(),
            library::Error::NoManual {
                nearest: Some(name),
                ..
            } => diagnostic.hint(format!("did you mean `{name}`?")),
            library::Error::NoManual { nearest: None, .. } => {
                diagnostic.hint("`ingest list` shows the stored manuals")
            }
            library::Error::File(
                store::FileError::Changed { .. } | store::FileError::ChangedSince { .. },
            ) => diagnostic,
            library::Error::File(_) => {
                diagnostic.hint("if it was moved, run `ingest FILE.pdf` again")
            }
            library::Error::Manual { cause, .. } => match file_hint(&cause) {
                Some(hint) => diagnostic.hint(hint),
                None => diagnostic,
            },
            library::Error::NoPages(_) => {
                diagnostic.hint("`ingest list` shows how many pages each manual has")
            }
            library::Error::NoLabel { .. } => diagnostic.hint(
                "give the page's number, counted from 1, or the label printed on it, as `ingest search` shows",
            ),
            library::Error::NoId(_) => diagnostic.hint("it was removed, or is of another store"),
            library::Error::NoPage(_)
            | library::Error::Page { .. }
            | library::Error::Prepare(_)
            | library::Error::Embedding(_) => diagnostic,
        }
    }
}

impl From<std::io::Error> for Diagnostic {
    fn from(e: std::io::Error) -> Self {
        Self::from_error(&e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_hint_depends_on_the_cause_not_the_message() {
        let hint = |outage| {
            let unavailable = store::Error::Unavailable {
                location: "https://localhost".to_owned(),
                why: "503: the certificate service is down".to_owned(),
                outage,
            };
            Diagnostic::from(unavailable).hints.concat()
        };
        assert!(hint(Outage::Untrusted).contains("store.ca_file"));
        assert!(hint(Outage::Down).contains("start the server"));
    }
}
