//! Model cards: facts about a checkpoint that its own files do not contain: those of known models and of families in `cards/`;
//! a model folder may contain its own as `ingest-card.toml`.

use std::fs;

use serde::Deserialize;

use super::prompt::PromptTemplate;
use crate::checkpoint::{Error, Json, Source};

/// The cards of known models.
const KNOWN_CARDS: &str = include_str!("cards/models.toml");
/// File name of a card in a model folder.
const CARD_FILE: &str = "ingest-card.toml";
/// Defaults of all cards.
const COMMON_CARD: &str = include_str!("cards/families/common.toml");
/// Name of the family of SauerkrautLM, whose class shares the `model_type` of others.
const SAUERKRAUTLM: &str = "sauerkrautlm_colqwen3";
/// Cards of families by `model_type`, by the class in `architectures`, or [`SAUERKRAUTLM`]; the others are ColQwen2 and
/// ColQwen2.5.
const FAMILY_CARDS: [(&str, &str); 6] = [
    (
        SAUERKRAUTLM,
        include_str!("cards/families/sauerkrautlm_colqwen3.toml"),
    ),
    (
        "JinaEmbeddingsV4Model",
        include_str!("cards/families/jina_embeddings_v4.toml"),
    ),
    ("qwen3_vl", include_str!("cards/families/qwen3_vl.toml")),
    ("colqwen3", include_str!("cards/families/colqwen3.toml")),
    (
        "ops_colqwen3",
        include_str!("cards/families/ops_colqwen3.toml"),
    ),
    (
        "qwen3_vl_nemotron_embed",
        include_str!("cards/families/qwen3_vl_nemotron_embed.toml"),
    ),
];
/// Card of the other families.
const OLD_FAMILY_CARD: &str = include_str!("cards/families/colqwen2.toml");
/// The projection of hidden states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Projection {
    /// To the width of a vector.
    #[default]
    Narrow,
    /// To the width of the hidden states, of which a vector has the first numbers, as many as one likes.
    Square,
    /// None: the hidden states are the vectors.
    None,
}

/// A model card; unknown fields are `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelCard {
    /// Hub id, or display name.
    pub(super) model: Option<String>,
    /// Base model of an adapter.
    pub(super) base: Option<String>,
    /// Width of a vector.
    pub(super) dim: Option<u32>,
    /// Name of the backbone's shape ([`super::shapes`]).
    pub(super) shape: Option<String>,
    /// Number of parameters, of a model without a known shape.
    pub(super) parameters: Option<u64>,
    /// Licence of the adapter, or of the model if there is no adapter.
    pub(super) licence: Option<String>,
    /// Licence of the base.
    pub(super) base_licence: Option<String>,
    /// Maximum number of visual tokens of a page.
    pub(super) max_visual_tokens: Option<u32>,
    /// Prompt of a page.
    pub(super) page_prompt: Option<String>,
    /// Whether white space around a query is removed.
    pub(super) strip_query: Option<bool>,
    /// Text before a query.
    pub(super) query_prefix: Option<String>,
    /// Text repeated after a query.
    pub(super) query_suffix: Option<String>,
    /// Number of repetitions.
    pub(super) query_suffix_count: Option<usize>,
    /// Task of the adapter, of a model that has several.
    pub(super) task: Option<String>,
    /// The projection of hidden states.
    pub(super) projection: Option<Projection>,
    /// Whether tokens attend to earlier tokens only.
    pub(super) causal: Option<bool>,
    /// Whether the licences allow commercial use.
    pub(super) commercial: Option<bool>,
    /// nDCG@5 of ViDoRe v1, per cent, as published.
    pub(super) vidore_v1: Option<f64>,
    /// nDCG@10 of NanoViDoRe v3, per cent, as published.
    pub(super) nano_vidore_v3: Option<f64>,
}

impl ModelCard {
    /// Finds the card of a model. Precedence: the model folder's card, then the known card; [`ModelCard::of_family`] adds the
    /// defaults.
    pub(super) fn find(model: &str, source: &Source) -> Result<Self, Error> {
        let local = match source {
            Source::Folder(folder) => Some(folder.join(CARD_FILE)).filter(|file| file.is_file()),
            Source::Hub(_) => None,
        };
        let local = local.map(|file| {
            let text = fs::read_to_string(&file).map_err(|error| Error::file(&file, &error))?;
            toml::from_str(&text)
                .map_err(|error: toml::de::Error| Error::file(&file, &error.message()))
        });
        let known = known_cards().find(|card| card.model.as_deref() == Some(model));
        let card: Self = local.transpose()?.unwrap_or_default();
        Ok(card.or(known.unwrap_or_default()))
    }

    /// This card, with the defaults of the family that `config.json` names.
    pub(super) fn of_family(self, config: &Json) -> Self {
        let class = config.value()["architectures"][0].as_str();
        let names = [sauerkrautlm(config), class, config.text("model_type")];
        let known = FAMILY_CARDS
            .iter()
            .find(|(name, _)| names.contains(&Some(*name)));
        let family = known.map_or(OLD_FAMILY_CARD, |(_, text)| text);
        self.or(parse(family)).or(parse(COMMON_CARD))
    }

