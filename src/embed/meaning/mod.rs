//! Meaning: the token vectors of a small text model, compared by late interaction: all-MiniLM-L6-v2, which needs no download,
//! or [`multilingual`] for questions in other languages.
//!
//! A page's text layer becomes one vector per token that says something, and so does a query; MaxSim with query rows
//! weighted by inverse document frequency finds a page that says the same in other words. ColBERT (Khattab & Zaharia 2020)
//! with the token vectors of a sentence embedding model (Wang et al. 2020, MiniLM; Reimers & Gurevych 2019).
//!
//! The forward pass is our own over [`crate::linalg`]. Over the crate `gemm`, which is no faster, a window of 128 tokens took 43 ms on
//! one core, and with candle-transformers' `bert` 65 ms, in the same run.

mod bert;
mod model;
mod multilingual;
mod rotation;
mod rows;
mod tokenizer;
mod unigram;
mod weights;
mod windows;
mod word;
mod word_piece;

use std::num::NonZeroUsize;

use rayon::prelude::*;

use self::bert::Sequence;
pub use self::model::{Model, setting};
use self::rows::PageRows;
use self::tokenizer::Tokenizer;
use self::unigram::Unigram;
use self::weights::Weights;
use self::windows::{MAX_WINDOWS, Window, query_windows, windows};
use self::word::Word;
use self::word_piece::WordPiece;
pub use self::word_piece::{lexicon, text, token_word};
use crate::checkpoint::{Error, Progress};
use crate::embed::builtin::can_read;
use crate::vectors::{MultiVector, TextQuery, TextVectors};

/// Display name of the English model.
const MODEL: &str = "all-MiniLM-L6-v2";
/// Its licence, for lists; the text is in [`licence`].
const LICENCE: &str = "Apache-2.0";
/// Identity of its rows: the recipe's version, then the weights (the first digits of their SHA-256).
const PROFILE: &str = concat!("minilm-2-", env!("MEANING_ID"));
/// Maximum memory of the loaded model at work on two threads, in bytes; a run measured 79 MB more than one without it.
const MEMORY: u64 = 90_000_000;
/// Width of a row.
const WIDTH: usize = 384;

const ROW_WIDTH: NonZeroUsize = NonZeroUsize::new(WIDTH).unwrap();
const LAYERS: usize = 6;
const HEADS: usize = 12;
const HEAD_WIDTH: usize = WIDTH / HEADS;
/// Sequences that go through the model at a time, packed.
const WINDOWS: usize = 8;
/// Longest sequence; the embedded positions end there.
const MAX_TOKENS: usize = 128;

/// The licence of the embedded model.
pub fn licence() -> &'static str {
    include_str!("licence.txt")
}

/// Downloads the missing files of a model and reports progress.
///
/// # Errors
/// [`Error::Hub`] if the hub cannot be reached or refuses, [`Error::File`] if a file is invalid.
pub fn fetch(model: Model, on_progress: Progress) -> Result<(), Error> {
    match model {
        Model::English => Ok(()),
        Model::Multilingual => multilingual::open(on_progress).map(drop),
    }
}

/// A loaded model.
pub struct Meaning {
    model: Model,
    weights: Weights,
    tokenizer: Tokenizer,
}

impl Meaning {
    /// Loads a model: from the embedded weights, or from files, which are downloaded if they are missing.
    ///
    /// # Errors
    /// [`Error::Weights`] if the weights do not have the expected tensors; as [`fetch`].
    pub fn open(model: Model) -> Result<Self, Error> {
        let (weights, tokenizer) = match model {
            Model::English => (
                Weights::embedded()?,
                Tokenizer::WordPiece(WordPiece::open()?),
            ),
            Model::Multilingual => {
                let files = multilingual::open(&mut |_, _, _| ())?;
                let tokenizer = Unigram::open(&files.tokenizer)?;
                (
                    Weights::of_checkpoint(files.weights, files.layers)?,
                    Tokenizer::Unigram(Box::new(tokenizer)),
                )
            }
        };
        Ok(Self {
            model,
            weights,
            tokenizer,
        })
    }

    /// Which model this is.
    pub fn model(&self) -> Model {
        self.model
    }

