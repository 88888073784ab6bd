//! Line segments: the parts of a line of cells that are computed, with their receptive field.

use std::ops::Range;

/// Cells of context at either end of a segment: twelve positions for `gather`, ten for the late blocks.
const CONTEXT_CELLS: usize = 2;

/// A computed part of a line of cells.
pub(super) struct LineSegment {
    /// Row of cells.
    pub(super) row: usize,
    /// Columns of cells.
    pub(super) columns: Range<usize>,
    /// Columns of the requested cells.
    pub(super) targets: Vec<usize>,
}

/// Segments that cover the requested cells and their receptive field along the line; `cells` ascend.
pub(super) fn line_segments(
    cells: impl Iterator<Item = usize>,
    columns: usize,
) -> Vec<LineSegment> {
    let mut segments: Vec<LineSegment> = Vec::new();
    for cell in cells {
        let (row, column) = (cell / columns, cell % columns);
        let window =
            column.saturating_sub(CONTEXT_CELLS)..(column + 1 + CONTEXT_CELLS).min(columns);
        match segments.last_mut() {
            Some(last) if last.row == row && window.start <= last.columns.end => {
                last.columns.end = window.end;
                last.targets.push(column);
            }
            _ => segments.push(LineSegment {
                row,
                columns: window,
                targets: vec![column],
            }),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_share_a_segment_if_their_contexts_overlap() {
        let cells = [0, 5, 11, 12, 20, 37];
        let segments: Vec<_> = line_segments(cells.into_iter(), 20)
            .into_iter()
            .map(|s| (s.row, s.columns, s.targets))
            .collect();
        let expected = [
            (0, 0..8, vec![0, 5]),
            (0, 9..15, vec![11, 12]),
            (1, 0..3, vec![0]),
            (1, 15..20, vec![17]),
        ];
        assert_eq!(segments, expected);
    }
}
