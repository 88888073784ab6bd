//! What a ColQwen reads around a page and around a question, and where each token stands.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::super::Error;
use super::config::Text;
use crate::patch::PatchGrid;

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
        let failed = |error: tokenizers::Error| Error::file(file, &error);
        let mut tokenizer = Tokenizer::from_file(file).map_err(failed)?;
        // Exporters leave the padding and cutting of their last call in the file.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(failed)?;
        let page = encode(&tokenizer, &words.page)?;
        let mut parts = page.split(|&token| token == image_token);
        let (Some(before), Some(after), None) = (parts.next(), parts.next(), parts.next()) else {
            let why =
                format!("does not make token {image_token} of the page's place in the prompt");
            return Err(Error::file(file, &why));
        };
        let (before, after) = (before.to_vec(), after.to_vec());
        Ok(Self {
            tokenizer,
            words,
            before,
            after,
        })
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

/// Where a token stands: in time, down and across. Text moves along all three at once.
pub(super) type Place = [usize; 3];

/// The places of a page prompt.
pub(super) fn page_places(before: usize, grid: PatchGrid, after: usize) -> Vec<Place> {
    let merge = grid.merge as usize;
    let (rows, columns) = (grid.rows as usize / merge, grid.columns as usize / merge);
    let text = |start: usize, count: usize| (start..start + count).map(|i| [i; 3]);
    let image = (0..rows * columns).map(|i| [before, before + i / columns, before + i % columns]);
    let behind = text(before + rows.max(columns), after);
    text(0, before).chain(image).chain(behind).collect()
}

/// The places of a question.
pub(super) fn query_places(tokens: usize) -> Vec<Place> {
    (0..tokens).map(|i| [i; 3]).collect()
}

/// The rotary angles of tokens, `head / 2` each: each section of the frequencies follows one axis.
pub(super) fn angles(places: &[Place], config: &Text) -> Vec<f32> {
    let half = config.head() / 2;
    let frequency = |i: usize| 1.0 / (config.rope_theta as f32).powf(i as f32 / half as f32);
    let [time, down, _] = config.mrope_section;
    let axis = |i: usize| usize::from(i >= time) + usize::from(i >= time + down);
    let bands: Vec<(f32, usize)> = (0..half).map(|i| (frequency(i), axis(i))).collect();
    let token = |place: &Place| {
        bands
            .iter()
            .map(|&(f, axis)| place[axis] as f32 * f)
            .collect()
    };
    places
        .iter()
        .flat_map(|place: &Place| -> Vec<f32> { token(place) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_behind_a_page_starts_past_its_longer_side() {
        let grid = PatchGrid {
            rows: 4,
            columns: 6,
            merge: 2,
        };
        assert_eq!(
            page_places(2, grid, 1),
            [
                [0, 0, 0],
                [1, 1, 1],
                [2, 2, 2],
                [2, 2, 3],
                [2, 2, 4],
                [2, 3, 2],
                [2, 3, 3],
                [2, 3, 4],
                [5, 5, 5]
            ]
        );
    }
}
