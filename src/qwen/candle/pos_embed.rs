//! Learned position embeddings of Qwen3's vision tower, interpolated from their table.

use candle_core::{DType, Device, Result, Tensor};

/// Where patches lie in the table: four rows of it each, and their weights.
pub(super) struct Corners([Corner; 4]);

struct Corner {
    /// (patches).
    rows: Tensor,
    /// (patches, 1), in f32.
    weights: Tensor,
}

impl Corners {
    /// Puts the corners of patches onto a device.
    pub(super) fn new(corners: &[[(u32, f32); 4]], device: &Device) -> Result<Self> {
        let corner = |index: usize| -> Result<Corner> {
            let rows: Vec<u32> = corners.iter().map(|four| four[index].0).collect();
            let weights: Vec<f32> = corners.iter().map(|four| four[index].1).collect();
            Ok(Corner {
                rows: Tensor::new(rows, device)?,
                weights: Tensor::new(weights, device)?.unsqueeze(1)?,
            })
        };
        Ok(Self([corner(0)?, corner(1)?, corner(2)?, corner(3)?]))
    }

    /// The position embeddings of the patches, (patches, hidden_size), summed in f32 as the reference does, in the dtype of
    /// the table.
    pub(super) fn interpolate(&self, table: &Tensor) -> Result<Tensor> {
        let weighted = |corner: &Corner| {
            let rows = table.index_select(&corner.rows, 0)?.to_dtype(DType::F32)?;
            rows.broadcast_mul(&corner.weights)
        };
        let [first, rest @ ..] = &self.0;
        let mut sum = weighted(first)?;
        for corner in rest {
            sum = (sum + weighted(corner)?)?;
        }
        sum.to_dtype(table.dtype())
    }
}
