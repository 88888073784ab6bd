//! Features on a grid, channels last, with zeros around them.
//!
//! Rows lie one after the other with `pad` zero places between them, so a window that leaves a row on the right reads the
//! zeros on the left of the next. A convolution over all places is then a product with overlapping rows, and only the
//! places between the rows come out wrong; they are set to zero again. Rows need not be equally long.

use std::ops::Range;

use super::gemm::{Rows, add_product};
use super::weights::Layer;

/// Extent of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// Rows of features.
    pub(super) rows: usize,
    /// Places in a row.
    pub(super) columns: usize,
    /// Zero places between two rows.
    pub(super) pad: usize,
    /// Zero rows above and below.
    pub(super) margin: usize,
}

impl Grid {
    /// Places from the beginning of a row to the beginning of the next.
    pub(super) fn pitch(self) -> usize {
        self.columns + self.pad
    }

    /// Number of the place at a row and column; the rows above the first are the margin.
    pub(super) fn place(self, row: usize, column: usize) -> usize {
        self.pad + (row + self.margin) * self.pitch() + column
    }

    fn places(self) -> usize {
        2 * self.pad + (self.rows + 2 * self.margin) * self.pitch()
    }
}

/// Features on a grid.
#[derive(Clone)]
pub(super) struct Map {
    /// Extent.
    pub(super) grid: Grid,
    /// Floats at a place.
    pub(super) channels: usize,
    /// The floats, place by place.
    pub(super) data: Vec<f32>,
    /// Places of the body that hold features, row by row; those between them stay zero.
    rows: Vec<Range<usize>>,
}

impl Map {
    /// A map of zeros.
    pub(super) fn zeros(grid: Grid, channels: usize) -> Self {
        let row = |row| row * grid.pitch()..row * grid.pitch() + grid.columns;
        Self {
            grid,
            channels,
            data: vec![0.0; grid.places() * channels],
            rows: (0..grid.rows).map(row).collect(),
        }
    }

    /// Zeros in rows of unequal lengths, with `pad` more zero places between them; there is nothing above or below.
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

    /// Zeros in rows of the same lengths.
    pub(super) fn like(&self) -> Self {
        Self {
            data: vec![0.0; self.data.len()],
            rows: self.rows.clone(),
            ..*self
        }
    }

    /// The floats of one row.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        let Range { start, end } = self.rows[row];
        &self.from(self.grid.place(0, 0))[start * self.channels..end * self.channels]
    }

    /// The floats of one row, to be written.
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let (Range { start, end }, channels) = (self.rows[row].clone(), self.channels);
        &mut self.body_mut()[start * channels..end * channels]
    }

    /// Number of the first place of a row in the body.
    pub(super) fn start(&self, row: usize) -> usize {
        self.rows[row].start
    }

    /// Everything from the first place of the first row to the zeros behind the last row.
    pub(super) fn body_mut(&mut self) -> &mut [f32] {
        let (a, b) = (
            self.grid.place(0, 0) * self.channels,
            self.grid.place(self.grid.rows, 0) * self.channels,
        );
        &mut self.data[a..b]
    }

    /// Floats from a place on.
    pub(super) fn from(&self, place: usize) -> &[f32] {
        &self.data[place * self.channels..]
    }

    /// Sets the places between the rows to zero in a part of the body that begins `first` places after its beginning.
    pub(super) fn clear_gaps(&self, first: usize, part: &mut [f32]) {
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

/// Fills a row-major matrix with the layer's bias.
pub(super) fn begin(out: &mut [f32], layer: &Layer) {
    for row in out.chunks_exact_mut(layer.bias.len()) {
        row.copy_from_slice(&layer.bias);
    }
}

/// Negative values become zero.
pub(super) fn relu(values: &mut [f32]) {
    for v in values {
        *v = v.max(0.0);
    }
}

/// Bias, plus the product of dense rows with a layer of one tap, then [`relu`] if asked for.
pub(super) fn pointwise(out: &mut [f32], rows: &[f32], layer: &Layer, positive: bool) {
    begin(out, layer);
    add_product(
        out,
        Rows {
            data: rows,
            stride: layer.inputs,
        },
        layer.tap(0),
    );
    if positive {
        relu(out);
    }
}
