//! Weights in the order in which the kernels read them.

use std::ops::Range;

use half::bf16;

use super::kernels::{Buffer, Kernels};

/// Numbers of a matrix, row-major.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Values<'a> {
    /// In f32.
    F32(&'a [f32]),
    /// In bf16.
    Bf16(&'a [bf16]),
}

impl Values<'_> {
    fn part(self, range: Range<usize>) -> Self {
        match self {
            Self::F32(values) => Self::F32(&values[range]),
            Self::Bf16(values) => Self::Bf16(&values[range]),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }
}

/// The weights of linear layers, (outputs, inputs) each, packed for the kernels of this machine: panels of some outputs, of which
/// the numbers of one input are adjacent.
#[derive(Clone, Debug)]
pub(crate) struct PackedMatrix {
    kernels: &'static Kernels,
    inputs: usize,
    outputs: usize,
    /// Matrices of which panels alternate.
    interleaved: usize,
    panels: Buffer,
    is_bf16: bool,
}

impl PackedMatrix {
    /// Packs a matrix with `inputs` columns.
    pub(crate) fn new(values: Values<'_>, inputs: usize) -> Self {
        Self::interleaved(Kernels::best(), &[values], inputs)
    }

    /// Packs two matrices of one shape whose outputs are combined, panels of both in turns.
    pub(crate) fn pair(first: Values<'_>, second: Values<'_>, inputs: usize) -> Self {
        Self::interleaved(Kernels::best(), &[first, second], inputs)
    }

    /// In bf16 if all are, otherwise in f32.
    pub(super) fn interleaved(
        kernels: &'static Kernels,
        matrices: &[Values<'_>],
        inputs: usize,
    ) -> Self {
        let outputs = matrices[0].len() / inputs;
        let is_shaped = |matrix: &Values<'_>| matrix.len() == outputs * inputs;
        assert!(matrices.iter().all(is_shaped), "a ragged matrix");
        let is_bf16 = matrices
            .iter()
            .all(|matrix| matches!(matrix, Values::Bf16(_)));
        let mut packed = Self {
            kernels,
            inputs,
            outputs,
            interleaved: matrices.len(),
            panels: Buffer::default(),
            is_bf16,
        };
        let words = packed.panel_words();
        packed.panels = Buffer::zeros(packed.panels() * words);
        let panels = packed.panels.words_mut().chunks_exact_mut(words);
        for (index, panel) in panels
            .take(packed.outputs.div_ceil(kernels.columns) * matrices.len())
            .enumerate()
        {
            let first = index / matrices.len() * kernels.columns;
            let count = kernels.columns.min(outputs - first);
            let matrix = matrices[index % matrices.len()];
            for column in 0..count {
                let from = (first + column) * inputs;
                let row = matrix.part(from..from + inputs);
                fill(kernels, panel, column, row, is_bf16);
            }
        }
        packed
    }

    /// The kernels that read it.
    pub(super) fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Number of inputs.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of outputs of each matrix.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of panels, those of both matrices of a pair.
    pub(super) fn panels(&self) -> usize {
        self.outputs.div_ceil(self.kernels.columns) * self.interleaved
    }

    /// Number of matrices: 1, or 2 of a pair.
    pub(super) fn matrices(&self) -> usize {
        self.interleaved
    }

    fn panel_words(&self) -> usize {
        let numbers = self.kernels.columns * self.inputs;
        if self.is_bf16 { numbers / 2 } else { numbers }
    }

    /// Computes a tile of the product: `steps` inputs from `first` on of the rows `a` and a panel.
    pub(super) fn tile(
        &self,
        (panel, first, steps): (usize, usize, usize),
        a: &[f32],
        out: &mut [f32],
        add: bool,
    ) {
        let words = self.panel_words();
        let kernels = self.kernels;
        if self.is_bf16 {
            let panel = &self.panels.words()[panel * words..][..words];
            let b = &panel[first * kernels.columns / 2..];
            kernels.tile_bf16(steps, (a, b), out, add);
        } else {
            let panel = &self.panels.floats()[panel * words..][..words];
            let b = &panel[first * kernels.columns..];
            kernels.tile(steps, (a, b), out, add);
        }
    }
}

/// Writes a column of a panel: a row of a matrix.
fn fill(kernels: &Kernels, panel: &mut [u32], column: usize, row: Values<'_>, is_bf16: bool) {
    match row {
        Values::Bf16(values) if is_bf16 => {
            let register = column / kernels.lanes;
            let word = register / 2 * kernels.lanes + column % kernels.lanes;
            let shift = 16 * (register % 2);
            let steps = panel.chunks_exact_mut(kernels.columns / 2);
            for (step, value) in steps.zip(values) {
                step[word] |= u32::from(value.to_bits()) << shift;
            }
        }
        Values::Bf16(values) => {
            for (step, value) in panel.chunks_exact_mut(kernels.columns).zip(values) {
                step[column] = value.to_f32().to_bits();
            }
        }
        Values::F32(values) => {
            for (step, value) in panel.chunks_exact_mut(kernels.columns).zip(values) {
                step[column] = value.to_bits();
            }
        }
    }
}
