//! A text as words with their tokens, by the tokenizer of the model.

use super::unigram::Unigram;
use super::word::{Frame, Word};
use super::word_piece::{self, WordPiece};
use crate::checkpoint::Error;

/// The tokenizer of a model.
pub(super) enum Tokenizer {
    /// Of the English model.
    WordPiece(WordPiece),
    /// Of the multilingual model.
    Unigram(Box<Unigram>),
}

impl Tokenizer {
    /// The words of a text in order.
    pub(super) fn words(&self, text: &str) -> Result<Vec<Word>, Error> {
        match self {
            Self::WordPiece(tokenizer) => tokenizer.words(text),
            Self::Unigram(tokenizer) => tokenizer.words(text),
        }
    }

    /// The words that were read from a page image, given as tokens of [`super::lexicon`].
    pub(super) fn words_read(&self, tokens: &[u16]) -> Result<Vec<Word>, Error> {
        match self {
            Self::WordPiece(_) => Ok(tokens.iter().copied().map(Word::whole).collect()),
            Self::Unigram(tokenizer) => tokenizer.words(&word_piece::text(tokens)),
        }
    }

    /// The tokens around those of a page.
    pub(super) fn page_frame(&self) -> Frame {
        match self {
            Self::WordPiece(_) => word_piece::frame(),
            Self::Unigram(tokenizer) => tokenizer.page_frame.clone(),
        }
    }

    /// The tokens around those of a query.
    pub(super) fn query_frame(&self) -> Frame {
        match self {
            Self::WordPiece(_) => word_piece::frame(),
            Self::Unigram(tokenizer) => tokenizer.query_frame.clone(),
        }
    }

    /// The word of a token; `None` if it continues or begins a longer word, as far as the vocabulary tells.
    pub(super) fn word(&self, token: u32) -> Option<String> {
        match self {
            Self::WordPiece(_) => {
                let token = u16::try_from(token).ok()?;
                word_piece::token_word(token).map(str::to_owned)
            }
            Self::Unigram(tokenizer) => tokenizer.word(token),
        }
    }
}
