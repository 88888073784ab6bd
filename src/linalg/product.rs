//! Products of rows and packed weights, with what follows a product applied to tiles that are still in a cache.

use rayon::prelude::*;

use super::epilogue::{Activation, Epilogue};
use super::kernels::{Buffer, Kernels};
use super::packed::PackedMatrix;

/// Inputs at a time: a panel of so many stays in the first cache.
const STEPS: usize = 256;
/// Columns at a time: their sums stay in the second cache.
const COLUMNS: usize = 512;
/// Maximum rows of a task: so many of [`STEPS`] inputs stay in the second cache.
const MAX_ROWS: usize = 192;
/// Minimum panels of rows of a task, where there are enough: weights that were fetched are used so often.
const MIN_PANELS: usize = 8;
/// Tasks of a thread: a few, so that none waits for another.
const TASKS: usize = 4;

/// The product of `x`, (rows, inputs), and packed weights, with its epilogue: (rows, outputs).
///
/// # Panics
/// If the rows of `x`, a bias or an addend are not as long as the weights are wide, or a pair has another activation than
/// [`Activation::SwiGlu`], or an addend.
pub(crate) fn product(x: &[f32], weights: &PackedMatrix, epilogue: Epilogue<'_>) -> Vec<f32> {
    let (inputs, outputs) = (weights.inputs(), weights.outputs());
    let rows = x.len() / inputs;
    assert_eq!(rows * inputs, x.len(), "ragged rows");
    check(weights, rows, &epilogue);
    let threads = rayon::current_num_threads();
    let kernels = weights.kernels();
    let mut out = vec![0.0; rows * outputs];
    if rows < threads * 2 * kernels.rows {
        by_columns(x, weights, epilogue, threads, &mut out);
        return out;
    }
    let fewest = (MIN_PANELS * kernels.rows).min(rows.div_ceil(threads));
    let step = rows
        .div_ceil(threads * TASKS)
        .clamp(fewest, MAX_ROWS.max(fewest))
        .next_multiple_of(kernels.rows);
    let tasks = out
        .par_chunks_mut(step * outputs)
        .zip(x.par_chunks(step * inputs));
    tasks
        .enumerate()
        .for_each_init(Scratch::default, |scratch, (task, (out, x))| {
            let block = Block {
                weights,
                epilogue,
                first_row: task * step,
            };
            scratch.pack(kernels, x, inputs);
            let panels = weights.panels();
            block.compute(scratch, 0..panels, &mut |row, column, tile| {
                out[row * outputs + column..][..tile.len()].copy_from_slice(tile);
            });
        });
    out
}

fn check(weights: &PackedMatrix, rows: usize, epilogue: &Epilogue<'_>) {
    let outputs = weights.outputs();
    for bias in epilogue.bias.iter().flatten() {
        assert_eq!(bias.len(), outputs, "a bias of another length");
    }
    if let Some(addend) = epilogue.addend {
        assert_eq!(addend.len(), rows * outputs, "an addend of another shape");
    }
    let is_pair = epilogue.activation == Activation::SwiGlu;
    let matrices = if is_pair { 2 } else { 1 };
    assert_eq!(weights.matrices(), matrices, "matrices of the activation");
    assert!(!is_pair || epilogue.addend.is_none(), "an addend of a pair");
}

/// Few rows: each task computes some columns of all.
fn by_columns(
    x: &[f32],
    weights: &PackedMatrix,
    epilogue: Epilogue<'_>,
    threads: usize,
    out: &mut [f32],
) {
    let (kernels, outputs) = (weights.kernels(), weights.outputs());
    let mut scratch = Scratch::default();
    scratch.pack(kernels, x, weights.inputs());
    let groups = weights.panels() / weights.matrices();
    let step = groups.div_ceil(threads * TASKS).max(1);
    let block = Block {
        weights,
        epilogue,
        first_row: 0,
    };
    let tasks: Vec<usize> = (0..groups).step_by(step).collect();
    let parts: Vec<Vec<(usize, usize, Vec<f32>)>> = tasks
        .par_iter()
        .map(|&first| {
            let mut tiles = Vec::new();
            let last = (first + step).min(groups);
            let mut scratch = Scratch {
                rows: scratch.rows.clone(),
                count: scratch.count,
                ..Scratch::default()
            };
            let panels = first * weights.matrices()..last * weights.matrices();
            block.compute(&mut scratch, panels, &mut |row, column, tile| {
                tiles.push((row, column, tile.to_vec()));
            });
            tiles
        })
        .collect();
    for (row, column, tile) in parts.into_iter().flatten() {
        out[row * outputs + column..][..tile.len()].copy_from_slice(&tile);
    }
}

