//! What the machines of a run must have in common.

use serde::{Deserialize, Serialize};

use crate::queue::Kind;
use crate::store::digest;
use crate::vlm::RunnerKind;

/// Version of the messages.
pub(super) const PROTOCOL: u32 = 2;
/// Hex digits of a group's and of a run's id.
const ID_DIGITS: usize = 16;

/// What all machines that process pages of one library must have in common, so that each can process any of them with the
/// same result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Version of the messages.
    pub protocol: u32,
    /// Version of the program.
    pub version: String,
    /// URL and collection of the store.
    pub store: String,
    /// Name of the model.
    pub model: String,
    /// What is done with the pages.
    #[serde(flatten)]
    pub work: Work,
}

/// What is done with the pages of a run, and with which settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Work {
    /// They are rendered, embedded and stored.
    Pages {
        /// Id of the model's profile.
        profile: String,
        /// The render profile, PDFium's build included.
        render: String,
        /// Profile of the text model; `None` if pages get no text vectors.
        text_profile: Option<String>,
    },
    /// They are described.
    Describe {
        /// The program that runs the model.
        runner: RunnerKind,
        /// Digest of the prompts.
        prompt: String,
        /// Maximum number of pixels of a page image.
        pixels: u64,
        /// Maximum number of tokens of a description.
        max_tokens: u32,
    },
}

impl Group {
    /// A group of this version of the program.
    pub(super) fn new(store: &str, model: &str, work: Work) -> Self {
        Self {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: store.to_owned(),
            model: model.to_owned(),
            work,
        }
    }

    /// The name of the group in the queue.
    pub fn id(&self) -> String {
        let json = serde_json::json!(self).to_string();
        shortened(&digest(&[json.as_bytes()]))
    }

    /// What is done with its items.
    pub fn kind(&self) -> Kind {
        match self.work {
            Work::Pages { .. } => Kind::Pages,
            Work::Describe { .. } => Kind::Describe,
        }
    }

    /// In what another group differs: for each part its name, its value here, and its value there.
    pub fn differences(&self, other: &Self) -> Vec<(&'static str, String, String)> {
        let (here, there) = (self.parts(), other.parts());
        let value = |name| there.iter().find(|(other, _)| *other == name);
        let pairs = here
            .into_iter()
            .filter_map(|(name, here)| Some((name, here, value(name)?.1.clone())));
        pairs.filter(|(_, here, there)| here != there).collect()
    }

    /// Its parts, by names for people.
    fn parts(&self) -> Vec<(&'static str, String)> {
        let mut parts = vec![
            ("kind of work", self.kind().name().to_owned()),
            ("protocol", self.protocol.to_string()),
            ("version of ingest", self.version.clone()),
            ("store", self.store.clone()),
            ("model", self.model.clone()),
        ];
        match &self.work {
            Work::Pages {
                profile,
                render,
                text_profile,
            } => {
                let text_profile = text_profile.clone().unwrap_or_else(|| "none".into());
                parts.push(("model profile", profile.clone()));
                parts.push(("render profile", render.clone()));
                parts.push(("text model", text_profile));
            }
            Work::Describe {
                runner,
                prompt,
                pixels,
                max_tokens,
            } => {
                parts.push(("runner", runner.name().to_owned()));
                parts.push(("prompts", prompt.clone()));
                parts.push(("pixels of a page image", pixels.to_string()));
                parts.push(("maximum tokens", max_tokens.to_string()));
            }
        }
        parts
    }
}

/// The first digits of a digest, as an id.
pub(super) fn shortened(digest: &str) -> String {
    digest.chars().take(ID_DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(here: &Group, there: &Group) -> Vec<&'static str> {
        let differences = here.differences(there);
        differences.iter().map(|part| part.0).collect()
    }

    fn pages(render: &str, text_profile: Option<&str>) -> Group {
        let work = Work::Pages {
            profile: "p".into(),
            render: render.into(),
            text_profile: text_profile.map(str::to_owned),
        };
        Group::new("http://a PdfPage", "built-in", work)
    }

    fn describe(model: &str, pixels: u64) -> Group {
        let work = Work::Describe {
            runner: RunnerKind::Ollama,
            prompt: "d".into(),
            pixels,
            max_tokens: 600,
        };
        Group::new("http://a PdfPage", model, work)
    }

    #[test]
    fn groups_tell_what_differs() {
        let (group, other) = (pages("150 dpi", None), pages("200 dpi", Some("t")));
        assert_eq!(names(&group, &other), ["render profile", "text model"]);
        assert_ne!(group.id(), other.id());
        let (a, b) = (describe("a", 1_000_000), describe("b", 400_000));
        assert_eq!(names(&a, &b), ["model", "pixels of a page image"]);
        assert!(names(&a, &group).contains(&"kind of work"));
    }

    #[test]
    fn groups_are_read_as_they_were_written() {
        for group in [pages("150 dpi", None), describe("a", 1)] {
            let json = serde_json::json!(group);
            assert_eq!(json["kind"], group.kind().name());
            assert_eq!(serde_json::from_value::<Group>(json).unwrap(), group);
        }
    }
}
