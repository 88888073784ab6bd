//! A text as the sequences that the model reads.

use super::MAX_TOKENS;
use super::bert::Sequence;
use super::word::{Frame, Word};

/// Tokens that a window shares with the one before it, at least.
const OVERLAP: usize = 16;

/// Windows of a page at most: 4,400 tokens and more, the rest of the text is not embedded. A dense page of 2,500 words has 32.
pub(super) const MAX_WINDOWS: usize = 40;

/// Windows of a query at most: some 500 tokens, a paragraph.
const MAX_QUERY_WINDOWS: usize = 4;

/// A sequence for the model.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Window {
    /// All tokens, with the special ones.
    pub(super) ids: Vec<u32>,
    /// Indices of the tokens of content words.
    pub(super) kept: Vec<usize>,
    /// For each of them one divided by the number of tokens of its word.
    pub(super) shares: Vec<f32>,
}

impl Window {
    /// Its tokens as input of the model.
    pub(super) fn sequence(&self) -> Sequence<'_> {
        Sequence {
            ids: &self.ids,
            kept: &self.kept,
        }
    }

    fn push(&mut self, word: &Word) {
        for id in &word.ids {
            if word.is_content {
                self.kept.push(self.ids.len());
                self.shares.push(1.0 / word.ids.len() as f32);
            }
            self.ids.push(*id);
        }
    }
}

/// The first [`MAX_WINDOWS`] windows of a text, each between the tokens of `frame`: it begins at the start of a word, and repeats
/// the last words of the one before it.
pub(super) fn windows(text: &[Word], frame: &Frame) -> Vec<Window> {
    cut(text, frame, MAX_WINDOWS, advance)
}

/// The first [`MAX_QUERY_WINDOWS`] windows of a query: each word is in one of them, so that none counts twice.
pub(super) fn query_windows(text: &[Word], frame: &Frame) -> Vec<Window> {
    cut(text, frame, MAX_QUERY_WINDOWS, <[Word]>::len)
}

/// At most `most` windows; `advance` tells how many words of one come before the next.
fn cut(text: &[Word], frame: &Frame, most: usize, advance: fn(&[Word]) -> usize) -> Vec<Window> {
    let mut windows = Vec::new();
    let mut rest = text;
    while !rest.is_empty() && windows.len() < most {
        let mut window = Window {
            ids: frame.first.clone(),
            ..Window::default()
        };
        // A word is not split; of one that is longer than a window only the first tokens are read.
        let count = fitting(rest, MAX_TOKENS - 1 - frame.first.len()).max(1);
        rest[..count].iter().for_each(|word| window.push(word));
        window.truncate(MAX_TOKENS - 1);
        window.ids.push(frame.last);
        windows.push(window);
        let is_last = count >= rest.len();
        rest = &rest[if is_last {
            count
        } else {
            advance(&rest[..count])
        }..];
    }
    windows
}

impl Window {
    fn truncate(&mut self, tokens: usize) {
        self.ids.truncate(tokens);
        let kept = self.kept.partition_point(|&index| index < tokens);
        self.kept.truncate(kept);
        self.shares.truncate(kept);
    }
}

/// Number of first words that have at most `tokens` tokens together.
fn fitting(words: &[Word], tokens: usize) -> usize {
    let mut sum = 0;
    let is_within = |word: &&Word| {
        sum += word.ids.len();
        sum <= tokens
    };
    words.iter().take_while(is_within).count()
}

/// Number of words to the start of the next window, which repeats at least [`OVERLAP`] tokens of this one.
fn advance(words: &[Word]) -> usize {
    let mut repeated = 0;
    let is_repeated = |word: &&Word| {
        let is_short = repeated < OVERLAP;
        repeated += word.ids.len();
        is_short
    };
    let repeated = words.iter().rev().take_while(is_repeated).count();
    (words.len() - repeated).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u32 = 101;
    const LAST: u32 = 102;

    fn windows(text: &[Word]) -> Vec<Window> {
        let first = vec![FIRST];
        super::windows(text, &Frame { first, last: LAST })
    }

    fn words(lengths: &[usize]) -> Vec<Word> {
        let word = |(n, &length): (usize, &usize)| Word {
            ids: vec![1000 + n as u32; length],
            is_word: true,
            is_content: n % 2 == 0,
        };
        lengths.iter().enumerate().map(word).collect()
    }

    #[test]
    fn windows_overlap() {
        let windows = windows(&words(&[1; 300]));
        assert!(windows.iter().all(|w| w.ids.len() <= MAX_TOKENS));
        assert!(
            windows
                .iter()
                .all(|w| w.ids[0] == FIRST && w.ids.last() == Some(&LAST))
        );
        // 126 words fit between [CLS] and [SEP]; the next window repeats 16 of them.
        let first: Vec<u32> = windows.iter().map(|w| w.ids[1]).collect();
        assert_eq!(first, [1000, 1110, 1220]);
        assert_eq!(windows[0].kept[..3], [1, 3, 5]);
    }

    #[test]
    fn the_windows_of_a_query_do_not_overlap() {
        let frame = Frame {
            first: vec![FIRST],
            last: LAST,
        };
        let windows = query_windows(&words(&[1; 300]), &frame);
        let first: Vec<u32> = windows.iter().map(|w| w.ids[1]).collect();
        assert_eq!(first, [1000, 1126, 1252]);
        assert_eq!(
            query_windows(&words(&[1; 2_000]), &frame).len(),
            MAX_QUERY_WINDOWS
        );
    }

    #[test]
    fn a_huge_text_is_cut() {
        // A dense page is whole.
        let page = windows(&words(&[1; 4_400]));
        let last = page.last().unwrap();
        assert_eq!(last.ids[last.ids.len() - 2], 1000 + 4_399);
        assert_eq!(windows(&words(&[1; 200_000])).len(), MAX_WINDOWS);
    }

    #[test]
    fn the_tokens_of_a_word_share_its_weight() {
        let window = &windows(&words(&[2, 1, 1]))[0];
        assert_eq!(window.kept, [1, 2, 4]);
        assert_eq!(window.shares, [0.5, 0.5, 1.0]);
    }

    #[test]
    fn a_word_longer_than_a_window_is_cut() {
        let windows = windows(&words(&[1, 500, 1]));
        assert!(windows.iter().all(|w| w.ids.len() <= MAX_TOKENS));
        assert!(windows.iter().all(|w| w.kept.len() == w.shares.len()));
        assert_eq!(windows.last().unwrap().ids, [101, 1002, 102]);
    }

    #[test]
    fn no_text_has_no_windows() {
        assert!(windows(&[]).is_empty());
    }
}