    /// The word of a token; `None` if it continues or begins a longer word, as far as the vocabulary tells.
    pub fn token_word(&self, token: u32) -> Option<String> {
        self.tokenizer.word(token)
    }

    /// Embeds the text layer of a page, of a very long one its beginning, its windows in parallel; `None` if no word of it says
    /// anything.
    ///
    /// The name of its section is left out: the page where it begins shows it, and titles of outlines, which are sections,
    /// could not be used as queries that the model has not seen.
    ///
    /// # Errors
    /// [`Error::Weights`] if the model produces values that are not finite.
    pub fn embed_page(&self, text: &str) -> Result<Option<TextVectors>, Error> {
        self.embed(&self.tokenizer.words(first_words(text))?)
    }

    /// Embeds the text layer of a scan, which says little, and the words that were read from its picture, given as tokens of
    /// [`lexicon`].
    ///
    /// # Errors
    /// As [`Meaning::embed_page`].
    pub fn embed_scan(&self, text: &str, tokens: &[u16]) -> Result<Option<TextVectors>, Error> {
        let mut words = self.tokenizer.words(text)?;
        words.extend(self.tokenizer.words_read(tokens)?);
        self.embed(&words)
    }

    fn embed(&self, words: &[Word]) -> Result<Option<TextVectors>, Error> {
        let windows = windows(words, &self.tokenizer.page_frame());
        let (tokens, states) = self.rows(&windows);
        let mut rows = PageRows::default();
        let states = tokens.into_iter().zip(states.chunks_exact(WIDTH));
        states.for_each(|(token, row)| rows.add(token, row));
        rows.finish()
            .map_err(|why| self.model.invalid(why.to_string()))
    }

    /// Embeds a query, of a very long one its beginning; `None` if it has no word that the model knows, or the model is English and most of its letters are not
    /// Latin.
    ///
    /// # Errors
    /// [`Error::Weights`] if the model produces values that are not finite.
    pub fn embed_query(&self, text: &str) -> Result<Option<TextQuery>, Error> {
        if self.model == Model::English && !can_read(text) {
            return Ok(None);
        }
        let mut words = self.tokenizer.words(text)?;
        if words.iter().all(|word| !word.is_content) {
            words
                .iter_mut()
                .for_each(|word| word.is_content = word.is_word);
        }
        let windows = query_windows(&words, &self.tokenizer.query_frame());
        let (tokens, rows) = self.rows(&windows);
        let shares: Vec<f32> = windows
            .into_iter()
            .flat_map(|window| window.shares)
            .collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let vectors =
            MultiVector::new(rows, ROW_WIDTH).map_err(|why| self.model.invalid(why.to_string()))?;
        Ok(Some(TextQuery {
            known: self.known(&shares),
            profile: self.model.profile(),
            vectors,
            tokens,
            shares,
        }))
    }

    /// The share of words that the model knows as such, from the shares of their rows; the multilingual model knows all.
    fn known(&self, shares: &[f32]) -> f32 {
        let words: f32 = shares.iter().sum();
        let whole = shares.iter().filter(|share| **share == 1.0).count();
        match self.model {
            Model::English => whole as f32 / words.max(1.0),
            Model::Multilingual => 1.0,
        }
    }

    /// The kept tokens of windows and their rows, rotated and of length 1.
    fn rows(&self, windows: &[Window]) -> (Vec<u32>, Vec<f32>) {
        let windows = windows.iter().filter(|window| !window.kept.is_empty());
        let (mut tokens, mut rows) = (Vec::new(), Vec::new());
        let windows: Vec<&Window> = windows.collect();
        for windows in windows.chunks(WINDOWS) {
            let sequences: Vec<Sequence<'_>> =
                windows.iter().map(|window| window.sequence()).collect();
            rows.extend(bert::forward(&self.weights, &sequences));
            for sequence in sequences {
                tokens.extend(sequence.kept.iter().map(|&index| sequence.ids[index]));
            }
        }
        rows.par_chunks_exact_mut(WIDTH).for_each(|row| {
            rows::normalize(row);
            rotation::rotate(row);
        });
        (tokens, rows)
    }
}

