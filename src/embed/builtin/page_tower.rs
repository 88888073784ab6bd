//! The page tower: from ink to one vector a printed cell.
//!
//! Only bands of lines with print are computed. A cell sees at most twenty pixels above and below its own row, so a band
//! with that much of the page around it gives the same numbers as the whole page would. Along the line a cell reads its
//! word, 22 places to either side: from `fold` on, only stretches of the line with print are computed, and that much beside.

use std::ops::Range;

use rayon::prelude::*;

use super::feature_map::{Grid, Map, begin, pointwise, relu};
use super::gemm::{Rows, add_product};
use super::ink::{CELL_HEIGHT, Ink};
use super::stretch::{Stretch, stretches};
use super::weights::{Block, Layer, PageWeights};

/// Floats of a vector as the tower makes it.
pub(super) const DIM: usize = 127;
/// Places that go through a block together: their hidden layer stays in the cache.
const TILE: usize = 384;
/// Rows at a quarter of the page's size in a row of cells.
const QUARTERS: usize = CELL_HEIGHT / 4;
/// Rows at a quarter that a band takes along above and below: two for the fold, two for the early blocks.
const HALO: usize = 4;
/// Places along a line in a third of a cell.
const THIRD: usize = 4;
/// Places along a line in a cell.
const PLACES: usize = 3 * THIRD;

/// What the tower reads in some cells.
#[derive(Default)]
pub(super) struct Read {
    /// Their vectors, one after the other, each of length 1.
    pub(super) vectors: Vec<f32>,
    /// The logarithm of their type's pixels an em.
    pub(super) sizes: Vec<f32>,
    /// The logit that a word worth asking for stands there.
    pub(super) worth: Vec<f32>,
}

/// Reads the cells asked for; `cells` ascend.
pub(super) fn read(weights: &PageWeights, ink: &Ink, cells: &[usize]) -> Read {
    let mut wanted: Vec<usize> = cells.iter().map(|c| c / ink.columns).collect();
    wanted.dedup();
    let mut bands: Vec<Range<usize>> = Vec::new();
    for row in wanted {
        match bands.last_mut() {
            Some(last) if last.end == row => last.end = row + 1,
            _ => bands.push(row..row + 1),
        }
    }
    let parts: Vec<Read> = bands
        .into_par_iter()
        .map(|band| read_band(weights, ink, cells, band))
        .collect();
    let mut whole = Read::default();
    for part in parts {
        whole.vectors.extend(part.vectors);
        whole.sizes.extend(part.sizes);
        whole.worth.extend(part.worth);
    }
    whole
}

fn read_band(weights: &PageWeights, ink: &Ink, cells: &[usize], band: Range<usize>) -> Read {
    let of_band = || {
        let cells = cells.iter().copied();
        cells.filter(|c| band.contains(&(c / ink.columns)))
    };
    let stretches = stretches(of_band(), ink.columns);
    let lines = lines(weights, &quarter(weights, ink, &band), &stretches);
    let mean = means(weights, &lines, &stretches);
    let count = of_band().count();
    let mut vectors = vec![0.0; count * DIM];
    pointwise(&mut vectors, &mean, &weights.out, false);
    vectors.chunks_exact_mut(DIM).for_each(unit);
    let mut gauges = vec![0.0; count * 2];
    pointwise(&mut gauges, &mean, &weights.gauge, false);
    Read {
        vectors,
        sizes: gauges.iter().step_by(2).copied().collect(),
        worth: gauges.iter().skip(1).step_by(2).copied().collect(),
    }
}

/// Scales a vector to length 1.
pub(super) fn unit(vector: &mut [f32]) {
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
    for v in vector {
        *v /= length;
    }
}

