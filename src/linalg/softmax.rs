//! Softmax of one row.

use super::kernels::Kernels;

/// Softmax of scores times `scale`, in place.
pub(crate) fn softmax(scores: &mut [f32], scale: f32) {
    Kernels::best().softmax(scores, scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_equals_its_definition() {
        for kernels in Kernels::all() {
            for width in [1, 7, 8, 19, 64] {
                let scores: Vec<f32> = (0..width).map(|i| (i * 37 % 23) as f32 - 11.0).collect();
                let exps: Vec<f64> = scores.iter().map(|&x| (f64::from(x) * 0.5).exp()).collect();
                let sum: f64 = exps.iter().sum();
                let mut got = scores;
                kernels.softmax(&mut got, 0.5);
                for (got, want) in got.iter().zip(&exps) {
                    assert!(
                        (f64::from(*got) - want / sum).abs() < 1e-6,
                        "{}",
                        kernels.name
                    );
                }
            }
            let mut spoiled = [1.0, f32::NAN, 2.0];
            kernels.softmax(&mut spoiled, 1.0);
            assert!(spoiled.iter().all(|x| x.is_nan()), "{}", kernels.name);
        }
    }
}
