//! Spelling features of a word: the rows of the embedding table that it sums.

/// Characters with a symbol of their own. Two more symbols: the word boundary, and any other character.
const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz0123456789-./_'";
const SYMBOLS: usize = ALPHABET.len() + 2;
/// Distinct positions from either end of a word.
const POSITIONS: usize = 12;
const FROM_START: usize = SYMBOLS;
const FROM_END: usize = FROM_START + SYMBOLS * POSITIONS;
const BIGRAM: usize = FROM_END + SYMBOLS * POSITIONS;
/// Rows of the embedding table.
pub(super) const FEATURES: usize = BIGRAM + SYMBOLS * SYMBOLS;

/// Feature indices of a word: its symbols, its symbols by position from both ends, and its bigrams.
pub(super) fn feature_indices(word: &str) -> Vec<usize> {
    let symbols: Vec<usize> = word
        .chars()
        .map(|c| ALPHABET.find(c).map_or(SYMBOLS - 1, |i| i + 1))
        .collect();
    let n = symbols.len();
    let mut indices = symbols.clone();
    indices.extend(
        symbols
            .iter()
            .enumerate()
            .map(|(i, k)| FROM_START + k * POSITIONS + i.min(POSITIONS - 1)),
    );
    indices.extend(
        symbols
            .iter()
            .enumerate()
            .map(|(i, k)| FROM_END + k * POSITIONS + (n - 1 - i).min(POSITIONS - 1)),
    );
    let delimited: Vec<usize> = [&[0][..], &symbols, &[0]].concat();
    indices.extend(delimited.windows(2).map(|p| BIGRAM + p[0] * SYMBOLS + p[1]));
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_two_letters_has_nine_features() {
        let indices = feature_indices("a1");
        assert_eq!(indices[..2], [1, 28]);
        assert_eq!(
            indices[2..6],
            [
                FROM_START + 12,
                FROM_START + 28 * 12 + 1,
                FROM_END + 12 + 1,
                FROM_END + 28 * 12
            ]
        );
        assert_eq!(
            indices[6..],
            [BIGRAM + 1, BIGRAM + SYMBOLS + 28, BIGRAM + 28 * SYMBOLS]
        );
    }
}
