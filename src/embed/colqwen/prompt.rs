//! Prompt template of ColQwen: the text around pages and queries, and its tokens.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::{Encoding, Tokenizer};

use super::super::{Error, QueryWord};
use crate::checkpoint;
use crate::patch::PatchGrid;
use crate::vectors::{PatchMap, ShapeError};

/// The prompt template that a checkpoint was trained with. Hashed into the profile id: field names never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PromptTemplate {
    /// Prompt of a page; contains one image token.
    pub(super) page: String,
    /// Whether white space around a query is removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) strip_query: bool,
    /// Text before a query.
    pub(super) query_prefix: String,
    /// Text repeated after a query (query augmentation): extra tokens that the model can turn into related terms.
    pub(super) query_suffix: String,
    /// Number of repetitions.
    pub(super) query_suffix_count: usize,
}

impl PromptTemplate {
    /// Upper bound of the prompt tokens of a page besides the image, for any tokenizer: names in `<|…|>` are one token
    /// each, everything else at most one per byte. The real tokenizer needs 11.
    pub(super) fn page_tokens(&self) -> u32 {
        let mut tokens = 0;
        let mut rest = self.page.as_str();
        while let Some((text, special)) = rest.split_once("<|") {
            tokens += text.len() + 1;
            rest = special.split_once("|>").map_or("", |(_, after)| after);
        }
        (tokens + rest.len()) as u32
    }

    /// The part of a query that is kept.
    fn kept(&self, text: &str) -> Range<usize> {
        let start = text.len() - text.trim_start().len();
        match self.strip_query {
            true => start..start + text.trim().len(),
            false => 0..text.len(),
        }
    }
}

/// The tokenizer and the tokenized page prompt.
pub(super) struct Prompt {
    tokenizer: Tokenizer,
    template: PromptTemplate,
    /// Tokens before the image.
    pub(super) prefix: Vec<u32>,
    /// Tokens after the image.
    pub(super) suffix: Vec<u32>,
}

impl Prompt {
    /// Loads `tokenizer.json` and tokenizes the page prompt.
    pub(super) fn open(
        file: &Path,
        template: PromptTemplate,
        image_token: u32,
    ) -> Result<Self, Error> {
        let failed = |error: tokenizers::Error| checkpoint::Error::file(file, &error);
        let mut tokenizer = Tokenizer::from_file(file).map_err(failed)?;
        // Exporters leave the padding and truncation of their last call in the file.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(failed)?;
        let page = encode(&tokenizer, &template.page)?;
        let mut parts = page.split(|&token| token == image_token);
        let (Some(prefix), Some(suffix), None) = (parts.next(), parts.next(), parts.next()) else {
            let why = format!("the page prompt must contain image token {image_token} once");
            return Err(checkpoint::Error::file(file, &why).into());
        };
        let (prefix, suffix) = (prefix.to_vec(), suffix.to_vec());
        Ok(Self {
            tokenizer,
            template,
            prefix,
            suffix,
        })
    }

    /// Number of vectors of a page with this grid.
    pub(super) fn rows(&self, grid: PatchGrid) -> usize {
        self.prefix.len() + grid.tokens() + self.suffix.len()
    }

    /// Patch map of a page with this grid; prompt tokens have no cell.
    pub(super) fn patch_map(&self, grid: PatchGrid) -> Result<PatchMap, ShapeError> {
        let no_cells = |tokens: &[u32]| vec![PatchMap::NO_CELL; tokens.len()];
        let mut cells = no_cells(&self.prefix);
        cells.extend((0..grid.tokens()).map(|cell| cell as u16));
        cells.extend(no_cells(&self.suffix));
        let [columns, rows] = [grid.columns, grid.rows].map(|side| (side / grid.merge) as u16);
        PatchMap::new(columns, rows, cells, self.rows(grid))
    }

    /// Tokens of a query with its prefix and suffix.
    pub(super) fn query(&self, text: &str) -> Result<Vec<u32>, Error> {
        encode(&self.tokenizer, &self.query_text(text))
    }

    /// A query with its prefix and suffix.
    fn query_text(&self, text: &str) -> String {
        let template = &self.template;
        let query_suffix = template.query_suffix.repeat(template.query_suffix_count);
        let text = &text[template.kept(text)];
        format!("{}{text}{query_suffix}", template.query_prefix)
    }

    /// The words of a query, separated by white space, that have a letter or digit, with their tokens.
    pub(super) fn query_words(&self, text: &str) -> Result<Vec<QueryWord>, Error> {
        let encoding = encoding(&self.tokenizer, &self.query_text(text))?;
        let (offset, kept) = (self.template.query_prefix.len(), self.template.kept(text));
        let rows = |word: &Range<usize>| {
            let word = [word.start, word.end].map(|at| at - kept.start + offset);
            // A token may begin with the space before its word.
            let is_in = |(from, to): &(usize, usize)| *to > word[0] && *from < word[1] && to > from;
            let offsets = encoding.get_offsets();
            let first = offsets.iter().position(is_in)?;
            let last = offsets.iter().rposition(is_in)?;
            Some(first..last + 1)
        };
        let words = text.split_whitespace().filter_map(|word| {
            let start = word.as_ptr().addr() - text.as_ptr().addr();
            let range = start..start + word.len();
            let rows = rows(&range).filter(|_| word.contains(char::is_alphanumeric))?;
            Some(QueryWord { text: range, rows })
        });
        Ok(words.collect())
    }
}

fn encoding(tokenizer: &Tokenizer, text: &str) -> Result<Encoding, Error> {
    let encoding = tokenizer.encode(text, false);
    encoding.map_err(|error| Error::Model(format!("tokenizer: {error}")))
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, Error> {
    Ok(encoding(tokenizer, text)?.get_ids().to_vec())
}