/// Features at a quarter of the page's size, for the rows of a band and its halo.
fn quarter(weights: &PageWeights, ink: &Ink, band: &Range<usize>) -> Quarter {
    let rows = ink.rows * QUARTERS;
    let first = (band.start * QUARTERS).saturating_sub(HALO);
    let last = (band.end * QUARTERS + HALO).min(rows);
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

/// A map at a quarter of the page's size and the row of the page that it begins with.
struct Quarter {
    map: Map,
    first: usize,
}

/// First layer, pixels to half size. Row 0 of the result is row `from - 1`: what is outside the page stays zero.
fn edges(layer: &Layer, ink: &Ink, from: usize, to: usize) -> Map {
    let (width, height) = (ink.width(), ink.rows * CELL_HEIGHT);
    let grid = Grid {
        rows: to - from + 1,
        columns: width / 2,
        pad: 2,
        margin: 0,
    };
    let mut map = Map::zeros(grid, layer.outputs());
    let blank = vec![0.0; width];
    for row in usize::from(from == 0)..grid.rows {
        let y = 2 * (from + row) - 2; // middle line of the window
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
    let n = layer.outputs();
    begin(out, layer);
    for (x, place) in out.chunks_exact_mut(n).enumerate() {
        for (down, line) in lines.iter().enumerate() {
            let tap = layer.tap(down).data;
            for (along, weights) in tap.chunks_exact(n).enumerate() {
                let at = (2 * x + along).wrapping_sub(1);
                let Some(&v) = line.get(at).filter(|v| **v != 0.0) else {
                    continue;
                };
                for (p, w) in place.iter_mut().zip(weights) {
                    *p += v * w;
                }
            }
        }
        relu(place);
    }
}

/// Second layer, half size to a quarter; row 0 of `half` is the row above the window's middle.
fn strokes(layer: &Layer, half: &Map, grid: Grid) -> Map {
    let mut map = Map::zeros(grid, layer.outputs());
    for row in 0..grid.rows {
        let out = map.row_mut(row);
        begin(out, layer);
        for down in 0..layer.down {
            let place = half.grid.place(2 * row + down, 0) - 1;
            add_product(
                out,
                Rows {
                    data: half.from(place),
                    stride: 2 * half.channels,
                },
                layer.tap(down),
            );
        }
        relu(out);
    }
    map
}

/// A residual block, tile by tile.
fn residual(block: &Block, map: &Map) -> Map {
    let (grid, c) = (map.grid, map.channels);
    let mut next = map.like();
    let begin_place = grid.place(0, 0);
    next.body_mut()
        .par_chunks_mut(TILE * c)
        .enumerate()
        .for_each(|(i, out)| {
            let first = i * TILE;
            let places = out.len() / c;
            let mut seen = vec![0.0; places * c];
            begin(&mut seen, &block.look);
            for down in 0..block.look.down {
                let place = begin_place + first + down * grid.pitch()
                    - block.look.down / 2 * grid.pitch()
                    - block.look.along / 2;
                add_product(
                    &mut seen,
                    Rows {
                        data: map.from(place),
                        stride: c,
                    },
                    block.look.tap(down),
                );
            }
            relu(&mut seen);
            let mut hidden = vec![0.0; places * block.up.outputs()];
            pointwise(&mut hidden, &seen, &block.up, true);
            pointwise(out, &hidden, &block.down, false);
            for (o, x) in out.iter_mut().zip(map.from(begin_place + first)) {
                *o += x;
            }
            map.clear_gaps(first, out);
        });
    next
}

/// One row of features for every stretch.
fn lines(weights: &PageWeights, quarter: &Quarter, stretches: &[Stretch]) -> Map {
    let (layer, from) = (&weights.fold, &quarter.map);
    let reach = weights
        .late
        .iter()
        .map(|b| b.look.along / 2)
        .max()
        .unwrap_or(0);
    let lengths = stretches.iter().map(|s| s.columns.len() * PLACES);
    let mut map = Map::ragged(lengths, reach.max(1), layer.outputs());
    for (row, stretch) in stretches.iter().enumerate() {
        let out = map.row_mut(row);
        begin(out, layer);
        for down in 0..layer.down {
            // The window begins two rows above the line of cells; the margin above the page is zero.
            let middle = from.grid.place(
                stretch.row * QUARTERS - quarter.first,
                stretch.columns.start * PLACES,
            );
            let place = middle + down * from.grid.pitch() - 2 * from.grid.pitch() - layer.along / 2;
            add_product(
                out,
                Rows {
                    data: from.from(place),
                    stride: from.channels,
                },
                layer.tap(down),
            );
        }
        relu(out);
    }
    for block in &weights.late {
        map = residual(block, &map);
    }
    map
}

/// Hidden state of the cells asked for, the mean of their thirds.
fn means(weights: &PageWeights, lines: &Map, stretches: &[Stretch]) -> Vec<f32> {
    let layer = &weights.gather;
    let side = (layer.along - THIRD) / 2;
    let lengths = stretches.iter().map(|s| s.columns.len() * PLACES);
    let mut narrow = Map::ragged(
        lengths,
        side.next_multiple_of(THIRD),
        weights.narrow.outputs(),
    );
    for row in 0..stretches.len() {
        pointwise(narrow.row_mut(row), lines.row(row), &weights.narrow, false);
    }
    let hidden = thirds(weights, &mut narrow, side);
    let width = layer.outputs();
    let mut mean = Vec::new();
    for (row, stretch) in stretches.iter().enumerate() {
        for column in &stretch.wanted {
            let cell = narrow.start(row) / THIRD + (column - stretch.columns.start) * 3;
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

/// Hidden state of every third of a cell, of those between the rows too.
fn thirds(weights: &PageWeights, narrow: &mut Map, side: usize) -> Vec<f32> {
    let (layer, grid) = (&weights.gather, narrow.grid);
    let width = layer.outputs();
    let mut hidden = vec![0.0; grid.pitch() / THIRD * width];
    narrow
        .data
        .resize(narrow.data.len() + layer.along * narrow.channels, 0.0);
    hidden
        .par_chunks_mut(TILE * width)
        .enumerate()
        .for_each(|(i, out)| {
            begin(out, layer);
            let place = grid.place(0, 0) - side + i * TILE * THIRD;
            add_product(
                out,
                Rows {
                    data: narrow.from(place),
                    stride: THIRD * narrow.channels,
                },
                layer.tap(0),
            );
            relu(out);
            let mut more = vec![0.0; out.len()];
            for mix in &weights.mix {
                pointwise(&mut more, out, mix, true);
                for (o, m) in out.iter_mut().zip(&more) {
                    *o += m;
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

    /// Two lines of scribble, far apart, the first with a wide gap.
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
        Ink::of(&GrayPage { size, pixels })
    }

    #[test]
    fn leaving_out_what_is_blank_changes_no_bit() {
        let weights = Weights::read(FILE).unwrap().page;
        let ink = scribble();
        let all: Vec<usize> = (0..ink.printed.len()).collect();
        let some: Vec<usize> = all.iter().copied().filter(|i| ink.printed[*i]).collect();
        assert!(some.len() > 5 && some.len() < all.len() / 2);
        let whole = read(&weights, &ink, &all);
        let part = read(&weights, &ink, &some);
        for (i, (row, &cell)) in part.vectors.chunks_exact(DIM).zip(&some).enumerate() {
            assert_eq!(row, &whole.vectors[cell * DIM..][..DIM], "cell {cell}");
            assert_eq!(part.sizes[i], whole.sizes[cell], "cell {cell}");
        }
    }
}
