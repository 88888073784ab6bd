//! What a ColQwen reads around a page and around a question.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::super::Error;
use crate::checkpoint;
use crate::patch::PatchGrid;
use crate::vectors::{PatchMap, ShapeError};

/// The words around pages and questions, as the checkpoint was trained with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words {
    /// What is read with a page; one token in it stands for the page.
    pub(super) page: String,
    /// What stands before a question.
    pub(super) query_prefix: String,
    /// What is repeated behind a question: room for the model to think of more words.
    pub(super) query_suffix: String,
    /// How often.
    pub(super) query_suffix_count: usize,
}

impl Words {
    /// The most tokens that the prompt of a page can have beside the page, whatever the tokenizer: names in `<|…|>` are
    /// one token each, and anything else at most one a byte. The real tokenizer needs 11.
    pub(super) fn page_tokens(&self) -> u32 {
        let mut tokens = 0;
        let mut rest = self.page.as_str();
        while let Some((text, behind)) = rest.split_once("<|") {
            tokens += text.len() + 1;
            rest = behind.split_once("|>").map_or("", |(_, behind)| behind);
        }
        (tokens + rest.len()) as u32
    }
}

/// The tokenizer, and the words of the page prompt as tokens.
pub(super) struct Prompt {
    tokenizer: Tokenizer,
    words: Words,
    /// Tokens before the page.
    pub(super) before: Vec<u32>,
    /// Tokens behind it.
    pub(super) after: Vec<u32>,
}

impl Prompt {
    /// Reads `tokenizer.json`.
    pub(super) fn open(file: &Path, words: Words, image_token: u32) -> Result<Self, Error> {
        let failed = |error: tokenizers::Error| checkpoint::Error::file(file, &error);
        let mut tokenizer = Tokenizer::from_file(file).map_err(failed)?;
        // Exporters leave the padding and cutting of their last call in the file.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(failed)?;
        let page = encode(&tokenizer, &words.page)?;
        let mut parts = page.split(|&token| token == image_token);
        let (Some(before), Some(after), None) = (parts.next(), parts.next(), parts.next()) else {
            let why =
                format!("does not make token {image_token} of the page's place in the prompt");
            return Err(checkpoint::Error::file(file, &why).into());
        };
        let (before, after) = (before.to_vec(), after.to_vec());
        Ok(Self {
            tokenizer,
            words,
            before,
            after,
        })
    }

    /// Vectors of a page of this shape.
    pub(super) fn rows(&self, grid: PatchGrid) -> usize {
        self.before.len() + grid.tokens() + self.after.len()
    }

    /// Where the rows of a page look.
    pub(super) fn looks(&self, grid: PatchGrid) -> Result<PatchMap, ShapeError> {
        let nowhere = |tokens: &[u32]| vec![PatchMap::NOWHERE; tokens.len()];
        let mut cells = nowhere(&self.before);
        cells.extend((0..grid.tokens()).map(|cell| cell as u16));
        cells.extend(nowhere(&self.after));
        let [columns, rows] = [grid.columns, grid.rows].map(|side| (side / grid.merge) as u16);
        PatchMap::new(columns, rows, cells, self.rows(grid))
    }

    /// The tokens of a question.
    pub(super) fn query(&self, text: &str) -> Result<Vec<u32>, Error> {
        let words = &self.words;
        let suffix = words.query_suffix.repeat(words.query_suffix_count);
        encode(
            &self.tokenizer,
            &format!("{}{text}{suffix}", words.query_prefix),
        )
    }
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Error> {
    let encoding = tokenizer.encode(text, false);
    let encoding = encoding.map_err(|error| Error::Model(format!("tokenizer: {error}")))?;
    Ok(encoding.get_ids().to_vec())
}
