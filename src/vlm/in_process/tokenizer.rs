//! Tokenizer of a checkpoint: text to token ids, and a token stream back to text.

use std::path::Path;

use tokenizers::step_decode_stream;

use crate::checkpoint;

/// Tokenizer that knows the image token.
pub(super) struct Tokenizer {
    tokenizer: tokenizers::Tokenizer,
    /// Placeholder of an image.
    image_token: u32,
}

/// State of the incremental decoding of one token stream: the arguments of [`step_decode_stream`].
#[derive(Default)]
pub(super) struct DecodeState {
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
}

impl Tokenizer {
    /// Reads `tokenizer.json`.
    pub(super) fn open(file: &Path, image_token: u32) -> Result<Self, checkpoint::Error> {
        let failed = |error: tokenizers::Error| checkpoint::Error::file(file, &error);
        let mut tokenizer = tokenizers::Tokenizer::from_file(file).map_err(failed)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(failed)?;
        Ok(Self {
            tokenizer,
            image_token,
        })
    }

    /// Encodes a text and splits it at the image tokens: `n` images give `n + 1` segments.
    pub(super) fn encode_segments(&self, text: &str) -> Result<Vec<Vec<u32>>, tokenizers::Error> {
        let encoding = self.tokenizer.encode(text, false)?;
        let segments = encoding.get_ids().split(|&token| token == self.image_token);
        Ok(segments.map(<[u32]>::to_vec).collect())
    }

    /// Returns the id of a token.
    pub(super) fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// Decodes the next token of a stream; `None` while a character is incomplete, and for special tokens.
    pub(super) fn decode_stream(
        &self,
        token: u32,
        state: &mut DecodeState,
    ) -> Result<Option<String>, tokenizers::Error> {
        let DecodeState {
            ids,
            prefix,
            prefix_index,
        } = state;
        step_decode_stream(
            &self.tokenizer,
            vec![token],
            true,
            ids,
            prefix,
            prefix_index,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_stream_joins_the_tokens_of_a_character() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/golden/reciter/model/tokenizer.json"
        );
        let tokenizer = Tokenizer::open(Path::new(file), 0).unwrap();
        let text = "{\"title\": \"Größe 5 µm, 漢字 😀\"}";
        let segments = tokenizer.encode_segments(text).unwrap();
        let mut state = DecodeState::default();
        let mut decode = |&token| tokenizer.decode_stream(token, &mut state).unwrap();
        let chunks: Vec<_> = segments.concat().iter().map(&mut decode).collect();
        assert!(chunks.contains(&None), "{chunks:?}");
        assert_eq!(chunks.into_iter().flatten().collect::<String>(), text);
    }
}
