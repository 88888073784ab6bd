//! From words to tokens and back.

use std::path::Path;

use crate::checkpoint;

/// Tokens that a character may be spelled in: what is longer is no character.
const SPELLED: usize = 8;

/// A tokenizer.
pub(super) struct Tokenizer {
    tokenizer: tokenizers::Tokenizer,
    /// The token that stands for a picture.
    image: u32,
}

impl Tokenizer {
    /// Reads `tokenizer.json`.
    pub(super) fn open(file: &Path, image: u32) -> Result<Self, checkpoint::Error> {
        let failed = |error: tokenizers::Error| checkpoint::Error::file(file, &error);
        let mut tokenizer = tokenizers::Tokenizer::from_file(file).map_err(failed)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(failed)?;
        Ok(Self { tokenizer, image })
    }

    /// The tokens of a text before, between and behind its pictures.
    pub(super) fn encode_segments(&self, text: &str) -> Result<Vec<Vec<u32>>, tokenizers::Error> {
        let encoding = self.tokenizer.encode(text, false)?;
        let stretches = encoding.get_ids().split(|&token| token == self.image);
        Ok(stretches.map(<[u32]>::to_vec).collect())
    }

    /// The token of this name.
    pub(super) fn token(&self, name: &str) -> Option<u32> {
        self.tokenizer.token_to_id(name)
    }

    /// The words of another token, as far as they are whole: `held` keeps the rest of a character.
    pub(super) fn decode_stream(&self, token: u32, held: &mut Vec<u32>) -> String {
        held.push(token);
        let text = self.tokenizer.decode(held, true).unwrap_or_default();
        if text.ends_with(char::REPLACEMENT_CHARACTER) && held.len() < SPELLED {
            return String::new();
        }
        held.clear();
        text
    }
}
