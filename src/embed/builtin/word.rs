//! The word tower: from the letters of a word to a vector.

use super::map::pointwise;
use super::page::unit;
use super::weights::WordWeights;

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
fn features(word: &str) -> Vec<usize> {
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

/// The vector of a word, of length 1.
pub(super) fn vector(weights: &WordWeights, word: &str) -> Vec<f32> {
    let width = weights.up.inputs;
    let found = features(word);
    let mut sum = vec![0.0; width];
    for f in &found {
        for (s, t) in sum
            .iter_mut()
            .zip(&weights.table[f * width..(f + 1) * width])
        {
            *s += t;
        }
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a word has a few hundred features at most"
    )]
    let root = (found.len() as f32).sqrt();
    sum.iter_mut().for_each(|s| *s /= root);
    let mut hidden = vec![0.0; weights.up.outputs()];
    pointwise(&mut hidden, &sum, &weights.up, true);
    let mut back = vec![0.0; width];
    pointwise(&mut back, &hidden, &weights.down, false);
    sum.iter_mut().zip(&back).for_each(|(s, b)| *s += b);
    let mut out = vec![0.0; weights.out.outputs()];
    pointwise(&mut out, &sum, &weights.out, false);
    unit(&mut out);
    out
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
