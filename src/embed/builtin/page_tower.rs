//! Page tower: a convolutional network from ink to one vector per printed cell.
//!
//! Only bands of lines with print are computed. The receptive field of a cell is at most twenty pixels above and below
//! its own row, so a band with that halo gives the same numbers as the whole page. Along the line the receptive field
//! is 22 positions to either side: from `fold` on, only segments of the line with print are computed, with that much
//! context.

use std::ops::Range;

use rayon::prelude::*;

use super::feature_map::{FeatureMap, Grid, fill_bias, pointwise, relu};
use super::ink::{CELL_HEIGHT, Ink};
use super::line_segments::{LineSegment, line_segments};
use super::weights::{Block, Layer, PageWeights};
use crate::embed::gemm::{Rows, add_product};

/// Width of the tower's output vectors.
pub(in crate::embed) const DIM: usize = 127;
/// Positions that go through a block together: their hidden layer fits into the CPU cache.
const TILE: usize = 384;
/// Rows of a cell at a quarter of the page's size.
const CELL_QUARTER_ROWS: usize = CELL_HEIGHT / 4;
/// Halo of a band above and below, in rows at a quarter: two for `fold`, two for the early blocks.
const HALO: usize = 4;
/// Positions along the line in a third of a cell.
const THIRD_POSITIONS: usize = 4;
/// Positions along the line in a cell.
const CELL_POSITIONS: usize = 3 * THIRD_POSITIONS;

/// Outputs of the tower for some cells.
#[derive(Default)]
pub(super) struct CellOutputs {
    /// Their vectors, concatenated, each of length 1.
    pub(super) vectors: Vec<f32>,
    /// Logarithms of their type sizes in pixels per em.
    pub(super) sizes: Vec<f32>,
    /// Logits that they contain a word other than a stop word.
    pub(super) word_logits: Vec<f32>,
}

/// Encodes the given cells; `cells` ascend.
pub(super) fn encode_cells(weights: &PageWeights, ink: &Ink, cells: &[usize]) -> CellOutputs {
    let mut rows: Vec<usize> = cells.iter().map(|c| c / ink.columns).collect();
    rows.dedup();
    let mut bands: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match bands.last_mut() {
            Some(last) if last.end == row => last.end = row + 1,
            _ => bands.push(row..row + 1),
        }
    }
    let parts: Vec<CellOutputs> = bands
        .into_par_iter()
        .map(|band| encode_band(weights, ink, cells, band))
        .collect();
    let mut all = CellOutputs::default();
    for part in parts {
        all.vectors.extend(part.vectors);
        all.sizes.extend(part.sizes);
        all.word_logits.extend(part.word_logits);
    }
    all
}

fn encode_band(
    weights: &PageWeights,
    ink: &Ink,
    cells: &[usize],
    band: Range<usize>,
) -> CellOutputs {
    let of_band = || {
        let cells = cells.iter().copied();
        cells.filter(|c| band.contains(&(c / ink.columns)))
    };
    let segments = line_segments(of_band(), ink.columns);
    let lines = line_features(weights, &quarter_features(weights, ink, &band), &segments);
    let mean = cell_means(weights, &lines, &segments);
    let count = of_band().count();
    let mut vectors = vec![0.0; count * DIM];
    pointwise(&mut vectors, &mean, &weights.out, false);
    vectors.chunks_exact_mut(DIM).for_each(normalise);
    let mut gauges = vec![0.0; count * 2];
    pointwise(&mut gauges, &mean, &weights.gauge, false);
    CellOutputs {
        vectors,
        sizes: gauges.iter().step_by(2).copied().collect(),
        word_logits: gauges.iter().skip(1).step_by(2).copied().collect(),
    }
}

/// Scales a vector to length 1.
pub(super) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
    for v in vector {
        *v /= length;
    }
}

/// Features at a quarter of the page's size, for a band and its halo.
fn quarter_features(weights: &PageWeights, ink: &Ink, band: &Range<usize>) -> Quarter {
    let rows = ink.rows * CELL_QUARTER_ROWS;
    let first = (band.start * CELL_QUARTER_ROWS).saturating_sub(HALO);
    let last = (band.end * CELL_QUARTER_ROWS + HALO).min(rows);
    let half = edges(&weights.edges, ink, 2 * first, 2 * last);
    let grid = Grid {
        rows: last - first,
        columns: ink.width() / 4,
        pad: 1,
        margin: 2,
    };
    let mut map = strokes(&weights.strokes, &half, grid);
    for block in &weights.early {
        map = residual(block, &map);
    }
    Quarter { map, first }
}

