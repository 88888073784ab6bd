//! The spelling features of a word: which rows of the feature table it sums.

/// Letters, digits and joints that the tower tells apart; anything else is one kind more, the edge of a word another.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz0123456789-./_'";
const KINDS: usize = LETTERS.len() + 2;
/// Places told apart from either end of a word.
const PLACES: usize = 12;
const AT_START: usize = KINDS;
const AT_END: usize = AT_START + KINDS * PLACES;
const PAIR: usize = AT_END + KINDS * PLACES;
/// Rows of the table of features.
pub(super) const FEATURES: usize = PAIR + KINDS * KINDS;

/// Numbers of the features of a word: letters, letters by place from both ends, neighbouring pairs.
pub(super) fn features(word: &str) -> Vec<usize> {
    let kinds: Vec<usize> = word
        .chars()
        .map(|c| LETTERS.find(c).map_or(KINDS - 1, |i| i + 1))
        .collect();
    let n = kinds.len();
    let mut found = kinds.clone();
    found.extend(
        kinds
            .iter()
            .enumerate()
            .map(|(i, k)| AT_START + k * PLACES + i.min(PLACES - 1)),
    );
    found.extend(
        kinds
            .iter()
            .enumerate()
            .map(|(i, k)| AT_END + k * PLACES + (n - 1 - i).min(PLACES - 1)),
    );
    let edged: Vec<usize> = [&[0][..], &kinds, &[0]].concat();
    found.extend(edged.windows(2).map(|p| PAIR + p[0] * KINDS + p[1]));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_two_letters_has_nine_features() {
        let found = features("a1");
        assert_eq!(found[..2], [1, 28]);
        assert_eq!(
            found[2..6],
            [
                AT_START + 12,
                AT_START + 28 * 12 + 1,
                AT_END + 12 + 1,
                AT_END + 28 * 12
            ]
        );
        assert_eq!(found[6..], [PAIR + 1, PAIR + KINDS + 28, PAIR + 28 * KINDS]);
    }
}