    /// This card, with missing fields taken from another.
    fn or(self, other: Self) -> Self {
        Self {
            model: self.model.or(other.model),
            base: self.base.or(other.base),
            dim: self.dim.or(other.dim),
            shape: self.shape.or(other.shape),
            parameters: self.parameters.or(other.parameters),
            licence: self.licence.or(other.licence),
            base_licence: self.base_licence.or(other.base_licence),
            max_visual_tokens: self.max_visual_tokens.or(other.max_visual_tokens),
            page_prompt: self.page_prompt.or(other.page_prompt),
            strip_query: self.strip_query.or(other.strip_query),
            query_prefix: self.query_prefix.or(other.query_prefix),
            query_suffix: self.query_suffix.or(other.query_suffix),
            query_suffix_count: self.query_suffix_count.or(other.query_suffix_count),
            task: self.task.or(other.task),
            projection: self.projection.or(other.projection),
            causal: self.causal.or(other.causal),
            commercial: self.commercial.or(other.commercial),
            vidore_v1: self.vidore_v1.or(other.vidore_v1),
            nano_vidore_v3: self.nano_vidore_v3.or(other.nano_vidore_v3),
        }
    }

    /// The prompt template.
    pub(super) fn prompt_template(&self) -> PromptTemplate {
        PromptTemplate {
            page: self.page_prompt.clone().unwrap_or_default(),
            strip_query: self.strip_query.unwrap_or(false),
            query_prefix: self.query_prefix.clone().unwrap_or_default(),
            query_suffix: self.query_suffix.clone().unwrap_or_default(),
            query_suffix_count: self.query_suffix_count.unwrap_or(0),
        }
    }

    /// Whether the first numbers of a vector are a vector.
    pub(super) fn is_nested(&self) -> bool {
        self.projection == Some(Projection::Square)
    }

    /// Display text of the licences.
    pub(super) fn licences(&self) -> String {
        let unknown = "unknown, see the model's own page";
        let licence = self.licence.as_deref().unwrap_or(unknown);
        match &self.base_licence {
            None => licence.to_owned(),
            Some(base) => format!("adapter: {licence}; base: {base}"),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownCards {
    model: Vec<ModelCard>,
}

/// The built-in cards of models, best first. A test checks that they parse.
pub(super) fn known_cards() -> impl Iterator<Item = ModelCard> {
    let cards: KnownCards = toml::from_str(KNOWN_CARDS).unwrap_or_default();
    cards.model.into_iter()
}

/// The name of SauerkrautLM's family: of the classes with these types, only its own writes the width of a vector as `dim`.
fn sauerkrautlm(config: &Json) -> Option<&'static str> {
    let is_shared = matches!(config.text("model_type"), Some("qwen3_vl" | "colqwen3"));
    (is_shared && config.number(&["dim"]).is_some()).then_some(SAUERKRAUTLM)
}

/// Parses the card of a family; a test checks that all of them parse.
fn parse(text: &str) -> ModelCard {
    toml::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn families_have_their_prompts() {
        for (config, prefix, count) in [
            (json!({"model_type": "colqwen2_5"}), "Query: ", 10),
            (json!({"model_type": "qwen3_vl"}), "", 10),
            (json!({"model_type": "colqwen3", "embed_dim": 320}), "", 10),
            (json!({"model_type": "qwen3_vl", "dim": 128}), "Query: ", 10),
            (json!({"model_type": "colqwen3", "dim": 128}), "Query: ", 10),
            (
                json!({"model_type": "qwen3_vl_nemotron_embed"}),
                "<|im_start|>user\nQuery: query: ",
                1,
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("config.json");
            fs::write(&file, config.to_string()).unwrap();
            let card = ModelCard::default().of_family(&Json::read(&file).unwrap());
            let template = card.prompt_template();
            assert_eq!(
                (template.query_prefix.as_str(), template.query_suffix_count),
                (prefix, count)
            );
            assert!(template.page.contains("<|image_pad|>"));
        }
        for text in FAMILY_CARDS
            .map(|(_, text)| text)
            .iter()
            .chain([&OLD_FAMILY_CARD, &COMMON_CARD])
        {
            toml::from_str::<ModelCard>(text).unwrap();
        }
    }

    #[test]
    fn card_in_the_model_folder_takes_precedence() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join(CARD_FILE),
            "query_prefix = \"\"\nlicence = \"ours\"",
        )
        .unwrap();
        let source = Source::Folder(folder.path().to_owned());
        let card = ModelCard::find("vidore/colqwen2-v1.0", &source).unwrap();
        assert_eq!(card.prompt_template().query_prefix, "");
        assert!(card.licences().starts_with("adapter: ours; base: "));
        fs::write(folder.path().join(CARD_FILE), "query_prefx = \"\"").unwrap();
        assert!(matches!(
            ModelCard::find("x", &source),
            Err(Error::File { .. })
        ));
    }
}
