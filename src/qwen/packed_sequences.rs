//! Who sees whom: pages stand one behind the other in the rows of a tensor, with no padding between.

/// Sequences of one length that stand one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First row of the first sequence.
    pub start: usize,
    /// Rows of each sequence.
    pub len: usize,
    /// Number of sequences.
    pub count: usize,
}

/// Who sees whom: rows see rows of their own sequence only, and where `causal`, only those before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The sequences; together they cover every row.
    pub runs: Vec<Run>,
    /// Whether rows see nothing behind them.
    pub causal: bool,
}

impl Sight {
    /// Sequences of the lengths given, neighbours of one length taken together.
    pub fn of(lengths: impl IntoIterator<Item = usize>, causal: bool) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        let mut start = 0;
        for len in lengths {
            match runs.last_mut() {
                Some(run) if run.len == len => run.count += 1,
                _ => runs.push(Run {
                    start,
                    len,
                    count: 1,
                }),
            }
            start += len;
        }
        Self { runs, causal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_length_are_taken_together() {
        let run = |start, len, count| Run { start, len, count };
        let sight = Sight::of([4, 4, 2, 4], false);
        assert_eq!(sight.runs, [run(0, 4, 2), run(8, 2, 1), run(10, 4, 1)]);
    }
}
