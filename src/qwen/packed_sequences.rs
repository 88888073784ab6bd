//! Packed sequences: several sequences concatenated along the row axis without padding (FlashAttention's `cu_seqlens`). Rows
//! attend only within their sequence.

/// Adjacent sequences of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceGroup {
    /// First row of the first sequence.
    pub start: usize,
    /// Rows of each sequence.
    pub len: usize,
    /// Number of sequences.
    pub count: usize,
}

/// The sequences packed in the rows of a tensor: rows attend only within their sequence, and if `causal`, only to earlier rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedSequences {
    /// The sequences, in order; together they cover every row.
    pub groups: Vec<SequenceGroup>,
    /// Whether rows attend only to themselves and earlier rows.
    pub causal: bool,
}

impl PackedSequences {
    /// Packs sequences of the given lengths; adjacent sequences of one length form a group.
    pub fn new(lengths: impl IntoIterator<Item = usize>, causal: bool) -> Self {
        let mut groups: Vec<SequenceGroup> = Vec::new();
        let mut start = 0;
        for len in lengths {
            match groups.last_mut() {
                Some(group) if group.len == len => group.count += 1,
                _ => groups.push(SequenceGroup {
                    start,
                    len,
                    count: 1,
                }),
            }
            start += len;
        }
        Self { groups, causal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_sequences_of_one_length_form_a_group() {
        let group = |start, len, count| SequenceGroup { start, len, count };
        let sequences = PackedSequences::new([4, 4, 2, 4], false);
        assert_eq!(
            sequences.groups,
            [group(0, 4, 2), group(8, 2, 1), group(10, 4, 1)]
        );
    }
}