/// Buffers of a task.
#[derive(Default)]
struct Scratch {
    /// Rows in the order in which the kernels read them: of some rows the numbers of an input are adjacent.
    rows: Vec<f32>,
    /// Number of rows.
    count: usize,
    sums: Buffer,
}

impl Scratch {
    fn pack(&mut self, kernels: &Kernels, x: &[f32], inputs: usize) {
        self.count = x.len() / inputs;
        let panel = kernels.rows * inputs;
        self.rows
            .resize(self.count.div_ceil(kernels.rows) * panel, 0.0);
        let panels = self.rows.chunks_exact_mut(panel);
        for (panel, x) in panels.zip(x.chunks(panel)) {
            pack_rows(kernels.rows, panel, x, inputs);
        }
    }
}

/// Transposes up to `rows` rows into (inputs, rows); missing ones are 0.
pub(super) fn pack_rows(rows: usize, panel: &mut [f32], x: &[f32], inputs: usize) {
    let count = x.len() / inputs;
    if count < rows {
        panel.fill(0.0);
    }
    for (row, x) in x.chunks_exact(inputs).enumerate() {
        for (step, &value) in panel.chunks_exact_mut(rows).zip(x) {
            step[row] = value;
        }
    }
}

/// Some rows of a product.
struct Block<'a> {
    weights: &'a PackedMatrix,
    epilogue: Epilogue<'a>,
    first_row: usize,
}

impl Block<'_> {
    /// Computes the columns of `panels` and passes on parts of rows: row, column, numbers.
    fn compute(
        &self,
        scratch: &mut Scratch,
        panels: std::ops::Range<usize>,
        emit: &mut impl FnMut(usize, usize, &[f32]),
    ) {
        let kernels = self.weights.kernels();
        let inputs = self.weights.inputs();
        let tile = kernels.rows * kernels.columns;
        let row_panels = scratch.count.div_ceil(kernels.rows);
        let at_a_time = (COLUMNS / kernels.columns).next_multiple_of(self.weights.matrices());
        let floats = at_a_time * row_panels * tile;
        if scratch.sums.floats().len() < floats {
            scratch.sums = Buffer::zeros(floats);
        }
        let (rows, sums) = (&scratch.rows, scratch.sums.floats_mut());
        for first_panel in panels.clone().step_by(at_a_time) {
            let block = first_panel..(first_panel + at_a_time).min(panels.end);
            for first in (0..inputs).step_by(STEPS) {
                let steps = STEPS.min(inputs - first);
                for panel in block.clone() {
                    for row_panel in 0..row_panels {
                        let a = &rows[(row_panel * inputs + first) * kernels.rows..];
                        let index = (panel - first_panel) * row_panels + row_panel;
                        let out = &mut sums[index * tile..][..tile];
                        self.weights.tile((panel, first, steps), a, out, first > 0);
                    }
                }
            }
            self.finish(sums, block, scratch.count, emit);
        }
    }

    /// Applies the epilogue to the sums of some panels.
    fn finish(
        &self,
        sums: &mut [f32],
        panels: std::ops::Range<usize>,
        count: usize,
        emit: &mut impl FnMut(usize, usize, &[f32]),
    ) {
        let kernels = self.weights.kernels();
        let (rows, columns, outputs) = (kernels.rows, kernels.columns, self.weights.outputs());
        let matrices = self.weights.matrices();
        let panel_floats = count.div_ceil(rows) * rows * columns;
        let first_group = panels.start / matrices;
        let groups = sums.chunks_exact_mut(panel_floats * matrices);
        for (index, group) in groups.take(panels.len() / matrices).enumerate() {
            let column = (first_group + index) * columns;
            let width = columns.min(outputs - column);
            let (first, second) = group.split_at_mut(panel_floats);
            for (matrix, bias) in [&mut *first, &mut *second]
                .into_iter()
                .zip(self.epilogue.bias)
            {
                if let Some(bias) = bias {
                    add_to_rows(matrix, columns, &bias[column..column + width]);
                }
            }
            if let Some(addend) = self.epilogue.addend {
                let addend = addend[self.first_row * outputs..].chunks_exact(outputs);
                for (sums, addend) in first.chunks_exact_mut(columns).zip(addend).take(count) {
                    add_to_rows(sums, columns, &addend[column..column + width]);
                }
            }
            match self.epilogue.activation {
                Activation::SwiGlu => kernels.swiglu(first, second),
                Activation::Gelu { linear, cubic } => kernels.gelu(first, linear, cubic),
                Activation::GeluErf => kernels.gelu_erf(first),
                Activation::Identity => {}
            }
            for (row, sums) in first.chunks_exact(columns).take(count).enumerate() {
                emit(row, column, &sums[..width]);
            }
        }
    }
}

