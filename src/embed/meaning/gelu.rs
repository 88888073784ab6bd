//! The activation function of the model, written so that the compiler vectorises it.

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
}
