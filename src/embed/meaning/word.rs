//! A word with its tokens, and the tokens around those of a text.

/// A word or a punctuation mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Its tokens, at least one.
    pub(super) ids: Vec<u32>,
    /// Whether it has letters or digits, and the model knows them.
    pub(super) is_word: bool,
    /// Whether its rows are kept: a word, and no stop word.
    pub(super) is_content: bool,
}

impl Word {
    /// A content word of one token.
    pub(super) fn whole(token: u16) -> Self {
        Self {
            ids: vec![token.into()],
            is_word: true,
            is_content: true,
        }
    }
}

/// The tokens around those of a text in a sequence.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Before the text.
    pub(super) first: Vec<u32>,
    /// After it.
    pub(super) last: u32,
}
