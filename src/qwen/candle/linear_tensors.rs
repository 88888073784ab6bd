//! The tensors of linear layers, and parts of them.

use candle_core::{Error, Result, Tensor};

/// The tensors of a linear layer.
pub(super) struct LinearTensors {
    /// (out, in).
    pub(super) weight: Tensor,
    /// (out).
    pub(super) bias: Option<Tensor>,
    /// The matrices of an adapter that is not merged, (rank, in) and (out, rank), scaled; on the CPU only.
    pub(super) lora: Option<[Tensor; 2]>,
}

impl LinearTensors {
    /// The layer that computes the first `count` numbers of the output.
    pub(super) fn first(&self, count: usize) -> Result<Self> {
        self.part(0, count)
    }

    /// The layers that compute `count` equal parts of the output.
    pub(super) fn split(&self, count: usize) -> Result<Vec<Self>> {
        let rows = self.weight.dim(0)? / count;
        (0..count)
            .map(|index| self.part(index * rows, rows))
            .collect()
    }

    fn part(&self, start: usize, count: usize) -> Result<Self> {
        let bias = self.bias.as_ref().map(|bias| bias.narrow(0, start, count));
        let lora = self.lora.as_ref();
        let lora = lora.map(|[a, b]| Ok::<_, Error>([a.clone(), b.narrow(0, start, count)?]));
        Ok(Self {
            weight: self.weight.narrow(0, start, count)?,
            bias: bias.transpose()?,
            lora: lora.transpose()?,
        })
    }
}
