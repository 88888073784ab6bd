//! Feature maps: activations on a grid, channels last, with zero padding.
//!
//! Rows are stored consecutively with `pad` zero positions between them, so a window that extends past the right end of
//! a row reads the padding before the next. A convolution over all positions is then one matrix product with
//! overlapping rows; only the positions between rows come out wrong, and are set to zero again. Row lengths may
//! differ.

use std::ops::Range;

use super::weights::Layer;
use crate::embed::gemm::{Rows, add_product};

/// Dimensions of a feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// Number of rows.
    pub(super) rows: usize,
    /// Positions in a row.
    pub(super) columns: usize,
    /// Zero positions between two rows.
    pub(super) pad: usize,
    /// Zero rows above the first row and below the last.
    pub(super) margin: usize,
}

impl Grid {
    /// Row pitch: positions from the start of a row to the start of the next.
    pub(super) fn pitch(self) -> usize {
        self.columns + self.pad
    }

    /// Index of the position at a row and column of the interior; row 0 is the first below the margin.
    pub(super) fn position(self, row: usize, column: usize) -> usize {
        self.pad + (row + self.margin) * self.pitch() + column
    }

    /// Number of positions, padding and margin included.
    fn positions(self) -> usize {
        2 * self.pad + (self.rows + 2 * self.margin) * self.pitch()
    }
}

/// Activations on a grid.
#[derive(Clone)]
pub(super) struct FeatureMap {
    /// Dimensions.
    pub(super) grid: Grid,
    /// Floats per position.
    pub(super) channels: usize,
    /// The floats, position by position.
    pub(super) data: Vec<f32>,
    /// Ranges of interior positions that hold features, one per row; positions between them stay zero.
    rows: Vec<Range<usize>>,
}

impl FeatureMap {
    /// Creates a map of zeros.
    pub(super) fn zeros(grid: Grid, channels: usize) -> Self {
        let row = |row| row * grid.pitch()..row * grid.pitch() + grid.columns;
        Self {
            grid,
            channels,
            data: vec![0.0; grid.positions() * channels],
            rows: (0..grid.rows).map(row).collect(),
        }
    }

    /// Creates a map of zeros with rows of the given lengths and `pad` positions between them; no margin.
    pub(super) fn ragged(
        lengths: impl Iterator<Item = usize>,
        pad: usize,
        channels: usize,
    ) -> Self {
        let mut columns = 0;
        let row = |length| {
            let from = columns;
            columns += length + pad;
            from..from + length
        };
        let rows: Vec<Range<usize>> = lengths.map(row).collect();
        let grid = Grid {
            rows: 1,
            columns: columns.saturating_sub(pad),
            pad,
            margin: 0,
        };
        Self {
            rows,
            ..Self::zeros(grid, channels)
        }
    }

    /// Creates a map of zeros with the same dimensions.
    pub(super) fn zeros_like(&self) -> Self {
        Self {
            data: vec![0.0; self.data.len()],
            rows: self.rows.clone(),
            ..*self
        }
    }

    /// The floats of one row.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        let Range { start, end } = self.rows[row];
        &self.data_from(self.grid.position(0, 0))[start * self.channels..end * self.channels]
    }

    /// The floats of one row, mutable.
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let (Range { start, end }, channels) = (self.rows[row].clone(), self.channels);
        &mut self.interior_mut()[start * channels..end * channels]
    }

    /// Index of a row's first position within the interior.
    pub(super) fn start(&self, row: usize) -> usize {
        self.rows[row].start
    }

    /// The interior, mutable: from the first position of the first row to the padding after the last row.
    pub(super) fn interior_mut(&mut self) -> &mut [f32] {
        let (a, b) = (
            self.grid.position(0, 0) * self.channels,
            self.grid.position(self.grid.rows, 0) * self.channels,
        );
        &mut self.data[a..b]
    }

    /// The floats from a position to the end.
    pub(super) fn data_from(&self, position: usize) -> &[f32] {
        &self.data[position * self.channels..]
    }

    /// Zeroes the positions between rows in `part`, a slice of the interior that starts at interior position `first`.
    pub(super) fn zero_gaps(&self, first: usize, part: &mut [f32]) {
        let last = first + part.len() / self.channels;
        let ends = self.rows.iter().map(|row| row.end);
        let starts = self.rows.iter().skip(1).map(|row| row.start);
        for (end, start) in ends.zip(starts.chain([usize::MAX])) {
            let (from, to) = (end.max(first), start.min(last));
            if from < to {
                part[(from - first) * self.channels..(to - first) * self.channels].fill(0.0);
            }
        }
    }
}

/// Sets every row of a row-major matrix to the layer's bias.
pub(super) fn fill_bias(out: &mut [f32], layer: &Layer) {
    for row in out.chunks_exact_mut(layer.bias.len()) {
        row.copy_from_slice(&layer.bias);
    }
}

/// ReLU in place: negative values become zero.
pub(super) fn relu(values: &mut [f32]) {
    for v in values {
        *v = v.max(0.0);
    }
}

/// Pointwise (1 x 1) convolution: bias plus the product of rows with the layer's matrix, then [`relu`] if `activate`.
pub(super) fn pointwise(out: &mut [f32], rows: &[f32], layer: &Layer, activate: bool) {
    fill_bias(out, layer);
    add_product(
        out,
        Rows {
            data: rows,
            stride: layer.in_channels,
        },
        layer.kernel_row(0),
    );
    if activate {
        relu(out);
    }
}