/// A feature map at a quarter of the page's size, and the page row of its first row.
struct Quarter {
    map: FeatureMap,
    first: usize,
}

/// First layer, pixels to half size. Row 0 of the result is row `from - 1`; rows outside the page stay zero.
fn edges(layer: &Layer, ink: &Ink, from: usize, to: usize) -> FeatureMap {
    let (width, height) = (ink.width(), ink.rows * CELL_HEIGHT);
    let grid = Grid {
        rows: to - from + 1,
        columns: width / 2,
        pad: 2,
        margin: 0,
    };
    let mut map = FeatureMap::zeros(grid, layer.out_channels());
    let blank = vec![0.0; width];
    for row in usize::from(from == 0)..grid.rows {
        let y = 2 * (from + row) - 2; // middle row of the window
        let line = |y: usize| &ink.pixels[y * width..(y + 1) * width];
        let lines = [
            if y == 0 { &blank[..] } else { line(y - 1) },
            line(y),
            if y + 1 == height {
                &blank[..]
            } else {
                line(y + 1)
            },
        ];
        edge_row(layer, lines, map.row_mut(row));
    }
    map
}

fn edge_row(layer: &Layer, lines: [&[f32]; 3], out: &mut [f32]) {
    let n = layer.out_channels();
    fill_bias(out, layer);
    for (x, position) in out.chunks_exact_mut(n).enumerate() {
        for (down, line) in lines.iter().enumerate() {
            let kernel = layer.kernel_row(down).data;
            for (along, weights) in kernel.chunks_exact(n).enumerate() {
                let at = (2 * x + along).wrapping_sub(1);
                let Some(&v) = line.get(at).filter(|v| **v != 0.0) else {
                    continue;
                };
                for (p, w) in position.iter_mut().zip(weights) {
                    *p += v * w;
                }
            }
        }
        relu(position);
    }
}

/// Second layer, half size to a quarter; row 0 of `half` is the row above the window's middle row.
fn strokes(layer: &Layer, half: &FeatureMap, grid: Grid) -> FeatureMap {
    let mut map = FeatureMap::zeros(grid, layer.out_channels());
    for row in 0..grid.rows {
        let out = map.row_mut(row);
        fill_bias(out, layer);
        for down in 0..layer.kernel_height {
            let position = half.grid.position(2 * row + down, 0) - 1;
            add_product(
                out,
                Rows {
                    data: half.data_from(position),
                    stride: 2 * half.channels,
                },
                layer.kernel_row(down),
            );
        }
        relu(out);
    }
    map
}

/// Residual block, computed tile by tile.
fn residual(block: &Block, map: &FeatureMap) -> FeatureMap {
    let (grid, c) = (map.grid, map.channels);
    let mut next = map.zeros_like();
    let start = grid.position(0, 0);
    next.interior_mut()
        .par_chunks_mut(TILE * c)
        .enumerate()
        .for_each(|(i, out)| {
            let first = i * TILE;
            let positions = out.len() / c;
            let mut conv = vec![0.0; positions * c];
            fill_bias(&mut conv, &block.look);
            for down in 0..block.look.kernel_height {
                let position = start + first + down * grid.pitch()
                    - block.look.kernel_height / 2 * grid.pitch()
                    - block.look.kernel_width / 2;
                add_product(
                    &mut conv,
                    Rows {
                        data: map.data_from(position),
                        stride: c,
                    },
                    block.look.kernel_row(down),
                );
            }
            relu(&mut conv);
            let mut hidden = vec![0.0; positions * block.up.out_channels()];
            pointwise(&mut hidden, &conv, &block.up, true);
            pointwise(out, &hidden, &block.down, false);
            for (o, x) in out.iter_mut().zip(map.data_from(start + first)) {
                *o += x;
            }
            map.zero_gaps(first, out);
        });
    next
}

/// One row of features for every line segment.
fn line_features(weights: &PageWeights, quarter: &Quarter, segments: &[LineSegment]) -> FeatureMap {
    let (layer, from) = (&weights.fold, &quarter.map);
    let reach = weights
        .late
        .iter()
        .map(|b| b.look.kernel_width / 2)
        .max()
        .unwrap_or(0);
    let lengths = segments.iter().map(|s| s.columns.len() * CELL_POSITIONS);
    let mut map = FeatureMap::ragged(lengths, reach.max(1), layer.out_channels());
    for (row, segment) in segments.iter().enumerate() {
        let out = map.row_mut(row);
        fill_bias(out, layer);
        for down in 0..layer.kernel_height {
            // The window starts two rows above the line of cells; the margin above the page is zero.
            let middle = from.grid.position(
                segment.row * CELL_QUARTER_ROWS - quarter.first,
                segment.columns.start * CELL_POSITIONS,
            );
            let position =
                middle + down * from.grid.pitch() - 2 * from.grid.pitch() - layer.kernel_width / 2;
            add_product(
                out,
                Rows {
                    data: from.data_from(position),
                    stride: from.channels,
                },
                layer.kernel_row(down),
            );
        }
        relu(out);
    }
    for block in &weights.late {
        map = residual(block, &map);
    }
    map
}

