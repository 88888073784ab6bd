//! Elementwise functions of the model, written so that the compiler vectorises them.

/// Coefficients of the rational approximation of erf in single precision (XLA, `ErfImpl32` of
/// `xla/hlo/builder/lib/math.cc`), highest power first.
const ERF_NUMERATOR: [f32; 5] = [
    0.000_229_050_65,
    0.003_408_291,
    0.050_955_694,
    0.185_208_32,
    std::f32::consts::FRAC_2_SQRT_PI,
];
const ERF_DENOMINATOR: [f32; 7] = [
    -1.179_160_3e-7,
    0.000_023_547_966,
    0.001_017_962_5,
    0.014_070_47,
    0.110_985_05,
    0.497_469_25,
    1.0,
];
/// From here on erf is 1 in single precision.
const ERF_LIMIT: f32 = 3.832_507;

/// Horner's rule, highest power first.
#[inline(always)]
fn polynomial<const N: usize>(coefficients: [f32; N], x: f32) -> f32 {
    coefficients.into_iter().fold(0.0, |sum, c| sum * x + c)
}

#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-ERF_LIMIT, ERF_LIMIT);
    let square = x * x;
    x * polynomial(ERF_NUMERATOR, square) / polynomial(ERF_DENOMINATOR, square)
}

/// The exact GELU, `x * (1 + erf(x / sqrt 2)) / 2` (Hendrycks & Gimpel 2016).
pub(super) fn gelu(values: &mut [f32]) {
    for x in values {
        *x *= 0.5 + 0.5 * erf(*x * std::f32::consts::FRAC_1_SQRT_2);
    }
}

/// `e^x` for `x` up to 0, with a relative error below 1e-6: a power of two times a polynomial of degree 6 (Cephes, `expf`).
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding and subtracting it rounds to an integer: 1.5 * 2^23.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const SERIES: [f32; 6] = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    let x = x.max(-87.0);
    let power = x * std::f32::consts::LOG2_E + ROUND - ROUND;
    let rest = x - power * LN_2_HIGH - power * LN_2_LOW;
    let fraction = 1.0 + rest + rest * rest * polynomial(SERIES, rest);
    let exponent = ((power as i32 + 127) << 23).cast_unsigned();
    fraction * f32::from_bits(exponent)
}

/// Softmax of a row.
pub(super) fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for value in row.iter_mut() {
        *value = exp(*value - largest);
    }
    let scale = 1.0 / row.iter().sum::<f32>();
    row.iter_mut().for_each(|value| *value *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of erf from tables (Abramowitz & Stegun 1964, table 7.1).
    #[test]
    fn erf_equals_the_tables() {
        for (x, expected) in [
            (0.0, 0.0),
            (0.1, 0.112_462_92),
            (0.5, 0.520_499_9),
            (1.0, 0.842_700_8),
            (1.5, 0.966_105_15),
            (2.0, 0.995_322_3),
            (3.0, 0.999_977_9),
            (9.0, 1.0),
        ] {
            assert!((erf(x) - expected).abs() < 3e-7, "erf {x} is {}", erf(x));
            assert!((erf(-x) + expected).abs() < 3e-7);
        }
    }

    #[test]
    fn exp_and_softmax_equal_the_standard_ones() {
        for step in 0..8_700_u16 {
            let x = -f32::from(step) / 100.0;
            let error = (exp(x) / x.exp() - 1.0).abs();
            assert!(error < 1e-6, "exp {x}: {error}");
        }
        let mut row = [1.0, 2.0, -300.0, 2.0];
        softmax(&mut row);
        let expected = [0.155_362_4, 0.422_318_8, 0.0, 0.422_318_8];
        assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
