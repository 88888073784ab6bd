//! Model cards: facts about a checkpoint that its own files do not contain. One TOML file each in `cards/`; a model
//! folder may contain its own as `ingest-card.toml`.

use std::fs;

use serde::Deserialize;

use super::super::KnownModel;
use super::prompt::PromptTemplate;
use crate::checkpoint::{Error, Source};
use crate::units::ByteSize;

/// File name of a card in a model folder.
const CARD_FILE: &str = "ingest-card.toml";
/// Defaults of all cards: the prompt template that all ColQwen2 and ColQwen2.5 checkpoints share.
const FAMILY_CARD: &str = include_str!("cards/family.toml");
/// Cards of known checkpoints, best first.
const KNOWN_CARDS: [&str; 4] = [
    include_str!("cards/colqwen2.5-v0.2.toml"),
    include_str!("cards/colqwen2.5-v0.1.toml"),
    include_str!("cards/colqwen2-v1.0.toml"),
    include_str!("cards/colqwen2-v0.1.toml"),
];

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
    /// Number of parameters.
    pub(super) parameters: Option<u64>,
    /// Licence of the adapter, or of the model if there is no adapter.
    pub(super) licence: Option<String>,
    /// Licence of the base.
    pub(super) base_licence: Option<String>,
    /// Maximum number of visual tokens of a page.
    pub(super) max_visual_tokens: Option<u32>,
    /// Prompt of a page.
    pub(super) page_prompt: Option<String>,
    /// Text before a query.
    pub(super) query_prefix: Option<String>,
    /// Text repeated after a query.
    pub(super) query_suffix: Option<String>,
    /// Number of repetitions.
    pub(super) query_suffix_count: Option<usize>,
}

impl ModelCard {
    /// Finds the card of a model. Precedence: the model folder's card, then the known card, then the family's defaults.
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
        Ok(card.or(known.unwrap_or_default()).or(parse(FAMILY_CARD)))
    }

    /// This card, with missing fields taken from another.
    fn or(self, other: Self) -> Self {
        Self {
            model: self.model.or(other.model),
            base: self.base.or(other.base),
            dim: self.dim.or(other.dim),
            parameters: self.parameters.or(other.parameters),
            licence: self.licence.or(other.licence),
            base_licence: self.base_licence.or(other.base_licence),
            max_visual_tokens: self.max_visual_tokens.or(other.max_visual_tokens),
            page_prompt: self.page_prompt.or(other.page_prompt),
            query_prefix: self.query_prefix.or(other.query_prefix),
            query_suffix: self.query_suffix.or(other.query_suffix),
            query_suffix_count: self.query_suffix_count.or(other.query_suffix_count),
        }
    }

    /// The prompt template.
    pub(super) fn prompt_template(&self) -> PromptTemplate {
        PromptTemplate {
            page: self.page_prompt.clone().unwrap_or_default(),
            query_prefix: self.query_prefix.clone().unwrap_or_default(),
            query_suffix: self.query_suffix.clone().unwrap_or_default(),
            query_suffix_count: self.query_suffix_count.unwrap_or(0),
        }
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

/// Parses a built-in card; a test checks that all of them parse.
fn parse(text: &str) -> ModelCard {
    toml::from_str(text).unwrap_or_default()
}

/// The built-in cards.
fn known_cards() -> impl Iterator<Item = ModelCard> {
    KNOWN_CARDS.iter().map(|text| parse(text))
}

/// The models with built-in cards.
pub(in crate::embed) fn models() -> Vec<KnownModel> {
    let entry = |card: ModelCard| {
        let parameters = card.parameters.unwrap_or(0);
        KnownModel {
            licence: card.licences(),
            model: card.model.unwrap_or_default(),
            dim: card.dim.unwrap_or(0),
            parameters,
            download: ByteSize(parameters * 2),
        }
    };
    known_cards().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_cards_are_complete() {
        for text in KNOWN_CARDS {
            let card: ModelCard = toml::from_str(text).unwrap();
            assert!(card.model.is_some() && card.base.is_some() && card.dim.is_some());
            assert!(card.parameters.is_some() && card.max_visual_tokens.is_some());
            assert!(card.licences().starts_with("adapter: "));
        }
        let template = toml::from_str::<ModelCard>(FAMILY_CARD)
            .unwrap()
            .prompt_template();
        assert_eq!(
            (template.query_prefix.as_str(), template.query_suffix_count),
            ("Query: ", 10)
        );
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
