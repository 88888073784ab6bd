//! Model cards: what is known of a checkpoint that its own files do not say. One TOML file each in `cards/`; a folder
//! may carry its own as `ingest-card.toml`.

use std::fs;

use serde::Deserialize;

use super::super::Known;
use super::prompt::Words;
use crate::checkpoint::{Error, Source};
use crate::units::ByteSize;

/// The name of a card in a model's folder.
const FILE: &str = "ingest-card.toml";
/// What holds where a card says nothing: the words that all ColQwen2 and ColQwen2.5 checkpoints share.
const FAMILY: &str = include_str!("cards/family.toml");
/// The checkpoints we know, best first.
const KNOWN: [&str; 4] = [
    include_str!("cards/colqwen2.5-v0.2.toml"),
    include_str!("cards/colqwen2.5-v0.1.toml"),
    include_str!("cards/colqwen2-v1.0.toml"),
    include_str!("cards/colqwen2-v0.1.toml"),
];

/// A model card, as far as it is filled in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sheet {
    /// Hub id, or the name for people.
    pub(super) model: Option<String>,
    /// The model that it adapts.
    pub(super) base: Option<String>,
    /// Width of a vector.
    pub(super) dim: Option<u32>,
    /// Number of parameters.
    pub(super) parameters: Option<u64>,
    /// Licence of the adapter, or of the whole where there is no adapter.
    pub(super) licence: Option<String>,
    /// Licence of the base.
    pub(super) base_licence: Option<String>,
    /// Visual tokens a page may take.
    pub(super) max_visual_tokens: Option<u32>,
    /// What is read with a page.
    pub(super) page_prompt: Option<String>,
    /// What stands before a question.
    pub(super) query_prefix: Option<String>,
    /// What is repeated behind a question.
    pub(super) query_suffix: Option<String>,
    /// How often.
    pub(super) query_suffix_count: Option<usize>,
}

impl Sheet {
    /// The card of a model: its folder's over the one we know over the family's.
    pub(super) fn of(model: &str, source: &Source) -> Result<Self, Error> {
        let own = match source {
            Source::Folder(folder) => Some(folder.join(FILE)).filter(|file| file.is_file()),
            Source::Hub(_) => None,
        };
        let own = own.map(|file| {
            let text = fs::read_to_string(&file).map_err(|error| Error::file(&file, &error))?;
            toml::from_str(&text)
                .map_err(|error: toml::de::Error| Error::file(&file, &error.message()))
        });
        let known = known().find(|sheet| sheet.model.as_deref() == Some(model));
        let sheet: Self = own.transpose()?.unwrap_or_default();
        Ok(sheet.over(known.unwrap_or_default()).over(parse(FAMILY)))
    }

    /// This card, with its gaps filled from another.
    fn over(self, other: Self) -> Self {
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

    /// The words around pages and questions.
    pub(super) fn words(&self) -> Words {
        Words {
            page: self.page_prompt.clone().unwrap_or_default(),
            query_prefix: self.query_prefix.clone().unwrap_or_default(),
            query_suffix: self.query_suffix.clone().unwrap_or_default(),
            query_suffix_count: self.query_suffix_count.unwrap_or(0),
        }
    }

    /// The licences, for people.
    pub(super) fn licences(&self) -> String {
        let unknown = "unknown, see the model's own page";
        let licence = self.licence.as_deref().unwrap_or(unknown);
        match &self.base_licence {
            None => licence.to_owned(),
            Some(base) => format!("adapter: {licence}; base: {base}"),
        }
    }
}

/// Our own cards are checked by a test.
fn parse(text: &str) -> Sheet {
    toml::from_str(text).unwrap_or_default()
}

fn known() -> impl Iterator<Item = Sheet> {
    KNOWN.iter().map(|text| parse(text))
}

/// The models we have cards of.
pub(in crate::embed) fn models() -> Vec<Known> {
    let entry = |sheet: Sheet| {
        let parameters = sheet.parameters.unwrap_or(0);
        Known {
            licence: sheet.licences(),
            model: sheet.model.unwrap_or_default(),
            dim: sheet.dim.unwrap_or(0),
            parameters,
            download: ByteSize(parameters * 2),
        }
    };
    known().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cards_are_whole() {
        for text in KNOWN {
            let sheet: Sheet = toml::from_str(text).unwrap();
            assert!(sheet.model.is_some() && sheet.base.is_some() && sheet.dim.is_some());
            assert!(sheet.parameters.is_some() && sheet.max_visual_tokens.is_some());
            assert!(sheet.licences().starts_with("adapter: "));
        }
        let words = toml::from_str::<Sheet>(FAMILY).unwrap().words();
        assert_eq!(
            (words.query_prefix.as_str(), words.query_suffix_count),
            ("Query: ", 10)
        );
    }

    #[test]
    fn a_folder_has_the_last_word() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join(FILE),
            "query_prefix = \"\"\nlicence = \"ours\"",
        )
        .unwrap();
        let source = Source::Folder(folder.path().to_owned());
        let sheet = Sheet::of("vidore/colqwen2-v1.0", &source).unwrap();
        assert_eq!(sheet.words().query_prefix, "");
        assert!(sheet.licences().starts_with("adapter: ours; base: "));
        fs::write(folder.path().join(FILE), "query_prefx = \"\"").unwrap();
        assert!(matches!(Sheet::of("x", &source), Err(Error::File { .. })));
    }
}
