//! Single operations of the towers at real sizes, to measure what a device can do.

/// An operation of a tower, in the dtype of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A linear layer without bias: (rows, from) to (rows, to).
    Linear {
        /// Rows of the input.
        rows: usize,
        /// Width of the input.
        from: usize,
        /// Width of the output.
        to: usize,
    },
    /// Attention of sequences of one length.
    Attention {
        /// Number of sequences.
        count: usize,
        /// Rows of a sequence.
        len: usize,
        /// Query heads.
        heads: usize,
        /// Key heads.
        key_heads: usize,
        /// Width of a head.
        head_dim: usize,
        /// Whether rows attend to earlier rows only.
        causal: bool,
    },
    /// A copy of values of the dtype.
    Copy {
        /// Number of values.
        values: usize,
    },
}

impl Operation {
    /// Floating-point operations, a multiply-add counted as two. Those of a causal mask are not counted.
    pub fn flops(&self) -> u64 {
        let flops = match *self {
            Self::Linear { rows, from, to } => 2 * rows * from * to,
            Self::Attention {
                count,
                len,
                heads,
                head_dim,
                causal,
                ..
            } => 4 * count * heads * len * len * head_dim / if causal { 2 } else { 1 },
            Self::Copy { .. } => 0,
        };
        flops as u64
    }

    /// Values read and written by a copy.
    pub fn copied_values(&self) -> u64 {
        match *self {
            Self::Copy { values } => 2 * values as u64,
            _ => 0,
        }
    }
}

/// `count` values between -1 and 1 for the inputs of an operation: zeros would draw less power than real inputs.
pub fn values(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| (i * 7919 % 509) as f32 / 254.0 - 1.0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiply_adds_count_twice() {
        let linear = Operation::Linear {
            rows: 2,
            from: 3,
            to: 5,
        };
        assert_eq!(linear.flops(), 60);
        let attention = |causal| Operation::Attention {
            count: 2,
            len: 10,
            heads: 3,
            key_heads: 1,
            head_dim: 4,
            causal,
        };
        // Scores and weighted sum, each 2 x 3 heads x 10 x 10 x 4 multiply-adds.
        assert_eq!(attention(false).flops(), 2 * 2 * 2400);
        assert_eq!(attention(true).flops(), 2 * 2400);
        assert!(values(1000).iter().all(|x| (-1.0..=1.01).contains(x)));
    }
}
