//! Unigram tokenization (Kudo 2018, as XLM-R has it) of a text in any language into words with their tokens.

use std::path::Path;

use tokenizers::Tokenizer;

use super::model::Model;
use super::word::{Frame, Word};
use crate::analysis::is_stop_word;
use crate::checkpoint::Error;

/// Begins the tokens that begin a word.
const MARK: char = '▁';
/// Tokens that the model was trained to see before a page, and before a query.
const PAGE_PREFIX: &str = "passage:";
const QUERY_PREFIX: &str = "query:";

/// Stop words of Dutch and German; without those that are content words in English (`door`, `bin`, `hat`, `man`, `war`).
const STOP_WORDS: &str = "de het een en of maar als dan dat die dit deze er hier daar in op aan van voor met bij naar om \
onder uit tot te ik je jij u hij zij ze wij jullie hun haar mijn jouw uw onze ons ben bent zijn waren wordt worden werd heb \
hebt heeft hebben kan kun kunnen kon moet moeten moest mogen zal zullen zou zouden wil doe doet doen wat welke welk wie waar \
waarom wanneer hoe hoeveel niet geen ook nog wel zo der das den dem des ein eine einen einem einer eines und oder aber wenn \
dann dass wer wo warum wann welche welcher welches welchen welchem wieviel viele viel im am auf aus beim mit nach von vom vor \
zu zum zur über unter durch für bis ich du sie es wir ihr mich mir mein meine meinen sein seine ihre ihren ist sind waren \
wird werden wurde habe haben hatte kann können konnte muss müssen soll sollen sollte darf dürfen nicht kein keine auch noch";

/// The tokenizer of the multilingual model.
pub(super) struct Unigram {
    tokenizer: Tokenizer,
    unknown: u32,
    /// The tokens around those of a page.
    pub(super) page_frame: Frame,
    /// The tokens around those of a query.
    pub(super) query_frame: Frame,
}

impl Unigram {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, or lacks a token.
    pub(super) fn open(file: &Path) -> Result<Self, Error> {
        let failed = |why: tokenizers::Error| Error::file(file, &why);
        let mut tokenizer = Tokenizer::from_file(file).map_err(failed)?;
        tokenizer.with_truncation(None).map_err(failed)?;
        tokenizer.with_padding(None);
        let id = |token: &str| {
            let id = tokenizer.token_to_id(token);
            id.ok_or_else(|| Error::file(file, &format!("there is no token `{token}`")))
        };
        let (first, last, unknown) = (id("<s>")?, id("</s>")?, id("<unk>")?);
        let frame = |prefix: &str| -> Result<Frame, Error> {
            let prefix = tokenizer.encode_fast(prefix, false).map_err(failed)?;
            let first = [&[first], prefix.get_ids()].concat();
            Ok(Frame { first, last })
        };
        Ok(Self {
            page_frame: frame(PAGE_PREFIX)?,
            query_frame: frame(QUERY_PREFIX)?,
            tokenizer,
            unknown,
        })
    }

    /// The words of a text in order.
    ///
    /// # Errors
    /// [`Error::Weights`] if the tokenizer fails.
    pub(super) fn words(&self, text: &str) -> Result<Vec<Word>, Error> {
        let encoded = self.tokenizer.encode(text, false);
        let encoded = encoded.map_err(|why| Model::Multilingual.invalid(why.to_string()))?;
        let mut words: Vec<Letters> = Vec::new();
        for (id, token) in encoded.get_ids().iter().zip(encoded.get_tokens()) {
            match words.last_mut() {
                Some(word) if word.is_continued_by(token) => word.push(*id, token),
                _ => words.push(Letters::new(*id, token)),
            }
        }
        let word = |word: Letters| word.finish(self.unknown);
        Ok(words.into_iter().map(word).collect())
    }

    /// The word of a token; `None` if it continues a word or is none.
    pub(super) fn word(&self, token: u32) -> Option<String> {
        let token = self.tokenizer.id_to_token(token)?;
        let word = token.strip_prefix(MARK)?;
        is_word(word).then(|| word.to_lowercase())
    }
}

/// A word that is put together.
struct Letters {
    ids: Vec<u32>,
    text: String,
}

impl Letters {
    fn new(id: u32, token: &str) -> Self {
        Self {
            ids: vec![id],
            text: token.trim_start_matches(MARK).to_owned(),
        }
    }

    /// A word goes on until the next mark or punctuation; the mark may be a token of its own.
    fn is_continued_by(&self, token: &str) -> bool {
        !token.starts_with(MARK) && (self.text.is_empty() || is_word(&self.text) && is_word(token))
    }

    fn push(&mut self, id: u32, token: &str) {
        self.ids.push(id);
        self.text.push_str(token);
    }

    fn finish(self, unknown: u32) -> Word {
        let is_word = is_word(&self.text) && !self.ids.contains(&unknown);
        let is_stop = || {
            let word = self.text.to_lowercase();
            is_stop_word(&word) || STOP_WORDS.split(' ').any(|stop| stop == word)
        };
        Word {
            is_word,
            is_content: is_word && !is_stop(),
            ids: self.ids,
        }
    }
}

fn is_word(text: &str) -> bool {
    text.contains(char::is_alphanumeric)
}
