//! WordPiece tokenization (Devlin et al. 2019, uncased) of a text into words with their tokens.

use std::collections::HashMap;
use std::sync::LazyLock;

use tokenizers::models::wordpiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{Model, NormalizedString, Normalizer, OffsetReferential, OffsetType};
use tokenizers::{PreTokenizedString, PreTokenizer};

use super::invalid;
use super::word::{Frame, Word};
use crate::analysis::is_stop_word;
use crate::checkpoint::Error;

/// One token a line; its number is its id.
const VOCABULARY: &str = include_str!(concat!(env!("OUT_DIR"), "/meaning-vocabulary.txt"));

/// `[CLS]`, the first token of a sequence.
const FIRST: u32 = 101;
/// `[SEP]`, the last token of a sequence.
const LAST: u32 = 102;
/// `[UNK]`, a word that has no tokens.
const UNKNOWN: u32 = 100;

/// The tokenizer of the model.
pub(super) struct WordPiece {
    model: wordpiece::WordPiece,
}

impl WordPiece {
    /// Reads the embedded vocabulary.
    pub(super) fn open() -> Result<Self, Error> {
        let vocabulary: HashMap<&str, u32> = VOCABULARY.lines().zip(0..).collect();
        let model = serde_json::json!({
            "vocab": vocabulary,
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        });
        let model = serde_json::from_value(model).map_err(|e| invalid(e.to_string()))?;
        Ok(Self { model })
    }

    /// The words of a text in order.
    pub(super) fn words(&self, text: &str) -> Result<Vec<Word>, Error> {
        let failed = |e: tokenizers::Error| invalid(e.to_string());
        let mut normalized = NormalizedString::from(text);
        BertNormalizer::new(true, true, None, true)
            .normalize(&mut normalized)
            .map_err(failed)?;
        let mut pieces = PreTokenizedString::from(normalized);
        BertPreTokenizer.pre_tokenize(&mut pieces).map_err(failed)?;
        pieces
            .get_splits(OffsetReferential::Normalized, OffsetType::Byte)
            .into_iter()
            .map(|(word, _, _)| self.word(word))
            .collect()
    }

    fn word(&self, text: &str) -> Result<Word, Error> {
        let tokens = self
            .model
            .tokenize(text)
            .map_err(|e| invalid(e.to_string()))?;
        let ids: Vec<u32> = tokens.into_iter().map(|token| token.id).collect();
        let is_word = text.chars().any(char::is_alphanumeric) && !ids.contains(&UNKNOWN);
        Ok(Word {
            ids,
            is_word,
            is_content: is_word && !is_stop_word(text),
        })
    }
}

/// The tokens around those of a text.
pub(super) fn frame() -> Frame {
    let first = vec![FIRST];
    Frame { first, last: LAST }
}

/// The tokens that are whole words of two English letters or more, or numbers of at most two digits; no stop words.
pub fn lexicon() -> Vec<u16> {
    let is_word = |text: &str| {
        let mut letters = text.bytes();
        match text.len() {
            1 | 2 if letters.clone().all(|c| c.is_ascii_digit()) => true,
            length => length > 1 && letters.all(|c| c.is_ascii_lowercase()) && !is_stop_word(text),
        }
    };
    let all = (0..=u16::MAX).zip(VOCABULARY.lines());
    all.filter(|(_, text)| is_word(text))
        .map(|(token, _)| token)
        .collect()
}

/// The word of a token; `None` if it continues or begins a longer word, as far as the vocabulary tells.
pub fn token_word(id: u16) -> Option<&'static str> {
    static TOKENS: LazyLock<Vec<&str>> = LazyLock::new(|| VOCABULARY.lines().collect());
    let token = TOKENS.get(usize::from(id))?;
    (!token.starts_with("##")).then_some(*token)
}

/// The words of tokens, separated by spaces.
pub fn text(tokens: &[u16]) -> String {
    let words: Vec<&str> = tokens.iter().filter_map(|t| token_word(*t)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_tokens_of_the_reference() {
        let tokenizer = WordPiece::open().unwrap();
        let words = tokenizer.words("The Überdruck-Ventil, 12.5 µA!").unwrap();
        // As transformers has them: `tests/golden/meaning/make_meaning.py` prints these ids.
        let expected: [(&[u32], bool); 10] = [
            (&[1996], false),
            (&[19169, 13626, 12722], true),
            (&[1011], false),
            (&[18834, 4014], true),
            (&[1010], false),
            (&[2260], true),
            (&[1012], false),
            (&[1019], true),
            (&[1085, 2050], true),
            (&[999], false),
        ];
        let found: Vec<(&[u32], bool)> = words.iter().map(|w| (&w.ids[..], w.is_content)).collect();
        assert_eq!(found, expected);
        assert_eq!(token_word(19169), Some("uber"));
        assert_eq!(token_word(13626), None);
        let unknown = tokenizer.words("取扱").unwrap();
        assert!(
            unknown
                .iter()
                .all(|word| !word.is_content || word.ids != [UNKNOWN])
        );
    }
}
