//! A fixed rotation of rows: spreads what a row says evenly over its values, so that their signs alone keep it (1-bit).
//!
//! Random signs, then the orthogonal matrix `Q x H`: a reflection of order 3 and the Walsh-Hadamard matrix of order 128
//! (`384 = 3 * 128`). Dot products of rotated rows equal those of the rows. Randomised Hadamard rotations: Ailon & Chazelle
//! 2009 (fast Johnson-Lindenstrauss transform).

use super::WIDTH;

const ORDER: usize = 128;
const BLOCKS: usize = WIDTH / ORDER;

/// Rotates a row in place.
pub(super) fn rotate(row: &mut [f32]) {
    let mut state = 0_u64;
    for value in row.iter_mut() {
        if next(&mut state) & 1 == 1 {
            *value = -*value;
        }
    }
    row.chunks_exact_mut(ORDER).for_each(hadamard);
    // I - 2/3 J: every entry is a third or two thirds.
    for i in 0..ORDER {
        let sum: f32 = (0..BLOCKS).map(|block| row[block * ORDER + i]).sum();
        for block in 0..BLOCKS {
            row[block * ORDER + i] -= sum * (2.0 / BLOCKS as f32);
        }
    }
}

/// The Walsh-Hadamard transform, scaled to be orthogonal.
fn hadamard(block: &mut [f32]) {
    let mut half = 1;
    while half < block.len() {
        for pair in block.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let scale = 1.0 / (block.len() as f32).sqrt();
    block.iter_mut().for_each(|value| *value *= scale);
}

/// The SplitMix64 generator (Steele, Lea & Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_products_stay() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut row = || -> Vec<f32> { (0..WIDTH).map(|_| random.f32() - 0.5).collect() };
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let (mut a, mut b) = (row(), row());
        let before = [dot(&a, &b), dot(&a, &a), dot(&b, &b)];
        rotate(&mut a);
        rotate(&mut b);
        let after = [dot(&a, &b), dot(&a, &a), dot(&b, &b)];
        for (before, after) in before.into_iter().zip(after) {
            assert!((before - after).abs() < 1e-4, "{before} became {after}");
        }
    }

    #[test]
    fn one_value_is_spread_over_all() {
        let mut row = [0.0; WIDTH];
        row[5] = 1.0;
        rotate(&mut row);
        assert!(row.iter().all(|v| (0.029..=0.06).contains(&v.abs())));
    }
}
