//! Word tower: the letters of a word to its vector.

use super::feature_map::pointwise;
use super::page_tower::normalise;
use super::spelling::feature_indices;
use super::weights::WordWeights;

/// The vector of a word, of length 1.
pub(super) fn vector(weights: &WordWeights, word: &str) -> Vec<f32> {
    let width = weights.up.in_channels;
    let indices = feature_indices(word);
    let mut sum = vec![0.0; width];
    for index in &indices {
        for (sum, value) in sum
            .iter_mut()
            .zip(&weights.table[index * width..(index + 1) * width])
        {
            *sum += value;
        }
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a word has a few hundred features at most"
    )]
    let scale = (indices.len() as f32).sqrt();
    sum.iter_mut().for_each(|sum| *sum /= scale);
    let mut hidden = vec![0.0; weights.up.out_channels()];
    pointwise(&mut hidden, &sum, &weights.up, true);
    let mut residual = vec![0.0; width];
    pointwise(&mut residual, &hidden, &weights.down, false);
    sum.iter_mut()
        .zip(&residual)
        .for_each(|(sum, residual)| *sum += residual);
    let mut out = vec![0.0; weights.out.out_channels()];
    pointwise(&mut out, &sum, &weights.out, false);
    normalise(&mut out);
    out
}