/// The beginning of a text that can have all words of its windows: what follows need not be tokenized.
fn first_words(text: &str) -> &str {
    let words = text.split_whitespace();
    match words.clone().nth(MAX_WINDOWS * MAX_TOKENS) {
        Some(next) => &text[..next.as_ptr().addr() - text.as_ptr().addr()],
        None => text,
    }
}

/// The error that the English model is invalid.
fn invalid(why: String) -> Error {
    Model::English.invalid(why)
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/meaning/meaning.safetensors");

    fn floats(golden: &SafeTensors<'_>, name: &str) -> Vec<f32> {
        let (words, _) = golden.tensor(name).unwrap().data().as_chunks::<4>();
        words.iter().map(|word| f32::from_le_bytes(*word)).collect()
    }

    /// With the same int8 weights the rows equal those of transformers to 1e-5; the original f32 weights are within
    /// the loss that rounding costs.
    #[test]
    fn rows_equal_those_of_the_reference() {
        let golden = SafeTensors::deserialize(GOLDEN).unwrap();
        let weights = Weights::embedded().unwrap();
        for text in 0..4 {
            let (words, _) = golden
                .tensor(&format!("{text}.ids"))
                .unwrap()
                .data()
                .as_chunks::<8>();
            let ids: Vec<u32> = words
                .iter()
                .map(|w| u64::from_le_bytes(*w) as u32)
                .collect();
            let every = if ids.len() > 64 { 8 } else { 1 };
            let kept: Vec<usize> = (0..ids.len()).step_by(every).collect();
            let sequence = Sequence {
                ids: &ids,
                kept: &kept,
            };
            let mut rows = bert::forward(&weights, &[sequence]);
            rows.chunks_exact_mut(WIDTH).for_each(rows::normalize);
            let expected = floats(&golden, &format!("{text}.int8"));
            let pairs = rows.iter().zip(&expected);
            let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(
                rows.len() == expected.len() && difference < 1e-5,
                "{text}: {difference}"
            );
            let original = floats(&golden, &format!("{text}.original"));
            for (row, original) in rows.chunks(WIDTH).zip(original.chunks(WIDTH)) {
                let cosine: f32 = row.iter().zip(original).map(|(a, b)| a * b).sum();
                assert!(cosine > 0.999, "{text}: {cosine}");
            }
        }
    }

    #[test]
    fn a_query_is_nearer_to_a_page_that_says_the_same() {
        let model = Meaning::open(Model::English).unwrap();
        let query = model
            .embed_query("How do I silence the alarm?")
            .unwrap()
            .unwrap();
        // The stop words are left out.
        assert_eq!(
            query
                .tokens
                .iter()
                .filter_map(|t| model.token_word(*t))
                .collect::<Vec<_>>(),
            ["silence", "alarm"]
        );
        let long = format!(
            "{}silence the alarm",
            "Thank you for the manual. ".repeat(60)
        );
        let long = model.embed_query(&long).unwrap().unwrap();
        let last = long.tokens.last().and_then(|t| model.token_word(*t));
        assert_eq!(last.as_deref(), Some("alarm"));
        let score = |text: &str| {
            let page = model.embed_page(text).unwrap().unwrap();
            crate::vectors::max_sim(&query.vectors, &page.vectors)
        };
        assert!(
            score("Press mute to stop the siren.")
                > score("The pump needs 12 litres of oil.") + 0.3
        );
    }

    #[test]
    fn equal_rows_of_a_token_are_merged_and_texts_without_words_have_none() {
        let model = Meaning::open(Model::English).unwrap();
        let page = model
            .embed_page(&"Replace the filter. ".repeat(80))
            .unwrap()
            .unwrap();
        assert!(page.tokens.len() < 80, "{} rows", page.tokens.len());
        assert_eq!(page.tokens.len(), page.vectors.len());
        assert_eq!(model.embed_page(" — · \n…").unwrap(), None);
        assert_eq!(model.embed_query("???").unwrap(), None);
        assert_eq!(model.embed_query("説明書").unwrap(), None);
        assert!(model.embed_query("what is this").unwrap().is_some());
    }
}