/// Adds numbers to the beginning of each row.
fn add_to_rows(rows: &mut [f32], columns: usize, addend: &[f32]) {
    for row in rows.chunks_exact_mut(columns) {
        for (x, y) in row.iter_mut().zip(addend) {
            *x += y;
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::super::packed::Values;
    use super::*;

    /// Numbers that bf16 holds, from -1 to 1.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        let number = |i: usize| ((i * 7919 + seed * 104_729) % 257) as f32 / 128.0 - 1.0;
        (0..count)
            .map(number)
            .map(|x| bf16::from_f32(x).to_f32())
            .collect()
    }

    fn plain(x: &[f32], weights: &[f32], inputs: usize) -> Vec<f64> {
        let dot = |x: &[f32], w: &[f32]| -> f64 {
            x.iter()
                .zip(w)
                .map(|(x, w)| f64::from(*x) * f64::from(*w))
                .sum()
        };
        x.chunks_exact(inputs)
            .flat_map(|x| weights.chunks_exact(inputs).map(move |w| dot(x, w)))
            .collect()
    }

    fn assert_near(got: &[f32], want: impl IntoIterator<Item = f64>, what: &str) {
        let mut count = 0;
        for (got, want) in got.iter().zip(want) {
            assert!(
                (f64::from(*got) - want).abs() < 1e-4 * want.abs().max(1.0),
                "{what}: {got} {want}"
            );
            count += 1;
        }
        assert_eq!(count, got.len(), "{what}");
    }

    #[test]
    fn products_of_every_instruction_set_equal_their_definition() {
        for kernels in Kernels::all() {
            for (rows, inputs, outputs) in [(1, 5, 3), (7, 300, 70), (101, 64, 33), (61, 17, 1030)]
            {
                let what = format!("{} {rows} {inputs} {outputs}", kernels.name);
                let (x, w) = (numbers(rows * inputs, 1), numbers(outputs * inputs, 2));
                let (bias, addend) = (numbers(outputs, 3), numbers(rows * outputs, 4));
                let half: Vec<bf16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
                let product_of = plain(&x, &w, inputs);
                let biased = |i: usize| product_of[i] + f64::from(bias[i % outputs]);
                for values in [Values::F32(&w), Values::Bf16(&half)] {
                    let packed = PackedMatrix::interleaved(kernels, &[values], inputs);
                    let got = product(&x, &packed, Epilogue::default());
                    assert_near(&got, product_of.iter().copied(), &what);
                    let epilogue = |addend, activation| Epilogue {
                        bias: [Some(&bias), None],
                        addend,
                        activation,
                    };
                    let sum = epilogue(Some(addend.as_slice()), Activation::Identity);
                    let got = product(&x, &packed, sum);
                    let want = |i: usize| biased(i) + f64::from(addend[i]);
                    assert_near(&got, (0..rows * outputs).map(want), &what);
                    let gelu = Activation::Gelu {
                        linear: 1.702,
                        cubic: 0.1,
                    };
                    let got = product(&x, &packed, epilogue(None, gelu));
                    let want = |i: usize| {
                        let x = biased(i);
                        x / (1.0 + (-1.702 * x - 0.1 * x * x * x).exp())
                    };
                    assert_near(&got, (0..rows * outputs).map(want), &what);
                }
            }
        }
    }

    #[test]
    fn pairs_are_combined() {
        for kernels in Kernels::all() {
            let (rows, inputs, outputs) = (50, 40, 37);
            let x = numbers(rows * inputs, 1);
            let (gate, up) = (numbers(outputs * inputs, 2), numbers(outputs * inputs, 3));
            let (gate_bias, up_bias) = (numbers(outputs, 4), numbers(outputs, 5));
            let pair = [Values::F32(&gate), Values::F32(&up)];
            let packed = PackedMatrix::interleaved(kernels, &pair, inputs);
            let (gates, ups) = (plain(&x, &gate, inputs), plain(&x, &up, inputs));
            for bias in [[None, None], [Some(gate_bias.as_slice()), Some(&up_bias)]] {
                let got = product(
                    &x,
                    &packed,
                    Epilogue {
                        bias,
                        activation: Activation::SwiGlu,
                        ..Epilogue::default()
                    },
                );
                let of = |bias: Option<&[f32]>, i: usize| {
                    bias.map_or(0.0, |b| f64::from(b[i % outputs]))
                };
                let want = |i: usize| {
                    let gate = gates[i] + of(bias[0], i);
                    gate / (1.0 + (-gate).exp()) * (ups[i] + of(bias[1], i))
                };
                assert_near(&got, (0..rows * outputs).map(want), kernels.name);
            }
        }
    }

    #[test]
    #[should_panic(expected = "ragged rows")]
    fn ragged_rows_panic() {
        let packed = PackedMatrix::new(Values::F32(&[1.0, 2.0]), 2);
        product(&[1.0; 3], &packed, Epilogue::default());
    }
}
