//! Keys and values in the order in which the kernels read them.

use super::super::kernels::Kernels;

/// The rows of a head of a sequence.
#[derive(Clone, Copy)]
pub(super) struct Strided {
    pub(super) start: usize,
    pub(super) stride: usize,
    pub(super) len: usize,
}

impl Strided {
    fn row<'a>(&self, values: &'a [f32], row: usize, head_dim: usize) -> &'a [f32] {
        &values[self.start + row * self.stride..][..head_dim]
    }
}

/// Keys and values of a head of a sequence, in the order in which the kernels read them.
pub(super) struct Keys {
    pub(super) len: usize,
    /// Some keys each, (head_dim, keys).
    pub(super) keys: Vec<f32>,
    /// Some numbers of the values each, (keys, numbers).
    pub(super) values: Vec<f32>,
}

impl Keys {
    pub(super) fn pack(
        kernels: &Kernels,
        [k, v]: [&[f32]; 2],
        part: Strided,
        head_dim: usize,
    ) -> Self {
        let rows = kernels.rows;
        let mut keys = vec![0.0; part.len.div_ceil(rows) * rows * head_dim];
        for (panel, first) in keys
            .chunks_exact_mut(rows * head_dim)
            .zip((0..).step_by(rows))
        {
            for row in first..(first + rows).min(part.len) {
                let key = part.row(k, row, head_dim);
                for (step, &x) in panel.chunks_exact_mut(rows).zip(key) {
                    step[row - first] = x;
                }
            }
        }
        let mut values = vec![0.0; head_dim.div_ceil(rows) * rows * part.len];
        for (panel, first) in values
            .chunks_exact_mut(rows * part.len)
            .zip((0..).step_by(rows))
        {
            let numbers = first..(first + rows).min(head_dim);
            for (row, step) in panel.chunks_exact_mut(rows).enumerate() {
                let value = &part.row(v, row, head_dim)[numbers.clone()];
                step[..value.len()].copy_from_slice(value);
            }
        }
        Self {
            len: part.len,
            keys,
            values,
        }
    }
}