/// Hidden states of the requested cells: the mean of their thirds.
fn cell_means(weights: &PageWeights, lines: &FeatureMap, segments: &[LineSegment]) -> Vec<f32> {
    let layer = &weights.gather;
    let side = (layer.kernel_width - THIRD_POSITIONS) / 2;
    let lengths = segments.iter().map(|s| s.columns.len() * CELL_POSITIONS);
    let mut narrow = FeatureMap::ragged(
        lengths,
        side.next_multiple_of(THIRD_POSITIONS),
        weights.narrow.out_channels(),
    );
    for row in 0..segments.len() {
        pointwise(narrow.row_mut(row), lines.row(row), &weights.narrow, false);
    }
    let hidden = third_features(weights, &mut narrow, side);
    let width = layer.out_channels();
    let mut mean = Vec::new();
    for (row, segment) in segments.iter().enumerate() {
        for column in &segment.targets {
            let cell = narrow.start(row) / THIRD_POSITIONS + (column - segment.columns.start) * 3;
            let mut sum = vec![0.0; width];
            for third in hidden[cell * width..(cell + 3) * width].chunks_exact(width) {
                for (s, t) in sum.iter_mut().zip(third) {
                    *s += t / 3.0;
                }
            }
            mean.extend(sum);
        }
    }
    mean
}

/// Hidden states of every third of a cell, including positions between the rows.
fn third_features(weights: &PageWeights, narrow: &mut FeatureMap, side: usize) -> Vec<f32> {
    let (layer, grid) = (&weights.gather, narrow.grid);
    let width = layer.out_channels();
    let mut hidden = vec![0.0; grid.pitch() / THIRD_POSITIONS * width];
    narrow.data.resize(
        narrow.data.len() + layer.kernel_width * narrow.channels,
        0.0,
    );
    hidden
        .par_chunks_mut(TILE * width)
        .enumerate()
        .for_each(|(i, out)| {
            fill_bias(out, layer);
            let position = grid.position(0, 0) - side + i * TILE * THIRD_POSITIONS;
            add_product(
                out,
                Rows {
                    data: narrow.data_from(position),
                    stride: THIRD_POSITIONS * narrow.channels,
                },
                layer.kernel_row(0),
            );
            relu(out);
            let mut residual = vec![0.0; out.len()];
            for mix in &weights.mix {
                pointwise(&mut residual, out, mix, true);
                for (o, r) in out.iter_mut().zip(&residual) {
                    *o += r;
                }
            }
        });
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embed::builtin::weights::{FILE, Weights};
    use crate::page::Size;
    use crate::patch::GrayPage;

    /// Two distant lines of scribble, the first with a wide gap.
    fn scribble() -> Ink {
        let size = Size::new(700, 400);
        let mut pixels = vec![255; 700 * 400];
        for (i, p) in pixels.iter_mut().enumerate() {
            let (x, y) = (i % 700, i / 700);
            let first = (3..14).contains(&y) && !(70..480).contains(&x);
            if (first || (250..262).contains(&y)) && (x * 7 + y * x / 3) % 11 < 4 {
                *p = 20;
            }
        }
        Ink::new(&GrayPage { size, pixels })
    }

    #[test]
    fn skipping_blank_cells_changes_no_bit() {
        let weights = Weights::read(FILE).unwrap().page;
        let ink = scribble();
        let all: Vec<usize> = (0..ink.printed.len()).collect();
        let some: Vec<usize> = all.iter().copied().filter(|i| ink.printed[*i]).collect();
        assert!(some.len() > 5 && some.len() < all.len() / 2);
        let whole = encode_cells(&weights, &ink, &all);
        let part = encode_cells(&weights, &ink, &some);
        for (i, (row, &cell)) in part.vectors.chunks_exact(DIM).zip(&some).enumerate() {
            assert_eq!(row, &whole.vectors[cell * DIM..][..DIM], "cell {cell}");
            assert_eq!(part.sizes[i], whole.sizes[cell], "cell {cell}");
        }
    }
}
