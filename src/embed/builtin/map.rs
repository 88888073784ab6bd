//! Features on a grid, channels last, with zeros around them.
//!
//! Rows lie one after the other with `pad` zero places between them, so a window that leaves a row on the right reads the
//! zeros on the left of the next. A convolution over all places is then a product with overlapping rows, and only the
//! places between the rows come out wrong; they are set to zero again.

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
}

impl Map {
    /// A map of zeros.
    pub(super) fn zeros(grid: Grid, channels: usize) -> Self {
        Self {
            grid,
            channels,
            data: vec![0.0; grid.places() * channels],
        }
    }

    /// The floats of one row.
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let at = self.grid.place(row, 0) * self.channels;
        &mut self.data[at..at + self.grid.columns * self.channels]
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
    pub(super) fn clear_gaps(grid: Grid, channels: usize, first: usize, part: &mut [f32]) {
        if grid.pad == 0 {
            return;
        }
        for (i, place) in part.chunks_exact_mut(channels).enumerate() {
            if (first + i) % grid.pitch() >= grid.columns {
                place.fill(0.0);
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
