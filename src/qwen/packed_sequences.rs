//! Who sees whom: pages stand one behind the other in the rows of a tensor, with no padding between.

/// Sequences of one length that stand one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceGroup {
    /// First row of the first sequence.
    pub start: usize,
    /// Rows of each sequence.
    pub len: usize,
    /// Number of sequences.
    pub count: usize,
}

/// Who sees whom: rows see rows of their own sequence only, and where `causal`, only those before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedSequences {
    /// The sequences; together they cover every row.
    pub groups: Vec<SequenceGroup>,
    /// Whether rows see nothing behind them.
    pub causal: bool,
}

impl PackedSequences {
    /// Sequences of the lengths given, neighbours of one length taken together.
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
    fn neighbours_of_one_length_are_taken_together() {
        let group = |start, len, count| SequenceGroup { start, len, count };
        let packed = PackedSequences::new([4, 4, 2, 4], false);
        assert_eq!(
            packed.groups,
            [group(0, 4, 2), group(8, 2, 1), group(10, 4, 1)]
        );
    }
}
