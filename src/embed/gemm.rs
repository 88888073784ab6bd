//! Matrix multiplication: the only call of the `gemm` kernel, behind a function that checks every bound.
#![allow(
    unsafe_code,
    reason = "the kernel takes raw pointers; this file checks what they may reach"
)]

use gemm::Parallelism;

/// Rows of floats that may overlap: row `i` starts at `i * stride`. A convolution is a product with overlapping rows.
#[derive(Clone, Copy)]
pub(in crate::embed) struct Rows<'a> {
    /// The floats.
    pub(in crate::embed) data: &'a [f32],
    /// Floats from the start of a row to the start of the next.
    pub(in crate::embed) stride: usize,
}

/// A contiguous row-major matrix.
#[derive(Clone, Copy)]
pub(in crate::embed) struct Matrix<'a> {
    /// The floats.
    pub(in crate::embed) data: &'a [f32],
    /// Number of columns.
    pub(in crate::embed) columns: usize,
}

/// Adds the product of `left` and `right` to `sum`, which has as many columns as `right`.
///
/// # Panics
/// If a slice is shorter than its shape requires.
pub(in crate::embed) fn add_product(sum: &mut [f32], left: Rows<'_>, right: Matrix<'_>) {
    let n = right.columns;
    let (m, k) = (sum.len() / n, right.data.len() / n);
    if m == 0 || k == 0 {
        return;
    }
    assert!(
        sum.len() == m * n && right.data.len() == k * n,
        "a ragged matrix"
    );
    assert!(
        left.data.len() >= (m - 1) * left.stride + k,
        "rows past the end"
    );
    let stride_of = |width: usize| isize::try_from(width).unwrap_or(isize::MAX);
    // SAFETY: the three slices are live for the call; `sum` holds m rows of n and is borrowed mutably, so nothing else
    // reaches it; `right` holds k rows of n; the last float read of `left` is (m - 1) * stride + k - 1, checked above.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            sum.as_mut_ptr(),
            1,
            stride_of(n),
            true,
            left.data.as_ptr(),
            1,
            stride_of(left.stride),
            right.data.as_ptr(),
            1,
            stride_of(n),
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_of_overlapping_rows_is_added() {
        let mut sum = vec![100.0, 0.0, 0.0, 0.0];
        let left = Rows {
            data: &[1.0, 2.0, 3.0],
            stride: 1,
        };
        let right = Matrix {
            data: &[1.0, 10.0, 2.0, 20.0],
            columns: 2,
        };
        add_product(&mut sum, left, right); // rows 1 2 and 2 3
        assert_eq!(sum, [105.0, 50.0, 8.0, 80.0]);
    }

    #[test]
    #[should_panic(expected = "rows past the end")]
    fn rows_past_the_end_panic() {
        let left = Rows {
            data: &[1.0, 2.0],
            stride: 1,
        };
        add_product(
            &mut [0.0, 0.0],
            left,
            Matrix {
                data: &[1.0, 2.0],
                columns: 1,
            },
        );
    }
}
