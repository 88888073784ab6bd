//! The word tower: from the letters of a word to a vector.

use super::feature_map::pointwise;
use super::page::unit;
use super::spelling::features;
use super::weights::WordWeights;

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
