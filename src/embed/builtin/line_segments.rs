//! Which parts of a line are computed.

use std::ops::Range;

/// Cells that a stretch takes along at either end: twelve places for `gather`, ten for the late blocks.
const BESIDE: usize = 2;

/// A part of a line of cells that is computed.
pub(super) struct Stretch {
    /// Row of cells.
    pub(super) row: usize,
    /// Columns of cells.
    pub(super) columns: Range<usize>,
    /// Columns of the cells asked for.
    pub(super) wanted: Vec<usize>,
}

/// Stretches that hold the cells asked for and what these see along their line; `cells` ascend.
pub(super) fn stretches(cells: impl Iterator<Item = usize>, columns: usize) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    for cell in cells {
        let (row, column) = (cell / columns, cell % columns);
        let seen = column.saturating_sub(BESIDE)..(column + 1 + BESIDE).min(columns);
        match found.last_mut() {
            Some(last) if last.row == row && seen.start <= last.columns.end => {
                last.columns.end = seen.end;
                last.wanted.push(column);
            }
            _ => found.push(Stretch {
                row,
                columns: seen,
                wanted: vec![column],
            }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_share_a_stretch_where_they_see_each_other() {
        let cells = [0, 5, 11, 12, 20, 37];
        let found: Vec<_> = stretches(cells.into_iter(), 20)
            .into_iter()
            .map(|s| (s.row, s.columns, s.wanted))
            .collect();
        let expected = [
            (0, 0..8, vec![0, 5]),
            (0, 9..15, vec![11, 12]),
            (1, 0..3, vec![0]),
            (1, 15..20, vec![17]),
        ];
        assert_eq!(found, expected);
    }
}
